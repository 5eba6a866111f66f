"""The steps of `ambry cp`, `mv` and `sync`: files up, blobs down, blobs from one store to another.

What is read and what was written are compared by digests in each of them; a step that fails leaves what was there before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ambry.cli.content_types import guessed
from ambry.cli.display import Display
from ambry.cli.failures import report_one
from ambry.cli.local_files import make_room, write_special
from ambry.cli.output import copy, standard_input, standard_output
from ambry.cli.planning import last_part
from ambry.cli.sides import PIPE
from ambry.cli.workers import Workers
from ambry.client.model import BlobInfo, Progress, SaidOfBlob
from ambry.client.refs import NameRef, PinnedName, id_in
from ambry.errors import AlreadyExists, AmbryError, Unauthenticated
from ambry.ids import BlobId
from ambry.special_file import is_special

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient


@dataclass(frozen=True, slots=True)
class UploadStep:
    """A file, or the standard input, under a name."""

    path: str
    size: int
    place: NameRef

    @property
    def label(self) -> str:
        return self.path

    @property
    def target(self) -> str:
        return str(self.place)


@dataclass(frozen=True, slots=True)
class DownloadStep:
    """A blob into a file below a folder, which may be empty; or to the standard output."""

    found: BlobId | PinnedName
    shown: str
    size: int
    root: str
    path: str

    @property
    def blob(self) -> BlobId:
        return id_in(self.found)

    @property
    def label(self) -> str:
        return self.shown

    @property
    def target(self) -> str:
        return self.path if not self.root else f"{self.root.rstrip('/')}/{self.path}"


@dataclass(frozen=True, slots=True)
class AcrossStep:
    """A blob of one store under a name of another one, or of the same; `renamed` is its own name, where that is to change."""

    found: BlobId | PinnedName
    shown: str
    size: int
    place: NameRef
    renamed: NameRef | None = None

    @property
    def blob(self) -> BlobId:
        return id_in(self.found)

    @property
    def label(self) -> str:
        return self.shown

    @property
    def target(self) -> str:
        return str(self.place)


Step = UploadStep | DownloadStep | AcrossStep


@dataclass(kw_only=True)
class Mover:
    """Takes steps. `reading` is the store that blobs come from, `writing` the one that they go to.

    `said` is what is said of every blob that is made. Where `keep` something that is there is not written over, and skipped.
    """

    reading: AmbryClient | None = None
    writing: AmbryClient | None = None
    said: SaidOfBlob = field(default_factory=SaidOfBlob)
    keep: bool = False
    quiet: bool = False
    parallel: int = 4
    after: Callable[[Step, BlobInfo | None], None] = lambda step, info: None
    """What belongs to each step that was taken; it fails where that does."""
    done: Callable[[Step, BlobInfo | None], None] = lambda step, info: None
    """Called for each step that succeeded, in their order, from one thread at a time."""
    code: int = 0

    def run(self, steps: Sequence[Step]) -> int:
        """Take all steps, some at a time; what fails keeps none of the others. The exit code."""
        workers = Workers(min(self.parallel, max(1, len(steps))))
        told = _InOrder(self.done)
        with ExitStack() as stack:
            display = stack.enter_context(Display(len(steps), sum(step.size for step in steps), quiet=self.quiet))
            for client in {id(each): each for each in (self.reading, self.writing) if each is not None}.values():
                stack.enter_context(watching_retries(client, display))

            def take(numbered: tuple[int, Step]) -> None:
                number, step = numbered
                shown = display.progress(number)

                def progress(done: int, total: int | None) -> None:
                    workers.check()
                    shown(done, total)

                try:
                    info = self.take(step, progress)
                    self.after(step, info)
                except (AmbryError, OSError) as error:
                    kept = self.keep and isinstance(error, AlreadyExists)
                    display.ended(number, 0, failed=not kept)
                    with workers.lock:
                        if not kept:
                            self.code = report_one(error, step.label, self.code)
                        told.ended(number, None)
                    if isinstance(error, Unauthenticated):
                        workers.stop()  # The others would be told the same.
                else:
                    display.ended(number, info.size if info is not None else step.size)
                    with workers.lock:
                        told.ended(number, (step, info))

            workers.run(enumerate(steps), take)
        return self.code

    def take(self, step: Step, progress: Progress | None) -> BlobInfo | None:
        """One step."""
        if isinstance(step, UploadStep):
            return self._upload(step, progress)
        if isinstance(step, DownloadStep):
            return self._download(step, progress)
        return self._across(step, progress)

    def _upload(self, step: UploadStep, progress: Progress | None) -> BlobInfo:
        client = _needed(self.writing)
        said: SaidOfBlob = {
            "content_type": guessed(last_part(step.path) if step.path != PIPE else step.place.name),
            **self.said,
        }
        if step.path == PIPE:
            # Not before it is needed, as below.
            from ambry.client.copying import put_stream

            return put_stream(client, standard_input(), step.place, if_absent=self.keep, progress=progress, **said)
        return client.put_file(step.path, name=step.place, if_absent=self.keep, progress=progress, **said)

    def _download(self, step: DownloadStep, progress: Progress | None) -> BlobInfo | None:
        client = _needed(self.reading)
        if step.path == PIPE and not step.root:
            with client.get(step.found) as reader:
                copy(reader, standard_output())
            return None
        if not step.root and is_special(step.target):
            with client.get(step.found) as reader:
                write_special(step.target, reader.iter_chunks())
            return None
        target = make_room(step.root, step.path) if step.root else step.path
        return client.get_file(step.found, target, overwrite=not self.keep, progress=progress)

    def _across(self, step: AcrossStep, progress: Progress | None) -> BlobInfo:
        # It brings asyncio, for its clock, which whoever lists the commands does not wait for.
        from ambry.client.copying import copy_blob

        reading, writing = _needed(self.reading), _needed(self.writing)
        if step.renamed is not None:
            return writing.rename(step.renamed, step.place, overwrite=not self.keep)
        return copy_blob(
            reading, writing, step.found, step.place, if_absent=self.keep, said=self.said, progress=progress
        )


class _InOrder:
    """Tells what is done in the order in which it was asked for."""

    def __init__(self, tell: Callable[[Step, BlobInfo | None], None]) -> None:
        self._tell = tell
        self._next = 0
        self._waiting: dict[int, tuple[Step, BlobInfo | None] | None] = {}

    def ended(self, number: int, done: tuple[Step, BlobInfo | None] | None) -> None:
        """None where there is nothing to tell."""
        self._waiting[number] = done
        while self._next in self._waiting:
            if (found := self._waiting.pop(self._next)) is not None:
                self._tell(*found)
            self._next += 1


@contextmanager
def watching_retries(client: AmbryClient, display: Display) -> Generator[None]:
    """Let a display count what is tried again."""
    said = client.on_retry

    def on_retry(error: AmbryError, delay_s: float, waited_s: float) -> None:
        display.retried()
        if said is not None and not display.is_shown:
            said(error, delay_s, waited_s)

    client.on_retry = on_retry
    try:
        yield
    finally:
        client.on_retry = said


def _needed(client: AmbryClient | None) -> AmbryClient:
    if client is None:
        raise RuntimeError("a step needs a store that nobody named")
    return client
