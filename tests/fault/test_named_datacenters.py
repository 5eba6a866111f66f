"""Datacenters cut apart, data nodes too, while both sides write, delete and bring back the same names and move the same alias.

When they are whole again all stores are equal, every acknowledged version is in the histories, the names point to the newest,
and what they point to is read everywhere.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fault.test_metadata_datacenters import equal, until
from tests.support.clusters import rounds, seed_of
from tests.support.cut_datacenters import CutDatacenters, cut_datacenters
from tests.support.rest import Answer, call

HERE = "/named/default/default"
ALIASES = "/accounts/containers/datasets/aliases"
OF = {"accountName": "default", "containerName": "default", "datasetName": "fraud"}
NAMED = {
    "x-ambry-target-account-name": "default",
    "x-ambry-target-container-name": "default",
    "x-ambry-target-dataset-name": "fraud",
}
UPSERT = {"x-ambry-named-upsert": "true"}
KEYS = ("a", "b", "c", "d")
VERSIONS = ("1.0.0", "1.1.0", "2.0.0")
CUT_S = 8.0


@dataclass(slots=True)
class Done:
    """What was acknowledged."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    """By blob id."""
    names: dict[str, str] = field(default_factory=dict)
    """By blob id: the name it was put under."""
    moves: list[str] = field(default_factory=list)
    """Why an alias was moved, each of its own."""
    counts: Counter[str] = field(default_factory=Counter)


async def ask(url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    return await asyncio.to_thread(call, url, method, path, sent, headers or {})


async def work(url: str, done: Done, source: random.Random, cut: asyncio.Event, who: str) -> None:
    """Change what all share, one thing after the other, until the cut is over."""
    number = 0
    while not cut.is_set():
        number += 1
        name, draw = source.choice(KEYS), source.random()
        if draw < 0.5:
            body = f"{who} {number}".encode()
            answer = await ask(url, "PUT", f"{HERE}/{name}", body, UPSERT)
            if answer.status == 201:
                done.bodies[answer.blob_id], done.names[answer.blob_id] = body, name
            done.counts[f"put {answer.status}"] += 1
        elif draw < 0.65:
            done.counts[f"delete {(await ask(url, 'DELETE', f'{HERE}/{name}')).status}"] += 1
        elif draw < 0.8:
            answer = await ask(url, "POST", f"{HERE}/{name}", {"op": "undelete"})
            done.counts[f"undelete {answer.status}"] += 1
        else:
            at = (await ask(url, "GET", f"{ALIASES}?alias=champion", headers=NAMED)).json().get("version")
            move = {
                **OF,
                "alias": "champion",
                "version": source.choice(VERSIONS),
                "ifVersion": at,
                "why": f"{who} {number}",
            }
            answer = await ask(url, "POST", ALIASES, move)
            if answer.status == 200:
                done.moves.append(move["why"])
            done.counts[f"move {answer.status}"] += 1


async def begin(run: CutDatacenters, url: str, done: Done) -> None:
    """Names, and a dataset with versions and an alias, that all know: of what is unknown here others would be asked."""
    for name in KEYS:
        answer = await ask(url, "PUT", f"{HERE}/{name}", name.encode())
        done.bodies[answer.blob_id], done.names[answer.blob_id] = name.encode(), name
    answer = await ask(url, "POST", "/accounts/containers/datasets", {**OF, "versionSchema": "SEMANTIC"})
    assert answer.status in (200, 201), answer.body
    versioned = {"x-ambry-dataset-version-query-enabled": "true"}
    for version in VERSIONS:
        answer = await ask(url, "PUT", f"{HERE}/fraud/{version}", version.encode(), versioned)
        assert answer.status == 201, answer.body
    move = {**OF, "alias": "champion", "version": "1.0.0", "ifVersion": None, "why": "first"}
    assert (await ask(url, "POST", ALIASES, move)).status == 200
    await until(lambda: equal(run), "all know them")


async def check(run: CutDatacenters, done: Done) -> None:
    urls = [run.cluster.frontends(f"dc{number}")[0].url for number in run.stores]
    await until(lambda: equal(run), "all stores are equal")
    brought_back_dead = 0
    for name in KEYS:
        histories = [await _pages(url, f"{HERE}/{name}?history", "versions") for url in urls]
        assert all(history == histories[0] for history in histories)
        put = [blob_id for blob_id, put_under in done.names.items() if put_under == name]
        there = [str(version.get("blobId")) for version in histories[0]]
        assert set(put) <= set(there)
        answers = [await _read(url, f"{HERE}/{name}") for url in urls]
        if histories[0][0].get("deleted"):
            assert [answer.status for answer in answers] == [410] * len(urls)
        elif there.count(there[0]) == 1:
            # The newest is a put: whatever the others deleted, it was not this.
            assert [(answer.status, answer.body) for answer in answers] == [(200, done.bodies[there[0]])] * len(urls)
        else:
            # Brought back here, perhaps while it was deleted there for the second time: alike everywhere at least.
            assert len({answer.status for answer in answers}) == 1
            brought_back_dead += answers[0].status != 200
    moves = [await _pages(url, f"{ALIASES}?alias=champion&history", "moves", NAMED) for url in urls]
    assert all(each == moves[0] for each in moves)
    assert set(done.moves) <= {each["why"] for each in moves[0]}
    print(
        f"{dict(done.counts)}; {brought_back_dead} names brought back whose blob was deleted elsewhere in the same life"
    )


async def _pages(url: str, path: str, what: str, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token: str | None = ""
    while token is not None:
        answer = await ask(url, "GET", f"{path}&page={token}" if token else path, headers=headers)
        assert answer.status == 200, answer.body
        found += answer.json()[what]
        token = answer.json()["nextPageToken"]
    return found


async def _read(url: str, path: str) -> Answer:
    """An answer that is no 503: a replica may still be told of it."""
    async with asyncio.timeout(60):
        while (answer := await ask(url, "GET", path)).status in (503, 404):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    return answer


async def cut_apart(tmp_path: Path, count: int, cut_s: float) -> None:
    seed = seed_of(f"names cut apart {count}")
    async with cut_datacenters(tmp_path, count, blobs=True) as run:
        done = Done()
        await begin(run, run.cluster.frontends("dc1")[0].url, done)
        for turn in range(rounds(1)):
            run.cut()
            over = asyncio.Event()
            asyncio.get_running_loop().call_later(cut_s, over.set)
            await asyncio.gather(
                *(
                    work(member.url, done, random.Random(f"{seed}.{turn}.{member.name}"), over, f"{member.name}.{turn}")
                    for member in run.cluster.frontends()
                )
            )
            assert not await equal(run), "they were cut apart"
            last = list(done.bodies)[-1]
            found = [(await ask(member.url, "GET", f"/{last}")).status for member in run.cluster.frontends()]
            assert found.count(200) == 2, "and so were their data nodes"
            run.heal()
            await check(run, done)


@pytest.mark.fault
async def test_two_datacenters_cut_apart_agree_on_names_and_aliases_when_they_are_whole_again(tmp_path: Path) -> None:
    await cut_apart(tmp_path, 2, CUT_S)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
async def test_a_minute_apart(tmp_path: Path, count: int) -> None:
    await cut_apart(tmp_path, count, 60.0)
