"""The feed of changes while data nodes are killed: nothing acknowledged is left out, and what waits is said."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ambry import AmbryClient, RetryPolicy, Unavailable
from tests.support.clusters import running_cluster, wait_until_whole
from tests.support.rest import connect
from tests.support.waiting import eventually

PATIENT = RetryPolicy(max_attempts=10)


class Ledger:
    """What was acknowledged: of each name its history, as kinds and ids, and blobs without a name."""

    def __init__(self, client: AmbryClient) -> None:
        self._client = client
        self.histories: dict[str, list[tuple[str, str]]] = {}
        self.blobs: set[str] = set()

    def write(self, part: str) -> None:
        """A blob, a name that stays, and one that is deleted and made again."""
        self.blobs.add(str(self._client.put(part.encode()).id))
        for name, does in ((f"fed/{part}", ("put",)), ("fed/again", ("delete", "put"))):
            history = self.histories.setdefault(name, [])
            for each in does:
                if each == "put":
                    blob = str(self._client.put(f"{part} {name}".encode(), name=name).id)
                    self.blobs.add(blob)
                    history.append(("name.put", blob))
                elif history:
                    self._client.delete(name)
                    history.append(("name.delete", ""))

    def lacks(self, told: Sequence[tuple[str, str, str]]) -> list[str]:
        """What is wrong with changes, as kinds, names and ids: what is left out, or comes in another order."""
        kinds = [(kind, blob) for kind, _, blob in told]
        found = [f"no put of {blob}" for blob in sorted(self.blobs) if ("blob.put", blob) not in kinds]
        for name, history in self.histories.items():
            events = [(kind, blob if kind == "name.put" else "") for kind, of, blob in told if of == name]
            if not _goes_on(history, events) or events[-1:] != history[-1:]:
                found.append(f"{name} was {history}, and is told as {events}")
            named = [kinds.index(each) for each in history if each[1] and each in kinds]
            found += [
                f"{kinds[index][1]} is named {name} before it is put"
                for index in named
                if ("blob.put", kinds[index][1]) not in kinds[:index]
            ]
        return found


def _goes_on(history: Sequence[tuple[str, str]], events: Sequence[tuple[str, str]]) -> bool:
    """Whether a history is in the events in its order; others between them are told again."""
    rest = iter(events)
    return all(each in rest for each in history)


@contextlib.contextmanager
def stream(url: str, since: str) -> Iterator[list[dict[str, Any]]]:
    """The lines of one stream that is not left, as they come."""
    lines: list[dict[str, Any]] = []
    connection = connect(url)
    connection.request("GET", f"/changes?since={since}", headers={"Accept": "application/x-ndjson"})
    answer = connection.getresponse()
    assert answer.status == 200

    def read() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, AttributeError):
            while line := answer.readline():
                lines.append(json.loads(line))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield lines
    finally:
        if connection.sock is not None:
            connection.sock.shutdown(2)
        reader.join(10)
        connection.close()


def told_by_lines(lines: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(line["type"], line.get("name", ""), line.get("blobId", "")) for line in lines if line["type"] != "token"]


def delayed(lines: Sequence[dict[str, Any]]) -> bool | None:
    """What the last whole page of a stream says."""
    return next((line.get("delayed", False) for line in reversed(lines) if line["type"] == "token"), None)


class Pages:
    """One who asks for pages, and keeps the token."""

    def __init__(self, client: AmbryClient, token: str) -> None:
        self._client = client
        self.token = token
        self.told: list[tuple[str, str, str]] = []

    def ask(self) -> bool:
        """To what is the end so far; returns whether something is delayed."""
        feed = self._client.changes(self.token, page_size=3)
        while True:
            page = feed.next_page()
            self.told += [(each.type, each.name or "", str(each.id or "")) for each in page.changes]
            self.token = page.token
            if page.at_end:
                return page.delayed


def test_nothing_acknowledged_is_left_out_while_nodes_are_dead(tmp_path: Path) -> None:
    with running_cluster(tmp_path, datacenters=1, partitions=2) as cluster:
        wait_until_whole(cluster)
        url = cluster.frontends()[0].url
        first, *others = [member.name for member in cluster.nodes()]
        with AmbryClient(url, retry=PATIENT) as client:
            begin = Pages(client, "now")
            assert not begin.ask()
            pages, ledger = Pages(client, begin.token), Ledger(client)
            with stream(url, begin.token) as lines:
                ledger.write("whole")
                cluster.kill(first)
                ledger.write("two of three")
                eventually(lambda: not ledger.lacks(told_by_lines(lines)), "the two that live tell all")
                assert not pages.ask() and delayed(lines) is False
                # What these two alone have is what nobody can tell, also not the one that comes back first.
                ledger.write("before they die")
                for name in others:
                    cluster.kill(name)
                eventually(pages.ask, "a page says that something waits")
                eventually(lambda: delayed(lines), "the stream says it")
                try:
                    list(client.changes(begin.token))
                except Unavailable as error:
                    assert "cannot be told now" in str(error)
                else:
                    raise AssertionError("an end that is none was told as one")
                cluster.start(first)
                pages.ask()
                for name in others:
                    cluster.start(name)
                ledger.write("all are back")
                eventually(lambda: delayed(lines) is False, "the stream says that nothing waits any more")
                eventually(lambda: not pages.ask() and not ledger.lacks(pages.told), "pages tell all")
                eventually(lambda: not ledger.lacks(told_by_lines(lines)), "the stream tells all")
            anew = Pages(client, begin.token)
            eventually(lambda: not anew.ask() and not ledger.lacks(anew.told), "who begins anew is told all")
        assert not any("restarted" in kind for kind, _, _ in (*pages.told, *anew.told))
