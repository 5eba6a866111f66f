"""The decisions of the client, without any I/O."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from ambry import AmbryClient, ByteRange, InvalidRequest, RetryPolicy, Timeout, TransferConfig
from ambry.client.model import Jitter
from ambry.client.retry import Attempts, Endpoints, RetryBudget
from ambry.client.wire import blobs as wire
from ambry.client.wire import refusals
from ambry.client.wire.health import parse_store_time
from ambry.client.wire.json_request import json_request
from ambry.client.wire.message import ApiRequest, answered_at, parse_time
from ambry.errors import (
    AccessDenied,
    AmbryError,
    BlobDeleted,
    BlobGone,
    BlobNotFound,
    ConfigInvalid,
    InsufficientStorage,
    InternalError,
    ProtocolViolation,
    QuotaExceeded,
    RateLimited,
    RequestTimeout,
    Unavailable,
)
from tests.support.twins import FakeClock

GET = ApiRequest("GET", "/x", {}, "blob x")


def attempts(clock: FakeClock, *urls: str, policy: RetryPolicy | None = None, total: float | None = None) -> Attempts:
    policy = policy or RetryPolicy()
    return Attempts(
        policy=policy,
        budget=RetryBudget(policy.budget),
        endpoints=Endpoints(urls or ("http://a",)),
        clock=clock,
        source=random.Random(7),
        deadline=None if total is None else clock.monotonic() + total,
    )


def test_text_that_is_none_is_refused_before_anything_is_sent() -> None:
    """`ambry key create` with such a name was a traceback, an alias with such a reason Python's words."""
    request, body = json_request("POST", "/keys", {"name": "größe"}, "the key größe", {"x": "y"})
    assert body == '{"name":"größe"}'.encode()
    assert request.headers == {"x": "y", "content-type": "application/json", "content-length": "18"}
    with pytest.raises(InvalidRequest) as told:
        json_request("POST", "/keys", {"name": "a\udcff"}, "the key")
    assert str(told.value).startswith("what is said of the key has text that UTF-8 cannot hold: 'a\\udcff'")
    with pytest.raises(InvalidRequest, match="what is said of the key cannot be sent"):
        json_request("POST", "/keys", {"name": object()}, "the key")


def problem(code: str, **more: object) -> bytes:
    import msgspec

    return msgspec.json.encode({"code": code, "detail": "do this", "request_id": "r1", **more})


@pytest.mark.parametrize(
    ("status", "code", "cls"),
    [
        (410, "BlobDeleted", BlobDeleted),
        (404, "BlobNotFound", BlobNotFound),
        (503, "QuorumNotReached", Unavailable),
        (410, "SomethingNewer", BlobGone),
        (418, "SomethingNewer", InvalidRequest),
        (599, "SomethingNewer", Unavailable),
        (500, "", InternalError),
        (502, "", Unavailable),
        (400, "", InvalidRequest),
        (404, "", ProtocolViolation),
        (302, "", ProtocolViolation),
    ],
)
def test_an_answer_becomes_the_error_that_it_names(status: int, code: str, cls: type[AmbryError]) -> None:
    headers = {"content-type": "application/problem+json"}
    body = problem(code) if code else b""
    error = refusals.error_of("http://f", GET, status, headers, body, now_ms=0)
    assert isinstance(error, cls)
    if code:
        assert (error.message, error.request_id) == ("do this", "r1")


def test_an_error_without_a_body_is_named_by_its_headers() -> None:
    headers = {"x-ambry-error-code": "BlobNotFound", "x-ambry-request-id": "r2", "retry-after": "3"}
    error = refusals.error_of("http://f", GET, 404, headers, b"", now_ms=0)
    assert isinstance(error, BlobNotFound)
    assert "blob x does not exist" in error.message
    assert (error.request_id, error.retry_after_s) == ("r2", 3.0)


def test_an_error_without_a_body_has_the_sentence_of_its_header() -> None:
    """`ambry stat` of what a key may not read said `was refused with status 403`, and not why: HEAD answers have no body."""
    headers = {
        "x-ambry-error-code": "AccessDenied",
        "x-ambry-error-detail": "caf%C3%A9 is not yours",
        "x-ambry-request-id": "r",
    }
    error = refusals.error_of("http://f", GET, 403, headers, b"", now_ms=0)
    assert (type(error), error.message) == (AccessDenied, "caf\N{LATIN SMALL LETTER E WITH ACUTE} is not yours")
    bare = {"x-ambry-error-code": "Unauthenticated", "x-ambry-request-id": "r"}
    message = refusals.error_of("http://f", GET, 401, bare, b"", now_ms=0).message
    assert "takes a key that this cluster knows" in message and "AMBRY_KEY_FILE" in message
    headers["content-type"] = "application/problem+json"
    error = refusals.error_of("http://f", GET, 403, headers, problem("AccessDenied"), now_ms=0)
    assert error.message == "do this", "a body says all of it"


def test_what_is_gone_says_how_also_without_a_body() -> None:
    """HEAD and `ambry get` of a deleted blob said `was deleted or has expired`, and not that it may come back."""
    for code, said in (
        ("BlobDeleted", "blob x was deleted; it may be undeleted until its space is given back"),
        ("BlobExpired", "blob x has expired"),
        ("BlobGone", "blob x was deleted or has expired"),
    ):
        headers = {"x-ambry-error-code": code, "x-ambry-request-id": "r2"}
        assert refusals.error_of("http://f", GET, 410, headers, b"", now_ms=0).message == said


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"null", b'{"code": 7, "detail": null}'])
def test_a_malformed_problem_is_no_crash(body: bytes) -> None:
    headers = {"content-type": "application/problem+json", "x-ambry-error-code": "Unavailable"}
    assert isinstance(refusals.error_of("http://f", GET, 503, headers, body, now_ms=0), Unavailable)


@pytest.mark.parametrize(
    "text", ["Sat, 21 Nov 2026 23:07:00 GMT", "1795302420000", "2026-11-21T23:07:00Z", "2026-11-22T00:07:00+01:00"]
)
def test_times_are_read_in_every_form(text: str) -> None:
    assert parse_time(text) == datetime(2026, 11, 21, 23, 7, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "Sat, 99 Nov", "9" * 40])
def test_what_is_no_time_is_none(text: str) -> None:
    assert parse_time(text) is None


def test_retry_after_may_be_a_date() -> None:
    headers = {"retry-after": "Sat, 21 Nov 2026 23:07:00 GMT"}
    assert refusals.retry_after(headers, 1795302410000) == 10.0
    assert refusals.retry_after(headers, 1795302430000) == 0.0
    dated = {**headers, "date": "Sat, 21 Nov 2026 23:06:50 GMT", "x-ambry-answered-ms": "1000"}
    for days in (-8, 8):  # Who wrote the one date wrote the other.
        assert refusals.retry_after(dated, 1795302410000 + days * 86_400_000) == 10.0


def test_when_an_answer_is_of_says_a_header_of_ours_alone() -> None:
    """A proxy writes a `Date` of its own, and a cache an `Age` by its own clock."""
    told = {"x-ambry-answered-ms": "1795302410250", "date": "Sun, 29 Nov 2026 23:06:50 GMT"}
    of = datetime(2026, 11, 21, 23, 6, 50, 250_000, tzinfo=UTC)
    assert answered_at(told) == answered_at({**told, "age": "0"}) == of
    untold = {"date": told["date"]}
    for text in ("", "soon", told["date"], "2026-11-21T23:06:50Z", "-1", "9" * 19, "9" * 20):
        assert answered_at({**untold, "x-ambry-answered-ms": text}) is None
    for none in (untold, {**told, "age": "70"}, {**told, "age": "soon"}):
        assert answered_at(none) is None


def test_the_time_of_the_store_is_told_to_the_millisecond() -> None:
    """It is the version of a snapshot of now. No header says it."""
    told = {"x-ambry-answered-ms": "1000", "date": "Sun, 29 Nov 2026 23:06:50 GMT"}
    of = datetime(2026, 11, 21, 23, 6, 50, 250_000, tzinfo=UTC)
    assert parse_store_time(told, b'{"version": "2", "atMs": 1795302410250}') == of
    for body in (b"{}", b"[]", b'{"version": "2"}', b'{"atMs": null}', b'{"atMs": 9223372036854775807}'):
        with pytest.raises(ProtocolViolation, match="the answer has no time"):
            parse_store_time(told, body)


@pytest.mark.parametrize(
    ("asked", "header", "in_ten"),
    [
        (ByteRange(0, 4), "bytes=0-3", (0, 4)),
        (ByteRange(2), "bytes=2-", (2, 10)),
        (ByteRange(-3), "bytes=-3", (7, 10)),
        (ByteRange(-30), "bytes=-30", (0, 10)),
        (ByteRange(8, 30), "bytes=8-29", (8, 10)),
    ],
)
def test_ranges(asked: ByteRange, header: str, in_ten: tuple[int, int]) -> None:
    assert asked.header() == header
    assert wire.span_of(asked, 10) == wire.BlobSpan(start=in_ten[0], stop=in_ten[1], size=10)


def test_backoff_is_full_jitter_below_a_growing_ceiling() -> None:
    clock = FakeClock()
    tries = attempts(clock, policy=RetryPolicy(max_attempts=9, base=1.0, cap=5.0))
    for ceiling in (1.0, 2.0, 4.0, 5.0, 5.0):
        tries.begin()
        assert 0.0 <= tries.failed(Unavailable("x")) <= ceiling


@pytest.mark.parametrize(("jitter", "least"), [("equal", 0.5), ("none", 1.0)])
def test_less_of_the_backoff_is_drawn_where_that_is_asked_for(jitter: Jitter, least: float) -> None:
    tries = attempts(FakeClock(), policy=RetryPolicy(max_attempts=9, base=1.0, cap=5.0, jitter=jitter))
    for ceiling in (1.0, 2.0, 4.0, 5.0, 5.0):
        tries.begin()
        assert ceiling * least <= tries.failed(Unavailable("x")) <= ceiling


@pytest.mark.parametrize(
    ("retry_on", "error", "again"),
    [
        (None, Unavailable("x"), True),
        (None, InternalError("x"), True),
        (None, BlobNotFound("x"), False),
        ((BlobNotFound, ConnectionError), BlobNotFound("x"), True),
        ((BlobNotFound, ConnectionError), Unavailable("x"), True),
        ((BlobNotFound, ConnectionError), InternalError("x"), False),
        ((), Unavailable("x"), False),
    ],
)
def test_what_is_tried_again_can_be_said(
    retry_on: tuple[type[BaseException], ...] | None, error: AmbryError, again: bool
) -> None:
    tries = attempts(FakeClock(), policy=RetryPolicy(retry_on=retry_on))
    tries.begin()
    if again:
        assert tries.failed(error) >= 0.0
    else:
        with pytest.raises(type(error)):
            tries.failed(error)


def test_a_policy_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="jitter is one of full, equal, none, not 'some'"):
        RetryPolicy(jitter="some")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="retry_on is a tuple of classes"):
        RetryPolicy(retry_on=Unavailable)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="retry_on has classes of errors"):
        RetryPolicy(retry_on=("Unavailable",))  # type: ignore[arg-type]


def test_the_last_attempts_error_is_raised_with_where_and_how_often() -> None:
    tries = attempts(FakeClock(), policy=RetryPolicy(max_attempts=2))
    tries.begin()
    tries.failed(Unavailable("first"))
    tries.begin()
    with pytest.raises(Unavailable, match="second") as caught:
        tries.failed(Unavailable("second"))
    assert (caught.value.endpoint, caught.value.attempts) == ("http://a", 2)


@pytest.mark.parametrize(
    ("first", "may_have_done_it"),
    [
        (Unavailable("cut"), True),
        (RequestTimeout("no answer in time"), True),
        (RateLimited("too many", retry_after_s=1.0), False),
        (refusals.ConnectFailed("nobody listens"), False),
    ],
    ids=repr,
)
def test_an_error_says_whether_an_earlier_attempt_may_have_done_it(first: AmbryError, may_have_done_it: bool) -> None:
    """Of one that was over its rate nobody has to ask whether it did something."""
    tries = attempts(FakeClock(), policy=RetryPolicy(max_attempts=2))
    tries.begin()
    tries.failed(first)
    tries.begin()
    with pytest.raises(RateLimited) as caught:
        tries.failed(RateLimited("too many", retry_after_s=1.0))
    assert not first.repeated and caught.value.repeated is may_have_done_it


def test_a_call_does_not_wait_beyond_its_deadline() -> None:
    error = Unavailable("x", retry_after_s=5.0)
    tries = attempts(FakeClock(), total=4.0)
    tries.begin()
    with pytest.raises(Unavailable):
        tries.failed(error)


def test_a_quota_is_not_dodged_by_another_endpoint() -> None:
    tries = attempts(FakeClock(), "http://a", "http://b")
    tries.begin()
    assert tries.failed(QuotaExceeded("slow down", retry_after_s=3.0)) >= 3.0
    assert tries.begin() == "http://a"


def test_a_full_cluster_is_asked_once_at_each_endpoint() -> None:
    """It was asked five times: room does not come within seconds."""
    tries = attempts(FakeClock(), "http://a", "http://b")
    assert tries.begin() == "http://a"
    assert tries.failed(InsufficientStorage("full")) == 0.0
    assert tries.begin() == "http://b"
    with pytest.raises(InsufficientStorage):
        tries.failed(InsufficientStorage("full"))


def test_whoever_asks_is_told_of_each_attempt_that_is_made_again() -> None:
    told: list[tuple[str, float, float]] = []
    clock = FakeClock()
    tries = attempts(clock, policy=RetryPolicy(max_attempts=2))
    tries._on_retry = lambda error, delay_s, waited_s: told.append((str(error), delay_s, waited_s))
    tries.begin()
    clock.now += 3.0
    delay = tries.failed(Unavailable("first"))
    assert told == [("first", delay, 3.0)]
    tries.begin()
    with pytest.raises(Unavailable):
        tries.failed(Unavailable("second"))
    assert len(told) == 1, "no attempt follows the last one"


def test_going_elsewhere_after_a_refused_connection_costs_no_budget() -> None:
    clock = FakeClock()
    budget = RetryBudget(0.0)
    while budget.take():
        pass
    tries = attempts(clock, "http://a", "http://b")
    tries._budget = budget
    assert tries.begin() == "http://a"
    assert tries.failed(refusals.connect_failed("http://a", ConnectionRefusedError())) == 0.0
    assert tries.begin() == "http://b"
    with pytest.raises(Unavailable):
        tries.failed(refusals.connect_failed("http://b", ConnectionRefusedError()))


def test_progress_allows_more_breaks_than_attempts() -> None:
    tries = attempts(FakeClock(), policy=RetryPolicy(max_attempts=2))
    for _ in range(5):
        tries.begin()
        tries.progressed()
        tries.failed(Unavailable("cut"))
        clock_count = tries.count
    assert clock_count == 5


def test_arguments_win_over_environment_over_file_over_default(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    home = tmp_path / "ambry"
    home.mkdir()
    (home / "config.toml").write_text('endpoints = ["http://file:1"]\naccount = "file"\ncontainer = "file"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("AMBRY_ACCOUNT", "env")
    monkeypatch.delenv("AMBRY_ENDPOINTS", raising=False)
    client = AmbryClient.from_env(verify="never")
    assert client.endpoints == ("http://file:1",)
    assert (client._options["account"], client._options["container"]) == ("env", "file")
    monkeypatch.setenv("AMBRY_ENDPOINTS", "http://env:1,http://env:2")
    assert AmbryClient.from_env().endpoints == ("http://env:1", "http://env:2")
    assert AmbryClient.from_env(endpoints="http://arg:1").endpoints == ("http://arg:1",)
    (home / "config.toml").write_text('endpoint = "http://file:1"\n')
    with pytest.raises(ConfigInvalid, match="did you mean endpoints"):
        AmbryClient.from_env()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1, 1e300, 10**400])
def test_numbers_that_no_clock_has_are_refused_where_they_are_said(number: Any) -> None:
    # They overflowed deep inside, or made retries that never ended.
    made: list[Callable[[], object]] = [
        *(partial(Timeout, **{name: number}) for name in ("connect", "read", "total")),
        *(partial(RetryPolicy, **{name: number}) for name in ("base", "cap", "budget", "retry_after_max")),
    ]
    for make in made:
        with pytest.raises(InvalidRequest, match="a number from"):
            make()
    with pytest.raises((InvalidRequest, TypeError)):
        RetryPolicy(max_attempts=number)
    for name in ("chunk_size", "part_size", "threshold", "max_memory", "max_bandwidth", "max_concurrency"):
        if isinstance(number, float) or number < 1:
            with pytest.raises((InvalidRequest, TypeError)):
                TransferConfig(**{name: number})


def test_a_policy_makes_one_attempt_at_least_and_numbers_are_numbers() -> None:
    with pytest.raises(InvalidRequest, match="max_attempts"):
        RetryPolicy(max_attempts=0)
    with pytest.raises(TypeError):
        Timeout(read="5")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Timeout(read=True)
    assert Timeout(connect=1, read=0.5, total=0).total == 0
