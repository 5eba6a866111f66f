"""How much all connections of an event loop read in a turn of it."""

from __future__ import annotations

import asyncio

from ambry.network.inflow import COUNTED_BYTES, TURN_BYTES, Inflow


class Connection:
    """Notes that it reads on; one that has `gone` does not."""

    def __init__(self, name: str, said: list[str], *, gone: bool = False) -> None:
        self.name = name
        self.said = said
        self.gone = gone

    def read_on(self) -> bool:
        if not self.gone:
            self.said.append(self.name)
        return not self.gone


async def test_what_one_turn_may_read_is_there_again_in_the_next() -> None:
    inflow = Inflow()
    for _ in range(3):
        pieces = 0
        while inflow.allows(COUNTED_BYTES):
            pieces += 1
        assert (pieces + 1) * COUNTED_BYTES == TURN_BYTES
        assert not inflow.allows(COUNTED_BYTES), "whoever else reads in that turn does so once"
        await asyncio.sleep(0)


async def test_of_those_who_wait_one_reads_on_in_each_turn_and_who_does_not_costs_nobody_one() -> None:
    inflow, said = Inflow(), list[str]()
    inflow.allows(TURN_BYTES)
    for name in ("a", "gone", "gone", "b", "c"):
        inflow.wait(Connection(name, said, gone=name == "gone"))
    for turn in range(3):
        assert said == ["a", "b", "c"][:turn]
        await asyncio.sleep(0)
    assert said == ["a", "b", "c"]
    inflow.allows(TURN_BYTES)
    inflow.wait(Connection("again", said))
    await asyncio.sleep(0)
    assert said[3:] == ["again"], "it goes on after nobody waited"
