"""One display for many files: how many are done, bytes, rate, what is left, retries. On a terminal alone, on stderr."""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from ambry.cli.output import drawing
from ambry.client.model import Progress

if TYPE_CHECKING:
    from ambry.clock import Clock


class TransferTally:
    """What happened so far; any thread may tell it. `total_bytes` is None where a size is not known."""

    def __init__(self, files: int, total_bytes: int | None, clock: Clock) -> None:
        self.files = files
        self.total_bytes = total_bytes
        self.files_done = 0
        self.files_failed = 0
        self.retries = 0
        self._clock = clock
        self._began = clock.monotonic()
        self._bytes_of: dict[int, int] = {}
        self._bytes_done = 0

    @property
    def bytes_done(self) -> int:
        return self._bytes_done + sum(self._bytes_of.values())

    @property
    def seconds(self) -> float:
        return max(1e-3, self._clock.monotonic() - self._began)

    def moved(self, key: int, done: int) -> None:
        """So many bytes of one of them."""
        self._bytes_of[key] = done

    def ended(self, key: int, size: int, *, failed: bool) -> None:
        """One of them is over; `size` are its bytes."""
        self._bytes_of.pop(key, None)
        if failed:
            self.files_failed += 1
        else:
            self.files_done += 1
            self._bytes_done += size

    def summary(self) -> str:
        """`12 files, 3.4 MB in 2.1 s (1.6 MB/s), 1 failed, 2 retries`."""
        text = f"{counted(self.files_done, 'file')}, {amount(self.bytes_done)} in {self.seconds:.1f} s"
        text += f" ({amount(int(self.bytes_done / self.seconds))}/s)"
        if self.files_failed:
            text += f", {self.files_failed} failed"
        if self.retries:
            text += f", {counted(self.retries, 'retry', 'retries')}"
        return text


class Display:
    """Shows a TransferTally while it lasts, and its summary at the end; where nobody looks it only counts."""

    def __init__(self, files: int, total_bytes: int | None, *, quiet: bool, clock: Clock | None = None) -> None:
        if clock is None:
            # Not before it is needed, so that `ambry --help` is quick.
            from ambry.clock import SystemClock

            clock = SystemClock()
        self.tally = TransferTally(files, total_bytes, clock)
        self._lock = threading.Lock()
        self._shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._stack = ExitStack()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
            from rich.progress import Progress as Bar

            console = Console(stderr=True)
            # Without colours what is done of a bar, and what is not, look alike.
            drawn = BarColumn() if not console.no_color else TextColumn("{task.percentage:>3.0f}%", markup=False)
            columns = (
                TextColumn("{task.fields[files]}", markup=False),
                *(drawn, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()),
                TextColumn("{task.fields[more]}", markup=False),
            )
            bar = Bar(*columns, console=console, transient=True)
            self._bar = self._stack.enter_context(drawing(bar))
            self._task = self._bar.add_task("", total=self.tally.total_bytes, files=self._files(), more="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if self._shown and self.tally.files > 1:
            click.echo(f"ambry: {self.tally.summary()}", err=True)

    @property
    def is_shown(self) -> bool:
        """Whether somebody looks at it."""
        return self._shown

    def progress(self, key: int) -> Progress:
        """What is told of the bytes of one of them."""

        def moved(done: int, total: int | None) -> None:
            with self._lock:
                self.tally.moved(key, done)
                self._show()

        return moved

    def ended(self, key: int, size: int, *, failed: bool = False) -> None:
        with self._lock:
            self.tally.ended(key, size, failed=failed)
            self._show()

    def retried(self) -> None:
        with self._lock:
            self.tally.retries += 1
            self._show()

    def _files(self) -> str:
        done = self.tally.files_done + self.tally.files_failed
        return f"{done} of {counted(self.tally.files, 'file')}"

    def _show(self) -> None:
        if self._bar is not None:
            more = [f"{self.tally.files_failed} failed"] if self.tally.files_failed else []
            more += [counted(self.tally.retries, "retry", "retries")] if self.tally.retries else []
            self._bar.update(self._task, completed=self.tally.bytes_done, files=self._files(), more=", ".join(more))


def counted(count: int, one: str, many: str = "") -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def amount(size: int) -> str:
    """`3.4 MB`; bytes as they are below a thousand."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
