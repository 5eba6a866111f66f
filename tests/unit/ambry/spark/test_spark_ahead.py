"""Windows come in their order, one ahead, and a file of spans has what was fetched and nothing else."""

from __future__ import annotations

import random
import threading

import pytest

from ambry.spark.ahead import WINDOW_SIZE, HeldSpans, WindowsAhead, windows
from ambry.spark.plan import FilePiece


def test_neighbours_are_fetched_together_up_to_a_size() -> None:
    sizes = [WINDOW_SIZE // 2, WINDOW_SIZE // 2, 1, 3 * WINDOW_SIZE, 1, 1]
    found = windows([FilePiece(number, 1, size, {}) for number, size in enumerate(sizes)])
    assert [[piece.number for piece in each] for each in found] == [[0, 1], [2], [3], [4, 5]]


def test_the_next_window_is_fetched_while_one_is_used_and_no_further_one() -> None:
    asked: list[int] = []
    second = threading.Event()

    def fetch(window: int) -> str:
        asked.append(window)
        if window == 1:
            second.set()
        return f"bytes of {window}"

    found = iter(WindowsAhead(fetch, range(4)))
    assert next(found) == (0, "bytes of 0")
    assert second.wait(20) and asked == [0, 1]
    assert list(found) == [(each, f"bytes of {each}") for each in (1, 2, 3)]
    assert list(WindowsAhead(fetch, [])) == []


def test_what_a_fetch_raises_is_raised_in_its_turn() -> None:
    def fetch(window: int) -> int:
        if window == 1:
            raise OSError("gone")
        return window

    found = iter(WindowsAhead(fetch, range(3)))
    assert next(found) == (0, 0)
    with pytest.raises(OSError, match="gone"):
        next(found)


def test_spans_are_read_as_the_file_they_are_of() -> None:
    data = random.Random(7).randbytes(1_000)
    spans = [(500, 600), (10, 20), (20, 300)]
    file = HeldSpans(spans, [data[start:stop] for start, stop in spans])
    assert file.seek(0, 2) == file.tell() == 600
    for start, size in ((500, 100), (510, 20), (10, 10), (20, 280), (299, 1), (599, 1)):
        file.seek(start)
        assert file.read(size) == data[start : start + size] and file.tell() == start + size
    # A reader of old files asks for a little more than there is.
    file.seek(550)
    assert file.read(500) == data[550:600]
    for outside in (0, 9, 300, 499, 600):
        file.seek(outside)
        with pytest.raises(OSError, match=f"byte {outside} was not asked for"):
            file.read(1)
