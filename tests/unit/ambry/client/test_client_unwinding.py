"""What a close() can know of the block that calls it."""

from __future__ import annotations

import contextlib
import gzip
import io

from ambry.client.unwinding import in_flight, leaves_with


class Seen(io.BytesIO):
    """Notes, when it is closed, whether a block was being left with an exception."""

    def __init__(self) -> None:
        super().__init__()
        self._before = in_flight()
        self.failed: bool | None = None

    def close(self) -> None:
        if self.failed is None:
            self.failed = leaves_with(self._before)
        super().close()


class Wrapped:
    """As fsspec's OpenFile: says nothing to what it closes."""

    def __init__(self, file: io.IOBase) -> None:
        self._file = file

    def __enter__(self) -> io.IOBase:
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.close()


def test_an_exception_that_leaves_the_block_is_seen_through_every_wrapper() -> None:
    for wrap in (
        lambda file: file,
        Wrapped,
        io.TextIOWrapper,
        lambda file: gzip.GzipFile(fileobj=file, mode="wb"),
        contextlib.closing,
    ):
        seen = Seen()
        with contextlib.suppress(ZeroDivisionError), contextlib.ExitStack() as stack:
            stack.callback(seen.close)
            with wrap(seen):
                raise ZeroDivisionError
        assert seen.failed, wrap


def test_a_block_that_ends_is_no_failure_whatever_is_handled_around_it() -> None:
    seen = Seen()
    with seen:
        pass
    assert not seen.failed
    try:
        raise FileNotFoundError
    except FileNotFoundError:
        inside = Seen()
        with inside:
            pass
        assert not inside.failed


def test_a_close_by_hand_in_a_handler_is_a_close() -> None:
    before = Seen()
    try:
        raise FileNotFoundError
    except FileNotFoundError:
        before.close()
    assert not before.failed


def test_a_file_that_is_written_while_a_block_is_left_is_no_failure() -> None:
    """As whoever writes a report of what went wrong does."""

    class Reports:
        def __enter__(self) -> None:
            return None

        def __exit__(self, *_: object) -> None:
            self.report = Seen()
            with self.report:
                pass

    reports = Reports()
    with contextlib.suppress(ZeroDivisionError), reports:
        raise ZeroDivisionError
    assert not reports.report.failed
