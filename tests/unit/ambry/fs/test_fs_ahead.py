"""Reading ahead: the bytes are always those of the file, and what is asked for fits to how it is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ambry.client.ahead import LEAST
from ambry.fs.ahead import GrowingAhead
from tests.support.content import content

MIB = 1 << 20


class Fetched:
    """A file that notes what is asked of it."""

    def __init__(self, size: int) -> None:
        self.body = content(1, size)
        self.asked: list[tuple[int, int]] = []

    def fetch(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(self.body)
        self.asked.append((start, end))
        return self.body[start:end]

    def cache(self, ahead: int = 4 * MIB) -> GrowingAhead:
        return GrowingAhead(ahead, self.fetch, len(self.body))

    @property
    def moved(self) -> int:
        return sum(end - start for start, end in self.asked)


@given(st.integers(0, 300_000), st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 100_000)), max_size=20))
def test_whatever_is_read_in_whatever_order_is_what_the_file_has(size: int, reads: list[tuple[int, int]]) -> None:
    file = Fetched(size)
    cache = file.cache(100_000)
    for start, length in reads:
        assert cache._fetch(start, start + length) == file.body[start : start + length]


def test_a_file_that_is_read_on_comes_in_few_requests_and_once() -> None:
    file = Fetched(20 * MIB)
    cache = file.cache()
    for start in range(0, 20 * MIB, 10_000):
        cache._fetch(start, start + 10_000)
    assert file.moved == 20 * MIB
    assert len(file.asked) < 15


def test_what_is_read_here_and_there_is_asked_for_exactly() -> None:
    file = Fetched(20 * MIB)
    cache = file.cache()
    for start in (15 * MIB, 3 * MIB, 9 * MIB):
        cache._fetch(start, start + MIB)
    cache._fetch(18 * MIB, 18 * MIB + 8)
    assert [end - start for start, end in file.asked] == [MIB, MIB, MIB, LEAST]


def test_beyond_the_end_there_is_nothing() -> None:
    file = Fetched(10)
    assert file.cache()._fetch(10, 20) == b""
    assert file.cache()._fetch(None, None) == file.body
