"""The referee of the HTTP fuzz: it flags answers that are wrong, and none that are merely ours."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.support.http_grammar import Ending, Grammar, Places
from tests.support.http_hostile import hostile_grammar
from tests.support.http_referee import Answer, Claim, End, Outcome, Referee, judge
from tests.support.strangers import Hidden, Sender, Strangers

HOST = b"127.0.0.1:1"
HEAD = b"Host: 127.0.0.1:1\r\n"
READ = b"GET /blob HTTP/1.1\r\n" + HEAD + b"\r\n"
UPLOAD = b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
REFEREE = Referee(host=HOST, blobs={b"/blob": b"content"})
OWED = ((b"x-ambry-request-id", b"r"), (b"date", b"d"), (b"server", b"s"))
CLOSE = (b"connection", b"close")


def _hidden(letter: bytes) -> Hidden:
    blob, name = letter * 48, b"vault/plain/" + letter
    return Hidden(
        ids=(blob,),
        names=(name,),
        upload=letter * 32,
        chunk=b"/signedId/" + letter,
        account=b"vault",
        container=b"plain",
        signed=tuple(b"/" + what + b"?ambry-verb=GET&ambry-signature=" + letter * 64 for what in (blob, name)),
    )


STRANGERS = Strangers(
    hidden=_hidden(b"h"),
    near=_hidden(b"n"),
    far=_hidden(b"f"),
    keys={Sender.NOBODY: (b"ambry_none_n",), Sender.FOREIGN: (b"ambry_else_e",), Sender.RIGHT: (b"ambry_good_g",)},
    markers=(b"hush",),
)
KEYED = Referee(host=HOST, blobs={b"/blob": b"content"}, strangers=STRANGERS)


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


def keyed(raw: bytes, *answers: Answer) -> list[str]:
    return KEYED.findings(judge(raw), Outcome(answers=answers, ended=False), Ending.KEEP)


def sent(line: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([line + b" HTTP/1.1", HEAD[:-2], *headers, b"", b""])


def test_who_sends_a_request_is_told_by_its_one_key() -> None:
    def claim(raw: bytes) -> Claim:
        return KEYED.claim(judge(raw).requests[0])

    assert claim(sent(b"GET /blob", b"Authorization: bearer  ambry_good_g")) is Claim.ALL
    twice = (b"Authorization: Bearer ambry_good_g", b"Authorization: Bearer ambry_else_e")
    assert claim(sent(b"GET /blob", *twice)) is Claim.PERHAPS
    assert claim(sent(b"GET /blob", b"Authorization: Bearer ambry_else_e")) is Claim.SOME
    assert claim(sent(b"GET /blob", b"Authorization: Bearer ambry_none_n")) is Claim.NOTHING
    assert claim(sent(b"GET /blob", b"Authorization: Bearer ambry_good_")) is Claim.NOTHING
    url = STRANGERS.hidden.signed[0]
    path, _, query = url.partition(b"?")
    assert claim(sent(b"GET " + path + b"?" + b"&".join(reversed(query.split(b"&"))))) is Claim.PERHAPS
    assert claim(sent(b"GET " + url[:-1] + b"x")) is Claim.NOTHING


def test_nobody_is_told_more_than_that_it_takes_a_key() -> None:
    refused = answer(401, (b"www-authenticate", b"Bearer"))
    assert keyed(sent(b"GET /blob"), refused) == []
    assert keyed(sent(b"GET /blob"), answer(404)) == ["404 to somebody without a key"]
    assert keyed(sent(b"GET /HealthZ"), answer(200)) == []
    assert keyed(sent(b"GET /x"), answer(401, (b"www-authenticate", b"hush"))) == ["401 tells what is hidden"]
    assert keyed(sent(b"GET /x"), answer(401)) == ["401 without www-authenticate"]
    foreign = b"Authorization: Bearer ambry_else_e"
    assert keyed(sent(b"DELETE /x", foreign), answer(202)) == ["202 to DELETE with a key for something else"]
    assert keyed(sent(b"GET /blob", b"Authorization: Bearer ambry_good_g"), answer(403)) == [
        "403  to an ordinary request"
    ]


def test_what_is_hidden_is_told_apart_from_a_ghost_by_status_or_words() -> None:
    raw = sent(b"GET /" + STRANGERS.hidden.ids[0])

    def apart(real: Answer, ghost: Answer, word_for_word: bool = True) -> list[str]:
        one, other = (Outcome(answers=(each,), ended=False) for each in (real, ghost))
        return KEYED.apart(judge(raw), one, other, STRANGERS.near, word_for_word=word_for_word)

    real, ghost = (answer(403, body=b"no " + each.ids[0]) for each in (STRANGERS.hidden, STRANGERS.near))
    assert apart(real, ghost) == []
    assert apart(answer(403), answer(404)) == ["403 of what is hidden, 404 of what is not there"]
    said = apart(answer(403, body=b"no"), answer(403, body=b"not"))
    assert said == ["403 of what is hidden is said in other words of what is not there"]
    assert apart(answer(403, body=b"no"), answer(403, body=b"not"), word_for_word=False) == []
    # Two uploads make two blobs, perhaps with the turn of a second between them.
    one, other = (
        answer(201, (b"x-ambry-creation-time", b"20:33:4%d GMT" % number), body=b'{"id":"%b"}' % (id * 48))
        for number, id in enumerate((b"a", b"b"))
    )
    assert apart(one, other) == []
    assert len(apart(replace(one, status=403), replace(other, status=403))) == 1


def test_a_case_is_drawn_again_about_ghosts_and_the_next_is_the_same() -> None:
    places = Places(
        host=HOST, readable=[b"a" * 48], spendable=[b"c" * 48], strangers=STRANGERS, hidden=STRANGERS.hidden
    )
    first, second = (hostile_grammar(random.Random(4), places) for _ in range(2))
    about = 0
    for _ in range(300):
        case = first.case()
        again = first.again(STRANGERS.near)
        assert case == second.case() and len(again.raw) == len(case.raw)
        about += case.hidden
        if not case.hidden:
            assert again == case
        elif not case.damaged:
            assert b"n" * 48 not in case.raw and b"h" * 48 not in again.raw
    assert about > 100
