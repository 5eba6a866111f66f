"""Two of three data nodes of a datacenter paused (F37): every answer within seconds, honest, and all is well afterwards.

A paused process keeps its connections: nothing is refused, nothing breaks, only no answer comes. Once a put tried three
partitions on the same three nodes for ten seconds each, a delete as long, 410 and 503 came after ten seconds, and
`/healthCheck` said GOOD, since everybody was connected.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from ambry.ids import BlobId
from deploy.local_cluster import LocalCluster
from tests.support.clusters import frontend_urls, rounds
from tests.support.content import content
from tests.support.rest import Answer, call, everywhere, get, put
from tests.support.waiting import eventually

MakeCluster = Callable[..., LocalCluster]

SDK_READ_TIMEOUT_S = 30.0
"""What a client with default settings waits for (ambry/client); an answer must come before."""


def timed(what: str, when: str, ask: Callable[[], Answer]) -> Answer:
    began = time.monotonic()
    answer = ask()
    print(f"{when}: {what} answered {answer.status} after {time.monotonic() - began:.2f} s")
    return answer


def code(answer: Answer) -> str:
    return str(answer.headers["x-ambry-error-code"])


def unknown_id(known: str) -> str:
    """A well-formed id that nobody has put, in a partition that exists."""
    blob_id = BlobId.parse(known)
    return str(
        BlobId.make(
            kind=blob_id.kind,
            datacenter=blob_id.datacenter,
            account=blob_id.account,
            container=blob_id.container,
            partition=blob_id.partition,
            uuid=bytes(6) + b"\x70\x00\x80" + bytes(7),
        )
    )


def is_honest(answer: Answer, expected: str) -> None:
    assert (answer.status, code(answer)) == (503, expected), answer.body
    assert answer.headers["Retry-After"]
    if expected == "QuorumNotReached":
        assert b"may or may not have happened" in answer.body


def given_up(answer: Answer) -> None:
    """The nodes were given up because they are known not to answer; nobody waited for the request's whole time.

    They do not answer; after some ten seconds of silence the connection to them is ended, and they are not connected.
    """
    silence = (b"does not answer", b"ended before the answer", b"not connected")
    assert any(reason in answer.body for reason in silence), answer.body
    assert b"did not answer in time" not in answer.body, answer.body


def ask_everything(url: str, when: str, *, alive: str, doomed: str, deleted: str) -> None:
    noticed = when != "just paused"
    stored = timed("put", when, lambda: call(url, "POST", "/", b"x" * 4096, timeout_s=SDK_READ_TIMEOUT_S))
    is_honest(stored, "QuorumNotReached")
    removed = timed("delete", when, lambda: call(url, "DELETE", f"/{doomed}", timeout_s=SDK_READ_TIMEOUT_S))
    is_honest(removed, "QuorumNotReached")
    gone = timed("get of a deleted blob", when, lambda: get(url, deleted))
    assert (gone.status, code(gone)) == (410, "BlobDeleted"), gone.body
    unknown = timed("get of an unknown id", when, lambda: get(url, unknown_id(alive)))
    is_honest(unknown, "Unavailable")
    refused = timed("delete of an unknown id", when, lambda: call(url, "DELETE", f"/{unknown_id(alive)}"))
    is_honest(refused, "Unavailable")
    assert b"nothing was changed" in refused.body
    if noticed:
        for answer in (stored, removed, unknown, refused):
            given_up(answer)
    read = timed("get of a blob", when, lambda: get(url, alive))
    assert (read.status, read.body) == (200, content(1, 100_000))


def noticed_bad(url: str, began: float) -> None:
    eventually(lambda: call(url, "GET", "/healthCheck").body == b"BAD", "/healthCheck says so")
    print(f"/healthCheck answered BAD at the latest {time.monotonic() - began:.2f} s after the pause")


def pause_and_wake(cluster: LocalCluster, *, at_once: bool) -> None:
    """`at_once` asks before the pause can have been noticed, too."""
    url = cluster.frontends("dc1")[0].url
    alive, doomed, deleted = (put(url, content(number, 100_000)) for number in (1, 2, 3))
    for blob_id in (alive, doomed, deleted):
        eventually(lambda blob_id=blob_id: everywhere(url, blob_id), "the blob on every node")  # type: ignore[misc]
    assert call(url, "DELETE", f"/{deleted}").status == 202
    paused = [node.name for node in cluster.nodes("dc1")][:2]
    assert call(url, "GET", "/healthCheck").body == b"GOOD"

    for name in paused:
        cluster.kill(name, signal.SIGSTOP)
    began = time.monotonic()
    try:
        if at_once:
            ask_everything(url, "just paused", alive=alive, doomed=doomed, deleted=deleted)
        noticed_bad(url, began)
        ask_everything(url, "noticed", alive=alive, doomed=doomed, deleted=deleted)
    finally:
        for name in paused:
            cluster.kill(name, signal.SIGCONT)
    woken = time.monotonic()
    eventually(lambda: call(url, "GET", "/healthCheck").body == b"GOOD", "well again")
    print(f"/healthCheck answered GOOD {time.monotonic() - woken:.2f} s after they woke up")
    assert get(url, put(url, b"hello")).body == b"hello"
    # Absence is sure again once they are connected to each other, and have told the third how far they know it.
    eventually(lambda: get(url, unknown_id(alive)).status == 404, "404 of an unknown id")
    assert call(url, "DELETE", f"/{unknown_id(alive)}").status == 404
    assert get(url, deleted).status == 410
    # The delete that may or may not have happened comes to one of them, everywhere.
    urls = frontend_urls(cluster)
    eventually(lambda: {get(each, doomed).status for each in urls} == {410}, "the delete reached everybody")


def test_with_two_of_three_nodes_paused_every_answer_is_quick_and_honest(make_cluster: MakeCluster) -> None:
    pause_and_wake(make_cluster(datacenters=1, partitions=1), at_once=False)


@pytest.mark.fault
@pytest.mark.parametrize("turn", range(rounds(2)))
def test_also_before_anybody_noticed_and_with_another_datacenter(make_cluster: MakeCluster, turn: int) -> None:
    pause_and_wake(make_cluster(partitions=2), at_once=True)
