"""Following changes with both clients and the command line, over real processes in two datacenters."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from ambry import AmbryClient, AsyncAmbryClient, InvalidRequest, ToldChange
from tests.support.waiting import eventually

COMMAND = [sys.executable, "-m", "ambry.cli.main", "changes"]


def environment(url: str) -> dict[str, str]:
    return {**os.environ, "AMBRY_ENDPOINTS": url, "NO_COLOR": "1"}


def ambry(url: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=60, env=environment(url), check=False)


def now(client: AmbryClient) -> str:
    """The token that begins behind all there is."""
    feed = client.changes("now")
    assert list(feed) == []
    return feed.token


def all_are_told(client: AmbryClient, token: str, count: int) -> None:
    """The replica that is read may not have yet what the others acknowledged without it."""
    eventually(lambda: len(list(client.changes(token))) >= count, f"{count} changes are told")


def types(found: list[ToldChange]) -> list[str]:
    return [each.type for each in found]


def test_all_kinds_of_changes_are_told_in_their_order(dc1: str) -> None:
    with AmbryClient(dc1) as client:
        token = now(client)
        blob = client.put(b"one", ttl=timedelta(hours=1))
        client.update_ttl(blob.id, None)
        client.put(b"two", name="changes/a")
        client.create_dataset("changed")
        version = client.put_version("changed", b"three", "1.0.0")
        client.set_alias("changed", "champion", "1.0.0", expected=None, who="ann", why="best")
        all_are_told(client, token, 8)
        feed = client.changes(token, page_size=3)
        found = list(feed)
        assert sorted(types(found)) == [
            *["alias.put", "blob.extend", "blob.put", "blob.put", "blob.put", "dataset.put", "name.put", "version.put"]
        ]
        told = {each.type: each for each in found if each.type != "blob.put"}
        assert (told["blob.extend"].id, told["blob.extend"].expires) == (blob.id, None)
        assert (told["name.put"].name, told["name.put"].size) == ("changes/a", 3)
        assert (told["version.put"].version, told["version.put"].id) == ("1.0.0", version.id)
        assert (told["alias.put"].alias, told["alias.put"].who, told["alias.put"].why) == ("champion", "ann", "best")
        for named in ("name.put", "version.put"):
            puts = [place for place, each in enumerate(found) if each.type == "blob.put" and each.id == told[named].id]
            assert puts and puts[0] < found.index(told[named])
        client.delete(blob.id)
        client.undelete(blob.id)
        client.delete("changes/a")
        all_are_told(client, feed.token, 3)
        after = list(client.changes(feed.token))
        assert sorted(types(after)) == ["blob.delete", "blob.undelete", "name.delete"]
        assert next(each for each in after if each.type == "blob.undelete").life_version == 1


async def test_a_feed_goes_on_in_the_other_datacenter(dc1: str, dc2: str) -> None:
    with AmbryClient(dc1) as here:
        feed = here.changes("now")
        assert list(feed) == []
        async with AsyncAmbryClient(dc2) as there:
            follows = there.changes(feed.token, follow=True)
            info = here.put(b"x", name="changes/b")
            seen: set[str] = set()
            async with asyncio.timeout(60):
                async for change in follows:
                    if change.id == info.id:
                        seen.add(change.type)
                    if seen == {"blob.put", "name.put"}:
                        break


def test_pages_come_whole_with_the_token_behind_them(dc1: str) -> None:
    with AmbryClient(dc1) as client:
        begin = now(client)
        ids = {client.put(b"%d" % number).id for number in range(9)}
        all_are_told(client, begin, 9)
        feed = client.changes(begin, page_size=2)
        first = next(feed)
        rest = feed.next_page()
        told = [first, *rest.changes]
        again = list(client.changes(rest.token))
        assert {each.id for each in told}.isdisjoint(each.id for each in again)
        pages = [rest]
        while not pages[-1].at_end:
            pages.append(feed.next_page())
        told += [change for page in pages[1:] for change in page.changes]
        assert {each.id for each in told} == ids and len(told) == 9
        assert feed.next_page().changes == () and list(client.changes(feed.token)) == []


def test_a_feed_that_was_left_goes_on_behind_its_last_whole_page(dc1: str) -> None:
    with AmbryClient(dc1) as client:
        token = now(client)
        ids = [client.put(b"%d" % number).id for number in range(5)]
        all_are_told(client, token, 5)
        feed = client.changes(token, page_size=2)
        first = next(feed)
        assert feed.token == token, "the page is not through"
        seen = [each.id for each in client.changes(feed.token)]
        assert first.id in seen and sorted(map(str, seen)) == sorted(map(str, ids))


@pytest.mark.parametrize("since", ["", "no token", "later"])
def test_what_is_no_token_is_refused(dc1: str, since: str) -> None:
    with AmbryClient(dc1) as client, pytest.raises(InvalidRequest):
        list(client.changes(since))


def test_the_command_tells_changes_and_goes_on_by_its_file(dc1: str, tmp_path: Path) -> None:
    state = tmp_path / "token"
    with AmbryClient(dc1) as client:
        state.write_text(now(client))
        info = client.put(b"x", name="changes/c")
        told = ambry(dc1, "--state", str(state), "--output", "json")
        assert told.returncode == 0, told.stderr
        lines = [json.loads(line) for line in told.stdout.splitlines()]
        assert [(line["type"], line["id"]) for line in lines] == [
            ("blob.put", str(info.id)),
            ("name.put", str(info.id)),
        ]
        client.delete("changes/c")
        # Where to begin the first time is said each time in a crontab: what came between two runs was skipped.
        table = ambry(dc1, "--since", "now", "--state", str(state)).stdout.decode()
        assert "name.delete" in table and "changes/c" in table and str(info.id) in table
    wrong = ambry(dc1, "--since", "nonsense")
    assert wrong.returncode != 0 and b"token" in wrong.stderr


def test_the_command_follows_until_it_is_interrupted(dc1: str, tmp_path: Path) -> None:
    state, out = tmp_path / "token", tmp_path / "out"
    with AmbryClient(dc1) as client, out.open("wb") as sink:
        state.write_text(now(client))
        process = subprocess.Popen(
            [*COMMAND, "--follow", "--state", str(state), "--output", "json"],
            stdout=sink,
            env={**environment(dc1), "PYTHONUNBUFFERED": "1"},
        )
        try:
            ids = []
            for number in range(3):
                ids.append(str(client.put(b"%d" % number).id))
                eventually(lambda: out.read_text().count("blob.put") > number, "it is told")  # noqa: B023  called at once
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == ids
