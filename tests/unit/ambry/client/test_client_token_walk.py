"""Lists whose pages lead nowhere, through both clients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec
import pytest

from ambry import AmbryClient, AsyncAmbryClient, ProtocolViolation, RetryPolicy, Timeout, Unavailable
from ambry.client.token_walk import TokenWalk
from tests.support.scripted_frontend import BLOB, LISTED, Answer, Asked, ScriptedFrontend
from tests.support.twins import Twins

NEVER = RetryPolicy(max_attempts=1)
PATIENT = Timeout(connect=60, read=60)
LISTS: dict[str, Callable[[Any], object]] = {
    "entries": lambda client: list(islice(client.list("a/").pages(), 100)),
    "datasets": lambda client: list(islice(client.datasets().pages(), 100)),
    "versions": lambda client: list(islice(client.versions("d").pages(), 100)),
    "aliases": lambda client: client.aliases("d"),
    "moves": lambda client: client.alias_history("d", "production"),
}


@pytest.mark.parametrize("token", ["", 0, 1, [], {}, True, "asked"])
def test_what_is_no_token_of_a_further_page_leads_nowhere(token: object) -> None:
    assert not TokenWalk("asked").may_go_on(token)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("before", [0, 1, 20])
def test_a_walk_that_comes_back_ends(before: int, length: int) -> None:
    walk = TokenWalk(None)
    tokens = [f"{number}" for number in range(before)] + [f"again {number}" for number in range(length)] * 400
    for taken, token in enumerate(tokens):
        if not walk.may_go_on(token):
            assert taken >= before + length
            return
        walk.went_on(token)
    pytest.fail("it went on for ever")


def test_a_walk_that_leads_on_does_not_end() -> None:
    walk = TokenWalk(None)
    for number in range(5_000):
        assert walk.may_go_on(f"{number}")
        walk.went_on(f"{number}")


def listing(tokens: list[Any], *, name: str = "entries", entry: object = None) -> Any:
    """Answers of one page after the other, with these tokens in turn."""
    asked = 0

    def bent(_: Asked, answer: Answer) -> Answer:
        nonlocal asked
        told = (
            msgspec.json.decode(LISTED % BLOB.encode()) if name == "entries" else {name: [entry] * (entry is not None)}
        )
        body = msgspec.json.encode(told | {"nextPageToken": tokens[asked % len(tokens)]})
        asked += 1
        return answer.having(body, content_length=str(len(body)))

    return bent


@pytest.mark.parametrize(
    "tokens", [["a", ""], ["a", "a"], ["a", 5], ["a", {}], ["a", ["a"]], ["a", "b", "c"]], ids=lambda each: repr(each)
)
@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_leads_nowhere_is_no_list(twins: Twins, name: str, tokens: list[Any]) -> None:
    # The first page was asked for again, and again.
    with ScriptedFrontend() as server:
        server.bend = listing(tokens, name=name)
        client = twins.connect(server.url, timeout=PATIENT, retry=NEVER)
        with pytest.raises(ProtocolViolation):
            LISTS[name](client)


def test_a_list_that_failed_is_asked_on_where_it_was() -> None:
    # It had ended: the rest was left out without a word.
    with ScriptedFrontend() as server, AmbryClient(server.url, timeout=PATIENT, retry=NEVER) as client:
        server.bend = listing(["a", None])
        entries = iter(client.list("a/"))
        assert next(entries).name == "a/b"
        server.bend = lambda asked, answer: answer.having(b"", 503, content_length="0")
        with pytest.raises(Unavailable):
            next(entries)
        server.bend = listing([None])
        assert [each.name for each in entries] == ["a/b"]
        assert "page=a" in server.requests[-1].path


async def test_a_list_that_failed_is_asked_on_where_it_was_by_the_awaiting_client() -> None:
    with ScriptedFrontend() as server:
        async with AsyncAmbryClient(server.url, timeout=PATIENT, retry=NEVER) as client:
            server.bend = listing(["a", None])
            entries = aiter(client.list("a/"))
            assert (await anext(entries)).name == "a/b"
            server.bend = lambda asked, answer: answer.having(b"", 503, content_length="0")
            with pytest.raises(Unavailable):
                await anext(entries)
            server.bend = listing([None])
            assert [each.name async for each in entries] == ["a/b"]
            assert "page=a" in server.requests[-1].path


@pytest.mark.parametrize("entry", [-1, "x", [], None, {"datasetName": {}}])
@pytest.mark.parametrize("name", ["datasets", "aliases", "moves", "versions"])
def test_an_entry_that_is_none_is_told_as_that(twins: Twins, name: str, entry: object) -> None:
    with ScriptedFrontend() as server:
        body = msgspec.json.encode({name: [entry], "nextPageToken": None})
        server.bend = lambda asked, answer: answer.having(body, content_length=str(len(body)))
        client = twins.connect(server.url, timeout=PATIENT, retry=NEVER)
        with pytest.raises(ProtocolViolation):
            LISTS[name](client)


@pytest.mark.parametrize("entries", [[], [None], [-1]])
@pytest.mark.parametrize("name", ["accounts", "containers"])
def test_an_answer_about_one_tells_one(twins: Twins, name: str, entries: list[object]) -> None:
    # "not enough values to unpack", with a traceback.
    with ScriptedFrontend() as server:
        body = msgspec.json.encode({name: entries})
        server.bend = lambda asked, answer: answer.having(body, content_length=str(len(body)))
        client = twins.connect(server.url, timeout=PATIENT, retry=NEVER)
        with pytest.raises(ProtocolViolation):
            client.account("a") if name == "accounts" else client.container("a", "c")
