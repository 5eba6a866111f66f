"""The referee of the HTTP fuzz: it flags answers that are wrong, and none that are merely ours."""

from __future__ import annotations

import random

import pytest

from tests.support.http_grammar import Ending, Grammar, Places
from tests.support.http_referee import Answer, End, Outcome, Referee, judge

HOST = b"127.0.0.1:1"
HEAD = b"Host: 127.0.0.1:1\r\n"
READ = b"GET /blob HTTP/1.1\r\n" + HEAD + b"\r\n"
UPLOAD = b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
REFEREE = Referee(host=HOST, blobs={b"/blob": b"content"})
OWED = ((b"x-ambry-request-id", b"r"), (b"date", b"d"), (b"server", b"s"))
CLOSE = (b"connection", b"close")


def answer(status: int, *headers: tuple[bytes, bytes], body: bytes = b"") -> Answer:
    return Answer(version=b"1.1", status=status, headers=(*OWED, *headers), body=body)


def found(raw: bytes, *answers: Answer, ended: bool = False, ending: Ending = Ending.KEEP) -> list[str]:
    return REFEREE.findings(judge(raw), Outcome(answers=answers, ended=ended), ending)


def test_h11_reads_whole_requests_and_says_how_it_ended() -> None:
    upload = UPLOAD + b"5\r\nhello\r\n0\r\n\r\n"
    verdict = judge(READ + upload)
    assert [(each.method, each.body, each.raw) for each in verdict.requests] == [
        (b"GET", b"", READ),
        (b"POST", b"hello", upload),
    ]
    assert verdict.end is End.CLEAN
    assert judge(READ + b"Connection").end is End.INCOMPLETE
    assert judge(READ.replace(b"Host", b"Connection: close\r\nHost")).end is End.LAST
    refused = judge(READ + UPLOAD + b"x")
    assert (refused.end, refused.head, refused.methods) == (End.INCOMPLETE, True, [b"GET", b"POST"])
    assert judge(UPLOAD + b"x\r\n").end is End.REFUSED


def test_what_is_right_passes() -> None:
    assert found(READ, answer(200, body=b"content")) == []
    assert found(READ + UPLOAD + b"x\r\n", answer(200, body=b"content"), answer(400, CLOSE), ended=True) == []
    assert found(UPLOAD + b"x\r\n", ended=True) == []


@pytest.mark.parametrize(
    ("raw", "answers", "ended", "what"),
    [
        (READ, (), True, "fewer answers than requests"),
        (READ + READ, (answer(200, body=b"content"),), True, "fewer answers than requests"),
        (READ, (answer(200, body=b"other"),), False, "the answer holds other bytes than the blob"),
        (READ, (answer(404),), False, "404  to an ordinary request"),
        (READ, (answer(200, body=b"content"), answer(200)), False, "answer 2 of 1: 200"),
        (READ, (answer(500),), False, "500 "),
        (UPLOAD + b"0\r\n\r\n", (answer(200),), False, "200  to an ordinary request"),
        (UPLOAD + b"x\r\n", (answer(201),), True, "201 to a request that is REFUSED (illegal chunk header)"),
        (UPLOAD + b"5\r\nhel", (answer(201),), True, "201 to a request that is INCOMPLETE ()"),
        (UPLOAD + b"x\r\n", (answer(400),), False, "the connection stays open"),
        (READ, (answer(200, CLOSE, body=b"content"),), False, "the connection stays open"),
        (READ, (answer(200, (b"date", b"d"), body=b"content"),), False, "200: date stands there twice"),
        (READ, (answer(400, body=b"<html>"),), False, "400 without a problem"),
    ],
)
def test_what_is_wrong_is_flagged(raw: bytes, answers: tuple[Answer, ...], ended: bool, what: str) -> None:
    assert what in found(raw, *answers, ended=ended)


def test_a_client_that_closed_its_direction_is_answered_and_then_closed_on() -> None:
    assert found(READ, answer(200, body=b"content"), ended=True, ending=Ending.HALF_CLOSE) == []
    assert found(READ, answer(200, body=b"content"), ending=Ending.HALF_CLOSE) == ["the connection stays open"]


def test_a_difference_is_explained_by_the_bytes_of_its_own_request_only() -> None:
    folded = READ.replace(b"\r\n\r\n", b"\r\nX-Fuzz: a\r\n b\r\n\r\n")
    assert found(folded, answer(400, CLOSE), ended=True) == []
    assert "400  to an ordinary request" in found(READ + folded, answer(400, CLOSE), ended=True)


def test_the_same_seed_draws_the_same_cases() -> None:
    places = Places(host=HOST, readable=[b"a", b"b"], spendable=[b"c"])
    first, second = (Grammar(random.Random(4), places) for _ in range(2))
    assert [first.case() for _ in range(300)] == [second.case() for _ in range(300)]


def test_most_cases_hold_something_that_a_server_takes() -> None:
    grammar = Grammar(random.Random(5), Places(host=HOST, readable=[b"a"], spendable=[b"c"]))
    verdicts = [judge(grammar.case().raw) for _ in range(500)]
    assert sum(bool(verdict.requests) for verdict in verdicts) > 200
    assert {verdict.end for verdict in verdicts} == set(End)


def test_empty_lines_before_a_request_hide_no_difference() -> None:
    """Seed 719292558."""
    old = UPLOAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"5\r\nhello\r\n0\r\n\r\n"
    assert found(old, answer(400, CLOSE), ended=True) == []
    assert found(b"\r\n\r\n" + old, answer(400, CLOSE), ended=True) == []


def test_a_tab_behind_the_transfer_coding_may_be_refused_and_a_space_may_not() -> None:
    """Seed 9102."""
    body = b"5\r\nhello\r\n0\r\n\r\n"
    for behind, excused in ((b"\t", True), (b" \t ", True), (b" ", False)):
        head = UPLOAD.replace(b"chunked", b"chunked" + behind)
        assert (found(head + body, answer(501, CLOSE), ended=True) == []) == excused


@pytest.mark.parametrize("extension", [b"; a", b" ;a", b';a= "x"'])
def test_white_space_in_an_extension_of_a_chunk_may_be_refused(extension: bytes) -> None:
    """Seed 719292558, too."""
    rest = b"\r\nhello\r\n0\r\n\r\n"
    assert found(UPLOAD + b"5" + extension + rest, answer(400, CLOSE), ended=True) == []
    assert found(UPLOAD + b'5;a="x y"' + rest, answer(400, CLOSE), ended=True) != []
