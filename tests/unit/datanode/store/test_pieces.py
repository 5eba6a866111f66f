"""Work in pieces: all of it at once, counted, or closed half way."""

from __future__ import annotations

from datanode.store.pieces import Pieces, counted
from tests.support.pieces import all_of


def work(ended: list[str]) -> Pieces[str]:
    try:
        yield 3
        yield 4
        return "done"
    finally:
        ended.append("closed")


def test_all_of_it_gives_its_result_and_tells_of_every_piece() -> None:
    ended: list[str] = []
    sizes: list[int] = []
    assert all_of(work(ended), sizes.append) == "done"
    assert (sizes, ended) == ([3, 4], ["closed"])


def test_what_is_counted_is_the_same_work() -> None:
    ended: list[str] = []
    sizes: list[int] = []
    pieces = counted(work(ended), sizes.append)
    assert next(pieces) == 3
    assert sizes == [3]
    pieces.close()
    assert ended == ["closed"], "closing reaches it"
    assert all_of(counted(work([]), sizes.append)) == "done"
    assert sizes == [3, 3, 4]
