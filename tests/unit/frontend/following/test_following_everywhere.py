"""Not found is said only when every datacenter has said it (C3)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ambry.errors import Overloaded, Unavailable
from frontend.following import everywhere as everywhere_module
from frontend.following.everywhere import Everywhere
from frontend.metadata.spaces import Space
from frontend.metadata.store import MetadataStore, Put, Version
from tests.support.fake_clock import SettableClock
from tests.support.following import SCOPE, StoreSource, everything, stores

NAME = Space.NAME


async def put(store: MetadataStore, value: bytes | None) -> None:
    await store.write([Put(NAME, SCOPE, b"k", value)])


async def test_all_that_others_know_decides(tmp_path: Path) -> None:
    clock = SettableClock()
    async with stores(tmp_path, [clock] * 3) as (here, second, third):
        others = [StoreSource(second), StoreSource(third)]
        everywhere = Everywhere(here, others, within_s=1.0)
        assert await everywhere.newest(NAME, SCOPE, b"k") is None
        others[1].cut = True
        with pytest.raises(Unavailable, match="dc3"):
            await everywhere.newest(NAME, SCOPE, b"k")
        await put(second, b"1")
        found = await everywhere.newest(NAME, SCOPE, b"k")
        assert found is not None
        assert found.value == b"1"
        assert await everything(here) == await everything(second)


async def test_a_tombstone_is_believed_only_when_all_were_asked(tmp_path: Path) -> None:
    clock = SettableClock()
    async with stores(tmp_path, [clock] * 3) as (here, second, third):
        others = [StoreSource(second), StoreSource(third)]
        everywhere = Everywhere(here, others, within_s=1.0)
        await put(second, None)
        others[1].cut = True
        with pytest.raises(Unavailable):
            await everywhere.newest(NAME, SCOPE, b"k")
        others[1].cut = False
        clock.advance(1)
        await put(third, b"later")
        found = await everywhere.newest(NAME, SCOPE, b"k")
        assert found is not None
        assert found.value == b"later"


async def test_what_is_here_is_asked_of_nobody(tmp_path: Path) -> None:
    clock = SettableClock()
    async with stores(tmp_path, [clock] * 2) as (here, there):
        other = StoreSource(there)
        other.cut = True
        await put(here, None)
        found = await Everywhere(here, [other], within_s=1.0).newest(NAME, SCOPE, b"k")
        assert found is not None
        assert not found.living
        assert other.asked == 0


async def test_a_datacenter_alone_asks_nobody(tmp_path: Path) -> None:
    async with stores(tmp_path, [SettableClock()]) as (here,):
        assert await Everywhere(here, [], within_s=1.0).newest(NAME, SCOPE, b"k") is None


class Silent:
    """A datacenter that takes its time."""

    name = "dc9"

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.asked = 0

    async def newest(self, space: Space, scope: int, key: bytes, *, within_s: float) -> Version | None:
        self.asked += 1
        await self.answer.wait()
        return None


async def test_names_that_somebody_makes_up_are_refused_beyond_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everywhere_module, "ASKING_MAX", 2)
    async with stores(tmp_path, [SettableClock()]) as (here,):
        silent = Silent()
        everywhere = Everywhere(here, [silent], within_s=1.0)
        asking = [asyncio.create_task(everywhere.newest(NAME, SCOPE, b"%d" % number)) for number in range(3)]
        done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(Overloaded):
            done.pop().result()
        silent.answer.set()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert outcomes.count(None) == 2
