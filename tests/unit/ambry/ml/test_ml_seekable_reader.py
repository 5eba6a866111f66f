"""Where a reader stands, as a file of this machine has it."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from ambry.ml.seekable_reader import SeekableReader

DATA = bytes(range(20))


class Held(SeekableReader):
    def __init__(self) -> None:
        super().__init__(len(DATA))

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override]
        found = DATA[self._position : self._position + len(buffer)]
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0, 1, 2]), st.integers(0, 30))))
def test_it_stands_where_a_file_stands(steps: list[tuple[int, int, int]]) -> None:
    ours, theirs = Held(), io.BytesIO(DATA)
    assert ours.readable() and ours.seekable()
    for offset, whence, size in steps:
        assert ours.seek(offset, whence) == theirs.seek(offset, whence) == ours.tell()
        assert ours.read(size) == theirs.read(size)
        assert ours.tell() == theirs.tell()


def test_before_its_beginning_is_its_beginning() -> None:
    held = Held()
    assert held.seek(-30, io.SEEK_END) == 0 and held.read(1) == DATA[:1]
