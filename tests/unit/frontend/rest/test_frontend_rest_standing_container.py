"""Downloads that go on for long, while what their container lets everybody do changes, or the container is switched off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ambry.rest.access import Grant
from ambry.rest.accounts import AccountStatus
from tests.support.access import bearer
from tests.support.content import content
from tests.support.fake_cluster import CHUNK
from tests.support.http_frontend import HttpFrontend, request
from tests.unit.frontend.rest.test_access_table import MODELS, Ground, ground
from tests.unit.frontend.rest.test_frontend_rest_entry import say

LARGE = content(1, 800 * CHUNK)
"""More than what a connection takes ahead of its client."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A container that everybody reads, with a large blob in it."""

    here: Ground
    blob: str

    @property
    def frontend(self) -> HttpFrontend:
        return self.here.frontend


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with ground(tmp_path) as here:
        say(here.frontend, is_private=False)
        root = {**bearer(here.root), **MODELS}
        put = await here.frontend.call("PUT", "/named/ml/models/z/large", root, LARGE)
        assert put.status == 201, put.body
        yield Place(here=here, blob=put.json()["id"])


def private(place: Place) -> None:
    say(place.frontend, is_private=True)


def inactive(place: Place) -> None:
    say(place.frontend, is_private=False, status=AccountStatus.INACTIVE)


def of_an_inactive_account(place: Place) -> None:
    say(place.frontend, is_private=False, account=AccountStatus.INACTIVE)


def described(place: Place) -> None:
    say(place.frontend, is_private=False, description="still everybody's")


async def download(place: Place, headers: dict[str, str], how: str, change: Callable[[Place], None]) -> bool:
    """Whether it is sent to its end where the container is changed when it has begun."""
    asked = {
        "id": request("GET", f"/{place.blob}", headers),
        "name": request("GET", "/named/ml/models/z/large", headers),
        "ranges": request("GET", f"/{place.blob}", {**headers, "Range": f"bytes=0-9,100-{len(LARGE)}"}),
        "batch": request(
            "POST", "/batch/get", {**headers, "Content-Type": "application/json"}, json.dumps([place.blob]).encode()
        ),
        "batch of a name": request(
            "POST",
            "/batch/get",
            {**headers, "Content-Type": "application/json"},
            json.dumps([{"name": "ml/models/z/large"}]).encode(),
        ),
    }
    async with place.frontend.connected() as client:
        await client.send(asked[how])
        assert (await client.head())[0] in (200, 206)
        change(place)
        try:
            await asyncio.wait_for(client.reader.readexactly(len(LARGE)), 60)
        except asyncio.IncompleteReadError:
            return False
        return True


BY_ALL = ("id", "name", "ranges")
BATCHES = ("batch", "batch of a name")


@pytest.mark.parametrize("how", BY_ALL)
@pytest.mark.parametrize("change", [private, inactive, of_an_inactive_account])
async def test_a_download_without_a_key_breaks_off(place: Place, how: str, change: Callable[[Place], None]) -> None:
    """It went on to its end: only keys were looked at again."""
    assert not await download(place, {}, how, change)
    assert (await place.frontend.call("GET", f"/{place.blob}")).status == (401 if change is private else 403)


@pytest.mark.parametrize("how", [*BY_ALL, *BATCHES])
async def test_so_does_that_of_a_key_which_has_nothing_there(place: Place, how: str) -> None:
    elsewhere = bearer(place.here.key(Grant(roles=("read",), account="default")))
    assert not await download(place, elsewhere, how, private)


@pytest.mark.parametrize("how", [*BY_ALL, *BATCHES])
async def test_one_that_was_granted_goes_on(place: Place, how: str) -> None:
    reads = bearer(place.here.key(Grant(roles=("read",), account="ml", container="models")))
    assert await download(place, reads, how, private)


@pytest.mark.parametrize("how", ["name", "batch of a name"])
async def test_one_that_was_granted_for_the_name_goes_on(place: Place, how: str) -> None:
    reads = bearer(place.here.key(Grant(roles=("read",), account="ml", container="models", prefix="z/")))
    assert await download(place, reads, how, private)


@pytest.mark.parametrize("how", BY_ALL)
async def test_a_change_that_changes_nothing_for_everybody_ends_nothing(place: Place, how: str) -> None:
    assert await download(place, {}, how, described)
