"""What a close() can know of the block that calls it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import io
from collections.abc import Iterator

import pytest

from ambry.client.unwinding import PublishedOnClose


class Seen(PublishedOnClose, io.BytesIO):
    """Notes, when it is closed, whether that leaves half of a file."""

    def __init__(self) -> None:
        super().__init__()
        self._note_opener()
        self.failed: bool | None = None

    def close(self) -> None:
        if self.failed is None:
            self.failed = self._is_given_up()
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


@contextlib.contextmanager
def opened(file: Seen) -> Iterator[Seen]:
    try:
        yield file
    finally:
        file.close()


def _finally(seen: Seen, fails: bool) -> None:
    try:
        if fails:
            raise ZeroDivisionError
    finally:
        seen.close()


def _finally_after_an_except(seen: Seen, fails: bool) -> None:
    try:
        if fails:
            raise ZeroDivisionError
    except FileNotFoundError as error:
        print(error)
    finally:
        text = io.TextIOWrapper(seen)
        if not seen.closed:
            try:
                text.close()
            except OSError as error:
                print(error)


def _finally_in_a_finally(seen: Seen, fails: bool) -> None:
    try:
        try:
            if fails:
                raise ZeroDivisionError
        finally:
            with contextlib.suppress(KeyError):
                raise KeyError
            seen.close()
    finally:
        gc.isenabled()


def _generator(seen: Seen, fails: bool) -> None:
    with opened(seen):
        if fails:
            raise ZeroDivisionError


def _awaited(seen: Seen, fails: bool) -> None:
    async def close() -> None:
        seen.close()

    async def work() -> None:
        try:
            await asyncio.sleep(0)
            if fails:
                raise ZeroDivisionError
        finally:
            await close()

    asyncio.run(work())


def _async_with(seen: Seen, fails: bool) -> None:
    class Closing:
        async def __aenter__(self) -> None:
            return None

        async def __aexit__(self, *_: object) -> None:
            await asyncio.sleep(0)
            seen.close()

    async def work() -> None:
        async with Closing():
            if fails:
                raise ZeroDivisionError

    asyncio.run(work())


WAYS = [_finally, _finally_after_an_except, _finally_in_a_finally, _generator, _awaited, _async_with]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
def test_a_finally_that_an_exception_goes_through_is_told_from_one_that_ends(way: object) -> None:
    """It was taken for a close by hand: `finally: file.close()` published what was written before the exception."""
    assert callable(way)
    for fails in (False, True):
        seen = Seen()
        with contextlib.suppress(ZeroDivisionError):
            way(seen, fails)
        assert seen.closed and seen.failed is fails


def test_every_handler_that_is_written_as_an_except_has_decided_to_close() -> None:
    seen = [Seen() for _ in range(4)]
    try:
        raise FileNotFoundError
    except (KeyError, OSError) as error:
        seen[0].close()
        assert error
    try:
        raise FileNotFoundError
    except:  # noqa: E722  # the form that has no class
        seen[1].close()
    with contextlib.suppress(OSError):
        try:
            raise FileNotFoundError
        except BaseException:
            seen[2].close()
            raise
    try:
        raise ExceptionGroup("two", [KeyError()])
    except* KeyError:
        seen[3].close()
    assert [each.failed for each in seen] == [False] * 4


def test_a_finally_further_out_is_not_about_files_that_others_close() -> None:
    """As a log that lives as long as its process, and is closed by whoever starts the next one."""
    log = Seen()

    def start_the_next() -> None:
        log.close()

    with contextlib.suppress(ZeroDivisionError):
        try:
            raise ZeroDivisionError
        finally:
            start_the_next()
    assert log.failed is False


class Closing:
    """As some wrappers do it: closes what it has when it is collected."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file = file

    def close(self) -> None:
        self._file.close()

    def __del__(self) -> None:
        self.close()


@pytest.mark.parametrize(
    "wrap",
    [io.TextIOWrapper, io.BufferedWriter, lambda file: io.TextIOWrapper(io.BufferedWriter(file)), Closing],
    ids=["text", "buffer", "text and buffer", "__del__"],
)
def test_a_wrapper_that_nobody_closed_says_so_when_it_is_collected(wrap: object) -> None:
    assert callable(wrap)
    dropped, closed = Seen(), Seen()
    wrapper = wrap(dropped)
    del wrapper
    gc.collect()
    assert dropped.closed and dropped.failed
    wrapper = wrap(closed)
    wrapper.close()
    assert closed.failed is False
