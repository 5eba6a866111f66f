"""Small reads of one turn ask one data node, and every node has its share."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, cast

from frontend.router.together import TOGETHER_MAX, Together


class Node:
    def __init__(self, *, usable: bool = True) -> None:
        self.usable = usable


def nodes(count: int) -> Any:
    return tuple(Node() for _ in range(count))


async def test_those_of_one_turn_ask_one_node_and_of_many_turns_each_as_often() -> None:
    together, peers = Together(random.Random(1)), nodes(3)
    asked: Counter[Any] = Counter()
    for _ in range(300):
        of_turn = {together.choose(peers) for _ in range(TOGETHER_MAX)}
        assert len(of_turn) == 1
        asked.update(of_turn)
        await asyncio.sleep(0)
    assert set(asked) == set(peers) and min(asked.values()) > 70


async def test_more_than_a_few_are_spread_within_a_turn() -> None:
    together, peers = Together(random.Random(1)), nodes(3)
    asked = Counter(together.choose(peers) for _ in range(300 * TOGETHER_MAX))
    assert set(asked) == set(peers) and max(asked.values()) < 150 * TOGETHER_MAX


async def test_who_is_no_replica_or_is_not_well_is_not_asked() -> None:
    together, here, there = Together(random.Random(1)), nodes(3), nodes(3)
    first = cast(Any, together.choose(here))
    assert together.choose(there) in there
    first = cast(Any, together.choose(here))
    first.usable = False
    assert {together.choose(here) for _ in range(50)} <= {None, *here} - {first}


async def test_of_none_there_is_none() -> None:
    together = Together(random.Random(1))
    assert together.choose(()) is None
    assert together.choose((cast(Any, Node(usable=False)),)) is None
