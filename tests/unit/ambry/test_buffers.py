"""Memory of large bodies that is used again: never while anybody can see it, and never much of it."""

from __future__ import annotations

import ctypes
import errno
import re
from pathlib import Path
from typing import Any

import pytest

from ambry import buffers as module
from ambry.buffers import KEPT_BYTES_MAX, LARGE_BYTES, Buffers

MIB = 1 << 20


def test_what_nobody_sees_any_more_is_handed_out_again() -> None:
    buffers = Buffers()
    view = buffers.take(MIB)
    view[:8] = b"the same"
    del view
    again = buffers.take(MIB)
    assert (len(again), bytes(again[:8])) == (MIB, b"the same")
    assert buffers.kept_bytes == MIB


@pytest.mark.parametrize("part", [slice(0, MIB), slice(5, 6), slice(MIB - 1, MIB)])
def test_what_somebody_sees_a_part_of_is_not(part: slice) -> None:
    buffers = Buffers()
    view = buffers.take(MIB)
    view[:] = b"x" * MIB
    seen = view[part]
    del view
    other = buffers.take(MIB)
    other[:] = b"y" * MIB
    assert bytes(seen) == b"x" * len(seen)
    del seen
    assert buffers.take(MIB)[0] == ord("x")


def test_a_size_that_is_no_multiple_has_all_of_its_bytes_and_no_more() -> None:
    buffers = Buffers()
    for size in (0, 1, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 3 * LARGE_BYTES - 5):
        assert len(buffers.take(size)) == size


def test_small_ones_are_not_kept() -> None:
    buffers = Buffers()
    view = buffers.take(LARGE_BYTES - 1)
    assert buffers.kept_bytes == 0
    del view
    assert not buffers.trim()


def test_no_more_is_kept_than_the_bound_however_much_is_in_use() -> None:
    buffers = Buffers()
    views = [buffers.take(4 * MIB) for _ in range(10)]
    for number, view in enumerate(views):
        view[:] = bytes([number]) * len(view)
    assert buffers.kept_bytes == KEPT_BYTES_MAX
    assert [view[-1] for view in views] == list(range(10))


def test_what_is_free_makes_room_for_another_size() -> None:
    buffers = Buffers(kept_bytes_max=2 * MIB)
    first, second = buffers.take(MIB), buffers.take(MIB)
    first[0] = second[0] = 1
    del first
    larger = buffers.take(2 * MIB)
    larger[0] = 2
    assert (buffers.kept_bytes, second[0]) == (MIB, 1)


def test_what_is_not_used_goes_and_what_is_in_use_stays() -> None:
    wakes: list[None] = []
    buffers = Buffers(lambda: wakes.append(None))
    used, unused = buffers.take(MIB), buffers.take(MIB)
    used[0] = 7
    assert len(wakes) == 1, "told once that there is something to look after"
    del unused
    assert buffers.trim()
    assert buffers.kept_bytes == 2 * MIB, "it was in use a moment ago"
    assert buffers.trim()
    assert (buffers.kept_bytes, used[0]) == (MIB, 7)
    del used
    assert buffers.trim()
    assert not buffers.trim()
    assert buffers.kept_bytes == 0
    assert buffers.take(MIB) is not None
    assert len(wakes) == 2


def test_a_byte_that_is_written_takes_no_huge_page() -> None:
    """With huge pages for all, each upload that had begun held 2 MiB and was charged for what it had sent."""
    memory = Buffers().take(8 << 20)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    maps = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
    for each in maps:
        first, last = (int(end, 16) for end in each.split(" ", 1)[0].split("-"))
        if first <= address < last:
            flags = next(line for line in each.splitlines() if line.startswith("VmFlags"))
            assert " nh" in flags, each
            return
    raise AssertionError("the memory is mapped nowhere")


def test_a_shortage_is_told_as_of_any_other_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of mmap(2) passed by whoever was ready for a MemoryError, and a request without memory was a bug."""

    def none_left(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    buffers = Buffers()
    monkeypatch.setattr(module, "mmap", none_left)
    with pytest.raises(MemoryError, match="no memory for 1048576 bytes"):
        buffers.take(MIB)
    assert buffers.kept_bytes == 0
