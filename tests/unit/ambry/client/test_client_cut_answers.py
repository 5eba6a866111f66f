"""Connections that end at every byte of an answer: what a client makes of it is right, or an error of ours that says so.

A head that was cut was taken for a whole one: `x-ambry-blob-size: 61`, cut after the 6, was a blob of 6 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from ambry import PeerConnectionLost, ProtocolViolation, RetryPolicy, Timeout
from tests.support.reads import BATCHES, reads_of
from tests.support.scripted_frontend import BLOB, DATA, Answer, Asked, ScriptedFrontend
from tests.support.twins import Twins

NEVER = RetryPolicy(max_attempts=1)
ONCE_MORE = RetryPolicy(base=0.0, budget=1.0)
PATIENT = Timeout(connect=60, read=60)
End = Literal["close", "reset"]


@pytest.fixture
def server() -> Iterator[ScriptedFrontend]:
    with ScriptedFrontend() as made:
        yield made


def others(client: Any) -> dict[str, Callable[[Any, Path], bool]]:
    """Calls whose answer is a head, or a list: each must say what it says when nothing is cut."""
    calls: dict[str, Callable[[], Any]] = {
        "head": lambda: client.head(BLOB),
        "put": lambda: client.put(DATA),
        "put to a name": lambda: client.put(DATA, name="team/models/a/b"),
        "list": lambda: [*client.list("ambry://team/models/")],
    }
    whole = {name: call() for name, call in calls.items()}
    return {name: lambda _, __, name=name: bool(calls[name]() == whole[name]) for name in calls}  # type: ignore[misc]


class Cutting:
    """Cuts the first answer to a request of `method` after `sent_max` bytes."""

    def __init__(self, method: str, sent_max: int, end: End) -> None:
        self.left, self.method, self.sent_max, self.end = True, method, sent_max, end

    def __call__(self, asked: Asked, answer: Answer) -> Answer:
        if not self.left or asked.method != self.method:
            return answer
        self.left = False
        return answer.cut(self.sent_max, self.end)


def check(twins: Twins, server: ScriptedFrontend, place: Path, end: End, step: int) -> None:
    """Every byte of bodies, and every `step`th of heads."""
    never = twins.connect(server.url, retry=NEVER, timeout=PATIENT)
    again = twins.connect(server.url, retry=ONCE_MORE, timeout=PATIENT)
    once = reads_of(twins, server.url, NEVER) | BATCHES | others(never)
    twice = reads_of(twins, server.url, ONCE_MORE) | BATCHES | others(again)
    for name, call in once.items():
        own = place / name
        own.mkdir()
        for method, answer in _answers(server, partial(call, never, own)).items():
            head = len(answer.raw) - len(answer.body)
            for cut in [*range(0, head, step), *range(head - 1, len(answer.raw))]:
                _one(server, Cutting(method, cut, end), partial(call, never, own), repeated=False)
                _one(server, Cutting(method, cut, end), partial(twice[name], again, own), repeated=True)


def _answers(server: ScriptedFrontend, call: Callable[[], bool]) -> dict[str, Answer]:
    """The first answer to each method that a call uses."""
    found: dict[str, Answer] = {}

    def noting(asked: Asked, answer: Answer) -> Answer:
        found.setdefault(asked.method, answer)
        return answer

    server.bend = noting
    assert call()
    return found


def _one(server: ScriptedFrontend, cutting: Cutting, call: Callable[[], bool], *, repeated: bool) -> None:
    server.bend = cutting
    told = (cutting.method, cutting.sent_max, cutting.end, repeated)
    try:
        assert call(), told
    except (PeerConnectionLost, ProtocolViolation) as error:
        assert not repeated and str(error), (told, error)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_connection_that_ends_in_an_answer_gives_the_right_bytes_or_an_error(
    server: ScriptedFrontend, twins: Twins, tmp_path: Path, end: End
) -> None:
    check(twins, server, tmp_path, end, step=31)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_connection_that_ends_at_any_byte_of_any_answer(
    server: ScriptedFrontend, twins: Twins, tmp_path: Path, end: End
) -> None:
    check(twins, server, tmp_path, end, step=1)
