"""What a server may answer to raw bytes: h11 reads them as a server would, and what came back is held against that.

Where h11 refuses, we must refuse (4xx, 501, 505) or close. Where it accepts, we must answer, well-formed and once for each
request; what is an ordinary upload or read must work, with the bytes that h11 read. After an answer that announces the end of
the connection nothing more has to come. Where we differ on purpose `DIFFERENCES` says why.

Where keys are asked for (tests/support/strangers.py), what is ordinary works for whoever has the right one. Whoever has none is
told nothing but that it takes one, and what is hidden from somebody is told neither them nor apart from what is not there.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

import h11

from tests.support.http_grammar import PLAIN_TYPES, Ending
from tests.support.strangers import Hidden, Sender, Strangers

HEAD_SIZE_MAX = 1 << 24
DENIED = h11.Response(status_code=404, headers=[("content-length", "0")])
"""What h11 is told that its server answered: it refuses CONNECT and Upgrade, as we do."""


class End(enum.Enum):
    """How h11 came to the end of the bytes."""

    CLEAN = "every request was whole, and another may come"
    LAST = "the connection ends with the last request"
    INCOMPLETE = "a request is not whole"
    REFUSED = "what stands there is no HTTP/1.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A request as h11 read it; header names are in lower case. `raw` is all of it as it was sent."""

    raw: bytes
    method: bytes
    target: bytes
    version: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for each, value in self.headers if each == name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The whole requests, how it ended, and of what is left: its bytes, whether its head is whole, what is wrong."""

    requests: tuple[Judged, ...]
    end: End
    rest: bytes = b""
    head: bool = False
    reason: str = ""

    @property
    def started(self) -> bytes:
        method, space, _ = self.rest.lstrip(b"\r\n").partition(b" ")
        return method if space else b""

    @property
    def methods(self) -> list[bytes]:
        """Of the requests that answers may come to."""
        unfinished = [] if self.end in (End.CLEAN, End.LAST) else [self.started or b"GET"]
        return [*(request.method for request in self.requests), *unfinished]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A final response as h11 read it; header names are in lower case."""

    version: bytes
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def value(self, name: bytes) -> bytes:
        return next((value for each, value in self.headers if each == name), b"")

    @property
    def last(self) -> bool:
        """Whether it announces the end of the connection."""
        said = self.value(b"connection").lower()
        return b"close" in said or (self.version == b"1.0" and b"keep-alive" not in said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came back over one connection. `trouble` says what no HTTP client could make sense of, or that nothing came."""

    answers: tuple[Answer, ...]
    ended: bool
    trouble: str = ""
    reset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An upload that was acknowledged, and what h11 says it holds."""

    path: bytes
    body: bytes


def judge(raw: bytes) -> Verdict:
    """What h11 reads in these bytes when nothing comes after them. Empty lines before a request are passed over."""
    requests: list[Judged] = []
    rest = raw
    while True:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_SIZE_MAX)
        # RFC 9112 section 2.2 asks for that of servers; h11 does not do it.
        connection.receive_data(rest.lstrip(b"\r\n"))
        head: h11.Request | None = None
        body = b""
        try:
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    end = End.INCOMPLETE if rest.strip(b"\r\n") else End.CLEAN
                    return Verdict(requests=tuple(requests), end=end, rest=rest, head=head is not None)
        except h11.RemoteProtocolError as error:
            whole = head is not None
            return Verdict(requests=tuple(requests), end=End.REFUSED, rest=rest, head=whole, reason=str(error))
        assert head is not None
        left = bytes(connection.trailing_data[0])
        requests.append(_judged(head, body, rest[: len(rest) - len(left)]))
        rest = left
        connection.send(DENIED)
        connection.send(h11.EndOfMessage())
        last = connection.our_state is not h11.DONE or connection.their_state is not h11.DONE
        if last and not _kept(requests[-1]):
            return Verdict(requests=tuple(requests), end=End.LAST, rest=rest)


def _kept(request: Judged) -> bool:
    """Whether an old request asks for the connection to be kept (RFC 9112 section 9.3). h11 reads nothing behind HTTP/1.0."""
    wishes = b",".join(request.values(b"connection")).lower()
    return request.version == b"1.0" and b"keep-alive" in wishes and b"close" not in wishes


def _judged(head: h11.Request, body: bytes, raw: bytes) -> Judged:
    return Judged(
        raw=raw,
        method=bytes(head.method),
        target=bytes(head.target),
        version=bytes(head.http_version),
        headers=tuple((bytes(name), bytes(value)) for name, value in head.headers),
        body=body,
    )


# --- what must work ---

NEUTRAL = re.compile(
    rb"host|user-agent|accept|content-length|transfer-encoding|connection|content-type|x-fuzz.*|keep-alive|te"
)
VALUES: Mapping[bytes, re.Pattern[bytes]] = {
    b"accept": re.compile(rb"\*/\*"),
    b"content-type": re.compile(b"|".join(map(re.escape, PLAIN_TYPES))),
    b"connection": re.compile(rb"[\s,]*((close|keep-alive)[\s,]*)*", re.IGNORECASE),
}


def ordinary(request: Judged, host: bytes, neutral: re.Pattern[bytes] = NEUTRAL) -> bool:
    """Whether nothing but the framing can keep the request from working: our Host, and no header that asks for anything."""
    if request.version not in (b"1.0", b"1.1") or request.values(b"host") != [host]:
        return False
    names = [name for name, _ in request.headers if not name.startswith(b"x-fuzz")]
    if len(names) != len(set(names)):
        return False
    return all(
        neutral.fullmatch(name) and (name not in VALUES or VALUES[name].fullmatch(value))
        for name, value in request.headers
    )


# --- who may ---


class Claim(enum.Enum):
    """What the sender of a request can be told."""

    ALL = "all: no keys are asked for, or it is sent as a right key is"
    PERHAPS = "a right key stands in it somewhere, or it is a signed URL in other words"
    SOME = "what a key for something else lets"
    NOTHING = "that it takes a key"


OPEN_PATHS = frozenset({b"/", b"/healthcheck", b"/healthz", b"/readyz", b"/version", b"/openapi.json", b"/docs"})
TOLD_NOBODY = frozenset({400, 401, 405, 408, 413, 414, 417, 421, 429, 431, 501, 505})
"""What somebody without a key is told of what takes one."""
KEY_SENT = re.compile(rb"bearer +([^ ]+) *", re.IGNORECASE)
NEUTRAL_WITH_KEY = re.compile(NEUTRAL.pattern + rb"|authorization")
_OF_ITS_OWN = re.compile(rb'[0-9a-f]{32}|":[0-9]+|/[^ "\']{40,80}')
"""The id of a request, or the boundary of a multipart; counts, which go on; a path that is repeated, which may be cut."""
_MADE = re.compile(rb'"id":"[A-Za-z0-9_-]{48}"|x-ambry-creation-time: [^\n]*')
"""What an upload that was acknowledged says of the blob that it made, which is no other's."""
_PASSING = frozenset({b"date", b"x-ambry-answered-ms", b"x-ambry-request-id", b"connection"})
"""The last depends on whether the end of what was sent was seen by then."""
_MAY_CHANGE = re.compile(rb"/batch/|open/|other|beside")
"""In requests by which a key for something else may change something."""


def is_open(method: bytes, target: bytes) -> bool:
    """Whether whoever asks is answered."""
    path = target.partition(b"?")[0]
    if b"://" in path:
        path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
    return method == b"OPTIONS" or (method in (b"GET", b"HEAD") and unquote_to_bytes(path).lower() in OPEN_PATHS)


def is_signed(target: bytes, hidden: Hidden) -> bool:
    """Whether a target is that of a URL that was signed, in whatever words."""
    if b"ambry-signature" not in unquote_to_bytes(target):
        return False
    return any(_meaning(target) == _meaning(each) for each in hidden.signed)


def _meaning(target: bytes) -> tuple[bytes, list[bytes]]:
    try:
        parts = urlsplit(target)
    except ValueError:
        return target, []
    return unquote_to_bytes(parts.path), sorted(map(unquote_to_bytes, filter(None, parts.query.split(b"&"))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Referee:
    """Holds outcomes against verdicts. `blobs` are those that stay readable: path -> content."""

    host: bytes
    blobs: Mapping[bytes, bytes]
    strangers: Strangers | None = None
    """Who asks, where keys are asked for."""

    def findings(self, verdict: Verdict, outcome: Outcome, ending: Ending) -> list[str]:
        """What is wrong, one line each."""
        found = [outcome.trouble] if outcome.trouble else []
        whole = len(verdict.requests)
        for index, answer in enumerate(outcome.answers):
            found += response_faults(answer)
            found += self._told_too_much(verdict, index, answer)
            if index < whole:
                found += self._wrong(verdict.requests[index], answer)
            elif verdict.end in (End.CLEAN, End.LAST):
                found.append(f"answer {index + 1} of {whole}: {answer.status}")
            elif (
                answer.status < 400
                and not (verdict.head and verdict.started in EARLY)
                and not explained(verdict.rest, answer)
            ):
                found.append(f"{answer.status} to a request that is {verdict.end.name} ({_short(verdict.reason)})")
        said_last = bool(outcome.answers) and outcome.answers[-1].last
        if len(outcome.answers) < whole and not said_last and not outcome.trouble:
            found.append(f"fewer answers than requests{', and a reset' if outcome.reset else ''}")
        if (said_last or ending is Ending.HALF_CLOSE or verdict.end is not End.CLEAN) and not outcome.ended:
            found.append("the connection stays open")
        return found

    def _wrong(self, request: Judged, answer: Answer) -> list[str]:
        """What is wrong with the answer to a whole request."""
        if self.claim(request) is not Claim.ALL:
            return []
        if not ordinary(request, self.host, NEUTRAL if self.strangers is None else NEUTRAL_WITH_KEY):
            return []
        uploads = request.target == b"/" and request.method in (b"POST", b"PUT")
        framed = request.values(b"transfer-encoding") or request.values(b"content-length") not in ([], [b"0"])
        reads = request.target in self.blobs and request.method in (b"GET", b"HEAD") and not framed
        if (uploads and answer.status != 201) or (reads and answer.status != 200):
            if explained(request.raw, answer):
                return []
            return [
                f"{answer.status} {answer.value(b'x-ambry-error-code').decode('ascii', 'replace')} to an ordinary request"
            ]
        if reads and request.method == b"GET" and answer.body != self.blobs[request.target]:
            return ["the answer holds other bytes than the blob"]
        return []

    def claim(self, request: Judged) -> Claim:
        """What its sender can be told."""
        if self.strangers is None:
            return Claim.ALL
        said = [KEY_SENT.fullmatch(value) for value in request.values(b"authorization")]
        if len(said) == 1 and said[0] is not None and said[0][1] in self.strangers.keys[Sender.RIGHT]:
            return Claim.ALL
        return self._claim(request.raw, request.target)

    def _claim(self, raw: bytes, target: bytes) -> Claim:
        strangers = self.strangers
        assert strangers is not None
        if any(key in raw for key in strangers.keys[Sender.RIGHT]) or is_signed(target, strangers.hidden):
            return Claim.PERHAPS
        return Claim.SOME if any(key in raw for key in strangers.keys[Sender.FOREIGN]) else Claim.NOTHING

    def least(self, verdict: Verdict) -> Claim:
        """The most that anybody on a connection can be told."""
        order = list(Claim)
        claims = [self.claim(request) for request in verdict.requests]
        if self.strangers is not None:
            claims.append(self._claim(verdict.rest, _line_of(verdict.rest)[1]))
        return min(claims, key=order.index)

    def _told_too_much(self, verdict: Verdict, index: int, answer: Answer) -> list[str]:
        """Whether an answer tells somebody what they may not know."""
        if self.strangers is None:
            return []
        if index < len(verdict.requests):
            request = verdict.requests[index]
            claim, method, target = self.claim(request), request.method, request.target
        else:
            method, target = _line_of(verdict.rest)
            claim = self._claim(verdict.rest, target)
        if claim in (Claim.ALL, Claim.PERHAPS):
            return []
        told = b"\r\n".join([answer.body, *(value for _, value in answer.headers)])
        found = [f"{answer.status} tells what is hidden" for marker in self.strangers.markers if marker in told]
        if claim is Claim.NOTHING and answer.status not in TOLD_NOBODY and not is_open(method, target):
            found.append(f"{answer.status} to somebody without a key")
        if claim is Claim.SOME and index < len(verdict.requests):
            changes = method not in (b"GET", b"HEAD", b"OPTIONS") and answer.status < 300
            if changes and not _MAY_CHANGE.search(unquote_to_bytes(verdict.requests[index].raw)):
                found.append(f"{answer.status} to {method.decode()} with a key for something else")
        return found

    def apart(
        self, verdict: Verdict, seen: Outcome, ghostly: Outcome, ghosts: Hidden, *, word_for_word: bool
    ) -> list[str]:
        """How what was told of something hidden differs from what was told of a ghost, by the answers to whole requests.

        Not `word_for_word` where a name is spelled in a way of its own, which answers repeat.
        """
        assert self.strangers is not None
        found = []
        for _, real, ghost in zip(verdict.requests, seen.answers, ghostly.answers, strict=False):
            if 429 in (real.status, ghost.status):
                break
            if real.status != ghost.status:
                found.append(f"{real.status} of what is hidden, {ghost.status} of what is not there")
            elif word_for_word and self.strangers.haunted(_said(real), ghosts) != self.strangers.haunted(
                _said(ghost), ghosts
            ):
                found.append(f"{real.status} of what is hidden is said in other words of what is not there")
        return found

    def stored(self, verdict: Verdict, outcome: Outcome) -> list[Stored]:
        """The uploads among whole requests that were acknowledged."""
        return [
            Stored(path=answer.value(b"location"), body=request.body)
            for request, answer in zip(verdict.requests, outcome.answers, strict=False)
            if answer.status == 201 and _BLOB.fullmatch(answer.value(b"location"))
        ]


_BLOB = re.compile(rb"/[A-Za-z0-9_-]{48}")
EARLY = (b"GET", b"HEAD", b"OPTIONS")
"""Methods that may be answered before the body was read to its end: it says nothing. The connection ends then."""


def _line_of(rest: bytes) -> tuple[bytes, bytes]:
    """Method and target of a request that is not whole."""
    words = rest.lstrip(b"\r\n").partition(b"\r\n")[0].split(b" ")
    return words[0], words[1] if len(words) > 1 else b""


def _said(answer: Answer) -> bytes:
    """All that an answer tells, but for what is its own; parts of a batch come in any order."""
    lines = [name + b": " + value for name, value in answer.headers if name not in _PASSING]
    told = b"\n".join(sorted([*lines, *answer.body.split(b"\r\n")]))
    return _OF_ITS_OWN.sub(b"", _MADE.sub(b"", told) if answer.status == 201 else told)


def _short(reason: str) -> str:
    """Without what was sent, so that like findings look alike."""
    return re.sub(r"[:(]? ?bytearray.*", "", reason, flags=re.DOTALL)


def response_faults(answer: Answer) -> list[str]:
    """What every answer owes, whatever was asked."""
    names = [name for name, _ in answer.headers]
    found = [f"{answer.status}: {name.decode()} stands there twice" for name in {*names} if names.count(name) > 1]
    if answer.version not in (b"1.0", b"1.1"):
        found.append(f"a status line of HTTP/{answer.version.decode()}")
    if answer.status >= 500 and answer.status not in (501, 505):
        found.append(f"{answer.status} {answer.value(b'x-ambry-error-code').decode('ascii', 'replace')}")
    owed = (b"x-ambry-request-id", b"date", b"server")
    found += [f"{answer.status} without {name.decode()}" for name in owed if not answer.value(name)]
    if answer.status == 401 and not answer.value(b"www-authenticate"):
        found.append("401 without www-authenticate")
    if answer.status in (429, 503) and not answer.value(b"retry-after"):
        found.append(f"{answer.status} without retry-after")
    if answer.status >= 400 and answer.body and answer.value(b"content-type") != b"application/problem+json":
        found.append(f"{answer.status} without a problem")
    return found


# --- where we differ, and why ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`ours` is a status that we answer; `seen` finds the reason in the raw bytes of the connection."""

    what: str
    why: str
    ours: Callable[[int], bool]
    seen: Callable[[bytes], object]


def _refused(status: int) -> bool:
    return status in (400, 413, 414, 431, 501, 505)


QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
EXTENDED = re.compile(rb"\r\n[0-9a-fA-F]+(;[^\r\n]*)(?=\r\n)")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
EXTENSIONS = re.compile(
    rb"(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|\"(?:[^\"\\]|\\.)*\"))?)*" % (_TOKEN, _TOKEN), re.DOTALL
)
"""Behind the size of a chunk (RFC 9112 section 7.1.1)."""

DIFFERENCES: Sequence[Difference] = (
    Difference(
        what="a line ends in LF alone",
        why="RFC 9112 section 2.2: a recipient MAY recognize it. We do not: proxies that do and those that do not disagree.",
        ours=_refused,
        seen=re.compile(rb"(?<!\r)\n").search,
    ),
    Difference(
        what="a line folded into the next",
        why="RFC 9112 section 5.2: a server MUST reject a folded line or put a space in its place; we reject it.",
        ours=_refused,
        seen=re.compile(rb"\r\n[ \t]").search,
    ),
    Difference(
        what="a control character in a value",
        why="RFC 9110 section 5.5: they are invalid; h11 lets DEL and most others pass.",
        ours=_refused,
        seen=re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)").search,
    ),
    Difference(
        what="a Content-Length with the same number twice",
        why="RFC 9110 section 8.6: a recipient MUST reject the message or take the number once; we reject it.",
        ours=_refused,
        seen=re.compile(
            rb"content-length:[^\r]*,|content-length:.*\r\ncontent-length:", re.IGNORECASE | re.DOTALL
        ).search,
    ),
    Difference(
        what="Content-Length beside Transfer-Encoding",
        why="RFC 9112 section 6.1: a server MAY reject it, as it smells of smuggling; we do.",
        ours=_refused,
        seen=lambda raw: b"content-length:" in raw.lower() and b"transfer-encoding:" in raw.lower(),
    ),
    Difference(
        what="Transfer-Encoding in HTTP/1.0",
        why="RFC 9112 section 6.1: a server MUST treat its framing as faulty.",
        ours=_refused,
        seen=re.compile(rb"(\r?\n)*[^\r]* HTTP/1\.0\r\n(.*\r\n)?transfer-encoding:", re.IGNORECASE | re.DOTALL).match,
    ),
    Difference(
        what="a tab behind the name of the transfer coding",
        why="RFC 9110 section 5.5 cuts it off; llhttp takes it for a part of the name, and what it does not know we refuse.",
        ours=_refused,
        seen=re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked[ \t]*\t[ \t]*\r\n", re.IGNORECASE).search,
    ),
    Difference(
        what="a space after the size of a chunk",
        why="RFC 9112 section 7.1: there is none in the grammar; h11 says of itself that it is lenient there.",
        ours=_refused,
        seen=re.compile(rb"\r\n[0-9a-fA-F]+[ \t]+(\r\n|;)").search,
    ),
    Difference(
        what="a malformed extension of a chunk",
        why="RFC 9112 section 7.1.1: names, each with a token or a quoted string at most; h11 reads no extensions.",
        ours=_refused,
        seen=lambda raw: any(not EXTENSIONS.fullmatch(each) for each in EXTENDED.findall(raw)),
    ),
    Difference(
        what="white space around what an extension of a chunk is made of",
        why=(
            "RFC 9110 section 5.6.3: a sender MUST NOT make it, a recipient MUST bear it. We refuse it all the same: where "
            "parsers differ about the line before a chunk, one sees a request in what another takes for content (docs/rest.md)."
        ),
        ours=_refused,
        seen=lambda raw: any(re.search(rb"[ \t]", QUOTED.sub(b"", each)) for each in EXTENDED.findall(raw)),
    ),
    Difference(
        what="a line of a trailer that is no header",
        why="RFC 9110 section 6.5.1: trailers may be dropped; we drop them all, and forget the parser that read them.",
        ours=lambda status: status < 400,
        seen=re.compile(rb"\r\n0+\r\n([^\r\n]+\r\n)*(:|[^:\r\n]+\r\n)").search,
    ),
    Difference(
        what="a trailer that belongs into the head",
        why="RFC 9110 section 6.5.1: framing and routing must not stand in a trailer; we reject what h11 drops.",
        ours=_refused,
        seen=re.compile(
            rb"\r\n0+\r\n(.*\r\n)?(content-length|transfer-encoding|host):", re.IGNORECASE | re.DOTALL
        ).search,
    ),
    Difference(
        what="a long line or many headers",
        why="RFC 9110 section 5.4 and RFC 9112 section 3: a server has bounds of its own; h11 was given none.",
        ours=lambda status: status in (400, 414, 431),
        seen=lambda raw: len(raw) > 8 << 10 or raw.count(b"\r\n") > 100,
    ),
    Difference(
        what="many empty lines before a request",
        why="RFC 9112 section 2.2: a server SHOULD ignore at least one; we ignore a few.",
        ours=_refused,
        seen=re.compile(rb"(\r?\n){4}").match,
    ),
)


def explained(raw: bytes, answer: Answer) -> bool:
    """Whether the bytes of one request show why we differ. A body of a stated length explains nothing."""
    start = raw.lstrip(b"\r\n")
    head, end, _ = start.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        raw = raw[: len(raw) - len(start)] + head + end
    return any(difference.ours(answer.status) and difference.seen(raw) for difference in DIFFERENCES)
