"""Raw HTTP/1.1 requests drawn from a grammar: mostly what clients send, each bent in some place, some of them damaged.

A case is what goes over one connection: one to four requests, cut into pieces anywhere, ended in one of three ways. All of it
follows from the random source. With strangers (tests/support/strangers.py) each request is somebody's, and some are about what
is hidden from them (tests/support/http_hostile.py).
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tests.support.strangers import Hidden, Strangers

CRLF = b"\r\n"
BODY_SIZE_MAX = 600
PLAIN_TYPES = (b"application/octet-stream", b"text/plain; charset=utf-8", b'multipart/mixed; boundary="x y"')


class Ending(enum.Enum):
    """What the client does when it has sent everything."""

    KEEP = "keeps the connection open"
    HALF_CLOSE = "closes its direction"
    ABORT = "resets the connection at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    pieces: tuple[bytes, ...]
    ending: Ending
    hidden: bool = False
    """Whether something in it is about what is hidden."""
    damaged: bool = False
    """Whether anything was changed in it without a look at what it is."""

    @property
    def raw(self) -> bytes:
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What requests are about: our address as it stands in Host, blobs to be read, blobs that may be deleted or changed."""

    host: bytes
    readable: Sequence[bytes]
    spendable: Sequence[bytes]
    strangers: Strangers | None = None
    hidden: Hidden | None = None
    """What they are not to see, or a ghost of that."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """A request in the making. `wire` is the body with its framing; header lines have no line end yet."""

    method: bytes
    target: bytes
    version: bytes = b"HTTP/1.1"
    lines: list[bytes] = field(default_factory=list)
    wire: bytes = b""
    before: bytes = b""
    line_end: bytes = CRLF
    hidden: bool = False
    broken: bool = False
    """Whether a place in it was changed without a look at what stands there."""

    def assemble(self) -> bytes:
        first = b" ".join((self.method, self.target, self.version))
        return self.before + self.line_end.join([first, *self.lines, b"", b""]) + self.wire

    def replace(self, name: bytes, *lines: bytes) -> None:
        """Put these lines in the place of the header, or at the end."""
        kept = [line for line in self.lines if not line.lower().startswith(name.lower() + b":")]
        self.lines = [*kept, *lines]


Twist = Callable[[random.Random, Draft, Places], None]
Template = Callable[[random.Random, Places], Draft]


class Grammar:
    """Draws cases."""

    def __init__(
        self,
        source: random.Random,
        places: Places,
        *,
        strange: Sequence[tuple[int, Template]] = (),
        strange_twists: Sequence[Twist] = (),
        sent_by: Twist | None = None,
    ) -> None:
        """`strange` templates have weights beside those of the others; `sent_by` says of a draft who sends it."""
        self._random = source
        self._places = places
        self._weights = (*WEIGHTS, *(weight for weight, _ in strange))
        self._templates = (*TEMPLATES, *(template for _, template in strange))
        self._twists = (*TWISTS, *strange_twists)
        self._sent_by = sent_by
        self._before = source.getstate()

    def case(self) -> Case:
        self._before = self._random.getstate()
        return self._draw(self._places)

    def again(self, ghosts: Hidden) -> Case:
        """The last case once more, about ghosts in the place of what is hidden."""
        after = self._random.getstate()
        self._random.setstate(self._before)
        case = self._draw(replace(self._places, hidden=ghosts))
        self._random.setstate(after)
        return case

    def _draw(self, places: Places) -> Case:
        source = self._random
        count = source.choices((1, 2, 3, 4), (60, 20, 12, 8))[0]
        drafts = [self._request(places) for _ in range(count)]
        raw = b"".join(draft.assemble() for draft in drafts)
        spoilt = source.random() < 0.12
        if spoilt:
            raw = damaged(source, raw)
        ending = source.choices(tuple(Ending), (80, 17, 3))[0]
        if ending is Ending.ABORT:
            raw = raw[: source.randrange(len(raw) + 1)]
        return Case(
            pieces=_pieces(source, raw),
            ending=ending,
            hidden=any(draft.hidden for draft in drafts),
            damaged=spoilt or any(draft.broken for draft in drafts),
        )

    def _request(self, places: Places) -> Draft:
        source = self._random
        draft = source.choices(self._templates, self._weights)[0](source, places)
        if self._sent_by is not None:
            self._sent_by(source, draft, places)
        for twist in source.choices(self._twists, k=source.choices((0, 1, 2, 3), (15, 50, 25, 10))[0]):
            twist(source, draft, places)
        if draft.method == b"DELETE" and any(
            name[:10] in draft.target or name[10:] in draft.target for name in places.readable
        ):
            draft.target = b"/" + source.choice(places.spendable)
        return draft


def _pieces(source: random.Random, raw: bytes) -> tuple[bytes, ...]:
    count = source.choices((0, 1, 2, 5), (70, 15, 10, 5))[0]
    cuts = sorted({source.randrange(len(raw) + 1) for _ in range(count)})
    return tuple(raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True) if start < end)


def damaged(source: random.Random, raw: bytes) -> bytes:
    """The same bytes with one to three places changed, left out, doubled or cut off."""
    changed = bytearray(raw)
    for _ in range(source.randint(1, 3)):
        if not changed:
            break
        at = source.randrange(len(changed))
        size = source.randint(1, 12)
        match source.randrange(6):
            case 0:
                changed[at] ^= 1 << source.randrange(8)
            case 1:
                changed[at] = source.randrange(256)
            case 2:
                del changed[at : at + size]
            case 3:
                changed[at:at] = changed[at : at + size]
            case 4:
                changed[at:at] = source.choice((b"\0", b"\r", b"\n", b" ", b"\t", b":", b"\x80", b"\r\n", b"\r\n\r\n"))
            case _:
                del changed[at + 1 :]
    return bytes(changed)


# --- what clients send ---


def common(places: Places) -> list[bytes]:
    return [b"Host: " + places.host, b"User-Agent: fuzz/1", b"Accept: */*"]


def content(source: random.Random) -> bytes:
    """A body; in four of five no byte has a meaning in HTTP, so that nothing in it can pass for the reason of an answer."""
    body = source.randbytes(source.choice((0, 1, 2, 15, 16, 17, 255, 256, source.randrange(BODY_SIZE_MAX))))
    return body if source.random() < 0.2 else bytes(byte | 0x80 for byte in body)


def _upload(source: random.Random, places: Places) -> Draft:
    body = content(source)
    lines = [*common(places), b"Content-Type: " + source.choice(PLAIN_TYPES)]
    method, target = source.choice(((b"POST", b"/"), (b"POST", b"/"), (b"PUT", b"/"), (b"PUT", b"/model.bin")))
    if source.random() < 0.5:
        return Draft(method=method, target=target, lines=[*lines, b"Content-Length: %d" % len(body)], wire=body)
    return Draft(
        method=method, target=target, lines=[*lines, b"Transfer-Encoding: chunked"], wire=chunked(source, body)
    )


def _read(source: random.Random, places: Places) -> Draft:
    target = b"/" + source.choice(places.readable) + source.choice((b"", b"", b"", b".safetensors"))
    return Draft(method=source.choice((b"GET", b"GET", b"HEAD")), target=target, lines=common(places))


def _look(source: random.Random, places: Places) -> Draft:
    parts = (
        b"/BlobInfo",
        b"/UserMetadata",
        b"/Replicas",
        b"/BlobChunkIds",
        b"/Segment/0",
        b"/Segment/x",
        b"/Nothing",
        b"/",
    )
    return Draft(
        method=source.choice((b"GET", b"HEAD")),
        target=b"/" + source.choice(places.readable) + source.choice(parts),
        lines=common(places),
    )


def _change(source: random.Random, places: Places) -> Draft:
    name = source.choice(places.spendable)
    lines = [*common(places), b"Content-Length: 0"]
    if source.random() < 0.4:
        return Draft(method=b"DELETE", target=b"/" + name, lines=lines)
    path = source.choice((b"/updateTtl", b"/undelete"))
    return Draft(method=b"PUT", target=path, lines=[*lines, b"x-ambry-blob-id: " + name])


def _service(source: random.Random, places: Places) -> Draft:
    paths = (
        b"/healthCheck",
        b"/healthz",
        b"/readyz",
        b"/version",
        b"/openapi.json",
        b"/metrics",
        b"/favicon.ico",
        b"/",
    )
    return Draft(method=source.choice((b"GET", b"HEAD")), target=source.choice(paths), lines=common(places))


def _options(source: random.Random, places: Places) -> Draft:
    lines = [*common(places), b"Origin: http://elsewhere.test", b"Access-Control-Request-Method: PUT"]
    return Draft(method=b"OPTIONS", target=source.choice((b"*", b"/", b"/" + places.readable[0])), lines=lines)


TEMPLATES: tuple[Template, ...] = (_upload, _read, _look, _change, _service, _options)
WEIGHTS = (30, 30, 10, 8, 6, 4)


def chunked(source: random.Random, body: bytes) -> bytes:
    """The body in the chunked coding, in chunks of any size, some with extensions, some with a trailer."""
    wire = b""
    while body:
        size = source.randint(1, len(body))
        digits = source.choice((b"%x", b"%X", b"%04x")) % size
        extension = source.choices((b"", b";a", b";a=b", b';a="b;c"', b" ;a = b"), (70, 10, 10, 7, 3))[0]
        wire += digits + extension + CRLF + body[:size] + CRLF
        body = body[size:]
    trailer = source.choices((b"", b"X-Checksum: 1\r\n", b"A: 1\r\nB: 2\r\n", b"Content-Length: 3\r\n"), (85, 8, 4, 3))[
        0
    ]
    return wire + source.choice((b"0", b"0", b"000")) + CRLF + trailer + CRLF


# --- how they are bent ---


def _method(source: random.Random, draft: Draft, places: Places) -> None:
    methods = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"PATCH", b"get", b"Post")
    odd = (
        b"PROPFIND",
        b"PRI",
        b"M-SEARCH",
        b"G@T",
        b"G T",
        b"",
        b"X" * 40,
        b"X" * 9000,
        b"G\xc3\x89T",
        b"GE\0T",
        b"!#$%&'*+-.^_`|~",
    )
    draft.method = source.choice(methods if source.random() < 0.6 else odd)


def _target(source: random.Random, draft: Draft, places: Places) -> None:
    path = draft.target
    name = source.choice(places.readable)
    at = source.randrange(len(name))
    draft.target = source.choice(
        (
            b"http://" + places.host + path,
            b"HTTP://" + places.host + path,
            b"http://user:secret@" + places.host + path,
            b"http://elsewhere.test" + path,
            b"http://" + places.host,
            b"https://" + places.host + path,
            b"ftp://x/",
            b"http:///x",
            b"http://[::1" + path,
            b"http://x:99999999/",
            places.host,
            b"*",
            b"",
            b"?",
            b"/" + name[:at] + b"%%%02x" % name[at] + name[at + 1 :],
            b"/" + name[:at] + b"%%%02X" % name[at] + name[at + 1 :],
            b"/" + name[:at] + b"%zz" + name[at + 1 :],
            b"/" + name[:at] + b"%",
            b"/" + name[:at] + b"%00" + name[at:],
            b"/" + name[:at] + b"%2f" + name[at:],
            b"/" + name[:at],
            b"/" + name + b"A",
            b"/" + name.swapcase(),
            b"/" + name + b"?",
            b"/" + name + b"?a=1&a=2",
            b"/" + name + b"?x-ambry-get-option=Include_All",
            b"/" + name + b"#part",
            b"/" + name + b";v=1",
            b"/" + name + b"//BlobInfo",
            b"/" + name + b"/../" + name,
            b"/./" + name,
            b"/%2e%2e/" + name,
            b"//" + name,
            b"//elsewhere.test/" + name,
            b"/\\" + name,
            b"/caf\xc3\xa9",
            b"/caf%C3%A9",
            b"/caf%e9",
            b"/a\tb",
            b"/a b",
            b"/\x7f",
            b"/" + b"a" * source.choice((255, 4000, 8100, 8190, 9000, 70_000)),
            b"/?" + b"&".join(b"k%d=v" % number for number in range(source.choice((1, 50, 1000)))),
            b"/?%zz=%",
            b"/?=&&=",
            b'/<script>"{}|^`',
            b"/peers",
            b"/named/a/b/c",
            b"/batch/get",
            b"/accounts",
            b"/signedUrl",
            b"/_internal",
            b"a/b",
            b"./x",
            b"mailto:a@b",
        )
    )


def _version(source: random.Random, draft: Draft, _places: Places) -> None:
    versions = (
        b"HTTP/1.0",
        b"HTTP/1.0",
        b"HTTP/1.2",
        b"HTTP/2.0",
        b"HTTP/0.9",
        b"HTTP/9.9",
        b"http/1.1",
        b"HTTP/1",
        b"HTTP/1.10",
    )
    draft.version = source.choice((*versions, b"HTTP/1.1 ", b"", b"HTTPS/1.1", b"HTTP/1,1", b"ICY/1.1", b"RTSP/1.0"))


def _host(source: random.Random, draft: Draft, places: Places) -> None:
    host = places.host
    name, _, port = host.partition(b":")
    draft.replace(
        b"Host",
        *source.choice(
            (
                (),
                (b"Host: " + host, b"Host: " + host),
                (b"Host: " + host, b"Host: other"),
                (b"Host:",),
                (b"Host: " + name,),
                (b"Host: elsewhere.test:" + port,),
                (b"Host: " + name.upper() + b":" + port,),
                (b"Host: localhost:" + port,),
                (b"Host: LOCALHOST.:" + port,),
                (b"Host: [::1]:" + port,),
                (b"Host: [::1",),
                (b"Host: user@" + host,),
                (b"Host: " + host + b"/path",),
                (b"Host: " + name + b":abc",),
                (b"Host: " + name + b":99999999999999999999",),
                (b"Host: " + host + b", " + host,),
                (b"Host: \x80",),
                (b"Host: a b",),
            )
        ),
    )


def _length(source: random.Random, draft: Draft, _places: Places) -> None:
    size = len(draft.wire)
    true = b"%d" % size
    draft.replace(
        b"Content-Length",
        *source.choice(
            (
                (b"Content-Length: %d" % (size + 1),),
                (b"Content-Length: %d" % max(size - 1, 0),),
                (b"Content-Length: " + true, b"Content-Length: " + true),
                (b"Content-Length: " + true, b"Content-Length: %d" % (size + 1)),
                (b"Content-Length: " + true + b", " + true,),
                (b"Content-Length: " + true + b", 7",),
                (b"Content-Length: +" + true,),
                (b"Content-Length: -" + true,),
                (b"Content-Length: 0" + true,),
                (b"Content-Length: 0x" + true,),
                (b"Content-Length: " + true + b".0",),
                (b"Content-Length: 1_0",),
                (b"Content-Length: " + "\N{ARABIC-INDIC DIGIT THREE}".encode(),),
                (b"Content-Length:",),
                (b"Content-Length: a",),
                (b"Content-Length:\t" + true + b"\t ",),
                (b"Content-Length: " + b"9" * source.choice((18, 19, 20, 21, 40, 5000)),),
                (b"Content-Length: " + true, b"Transfer-Encoding: chunked"),
            )
        ),
    )


def _coding(source: random.Random, draft: Draft, _places: Places) -> None:
    draft.replace(
        b"Transfer-Encoding",
        *source.choice(
            (
                (b"Transfer-Encoding: Chunked",),
                (b"transfer-encoding:chunked",),
                (b"Transfer-Encoding: chunked ",),
                (b"Transfer-Encoding: \tchunked",),
                (b"Transfer-Encoding: chunked, chunked",),
                (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
                (b"Transfer-Encoding: gzip, chunked",),
                (b"Transfer-Encoding: chunked, gzip",),
                (b"Transfer-Encoding: gzip",),
                (b"Transfer-Encoding: identity",),
                (b"Transfer-Encoding: identity, chunked",),
                (b"Transfer-Encoding: xchunked",),
                (b"Transfer-Encoding: chunkedx",),
                (b"Transfer-Encoding: chunked;q=1",),
                (b'Transfer-Encoding: "chunked"',),
                (b"Transfer-Encoding:",),
                (b"Transfer-Encoding: ,chunked",),
                (b"Transfer-Encoding: chun\x0bked",),
                (b"Transfer_Encoding: chunked",),
                (b"Transfer-Encoding : chunked",),
            )
        ),
    )


def _chunks(source: random.Random, draft: Draft, _places: Places) -> None:
    draft.replace(b"Content-Length")
    draft.replace(b"Transfer-Encoding", b"Transfer-Encoding: chunked")
    draft.wire = source.choice(
        (
            b"5\r\nhello\r\n0\r\n\r\n",
            b"5\nhello\n0\n\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"6\r\nhello\r\n0\r\n\r\n",
            b"4\r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"5_0\r\nhello\r\n0\r\n\r\n",
            b"g\r\nhello\r\n0\r\n\r\n",
            b"\r\nhello\r\n0\r\n\r\n",
            b";a=b\r\nhello\r\n0\r\n\r\n",
            b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
            b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n',
            b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            b"5;a\nhello\r\n0\r\n\r\n",
            b"5;" + b"e" * source.choice((100, 9000, 40_000)) + b"\r\nhello\r\n0\r\n\r\n",
            b"5" + b";a=1" * source.choice((10, 5000)) + b"\r\nhello\r\n0\r\n\r\n",
            b"0" * source.choice((1, 15, 16, 19)) + b"5\r\nhello\r\n0\r\n\r\n",
            b"f" * source.choice((8, 15, 16, 17, 20, 40)) + b"\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n",
            b"5\r\nhello\r\n0\r\n",
            b"5\r\nhello\r\n0\r\n\r",
            b"5\r\nhello\r\n0\r\nA: 1\r\n",
            b"5\r\nhello\r\n0\r\nA : 1\r\n\r\n",
            b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
            b"5\r\nhello\r\n0\r\n: empty\r\n\r\n",
            b"5\r\nhello\r\n0\r\nA: \x00\r\n\r\n",
            b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"5\r\nhello\r\n0\r\nHost: other\r\n\r\n",
            b"5\r\nhello\r\n0\r\n" + b"A: 1\r\n" * source.choice((10, 100, 1000)) + b"\r\n",
            b"5\r\nhello\r\n0\r\nA: " + b"v" * source.choice((1000, 20_000)) + b"\r\n\r\n",
            b"1\r\nh\r\n" * source.choice((10, 300)) + b"0\r\n\r\n",
        )
    )


def _whitespace(source: random.Random, draft: Draft, _places: Places) -> None:
    at = source.randrange(1, len(draft.lines) + 1) if draft.lines else 0
    draft.lines[at:at] = source.choice(
        (
            (b"X-Fuzz : 1",),
            (b" X-Fuzz: 1",),
            (b"X-Fuzz:1",),
            (b"X-Fuzz: \t 1 \t",),
            (b"X-Fuzz:",),
            (b"X-Fuzz: a", b" folded"),
            (b"X-Fuzz: a", b"\tfolded"),
            (b"X-Fuzz: a", b" "),
            (b"X-Fuzz",),
            (b": 1",),
            (b"X Fuzz: 1",),
            (b"X\tFuzz: 1",),
            (b"X-Fuzz: a\rb",),
            (b"X-Fuzz: a\nb",),
            (b"X-Fuzz: a\rX-Other: b",),
            (b"X-Fuzz: a\0b",),
            (b"X-Fuzz: a\x0bb",),
            (b"X-Fuzz: \x7f",),
            (b"X-F\0uzz: 1",),
            (b"X-Fuzz\r: 1",),
            (b"X-F\xc3\xbczz: 1",),
            (b"X-Fuzz: caf\xc3\xa9",),
            (b"X-Fuzz: caf\xe9",),
            (b"X-Fuzz: \xff\xfe",),
            (b"(X): 1",),
            (b"X-Fuzz: a:b: c",),
        )
    )


def _many(source: random.Random, draft: Draft, _places: Places) -> None:
    match source.randrange(5):
        case 0:
            draft.lines += [
                b"X-Fuzz-%d: 1" % number for number in range(source.choice((90, 120, 127, 128, 129, 300, 3000)))
            ]
        case 1:
            draft.lines.append(b"X-Fuzz: " + b"v" * source.choice((4000, 8100, 8190, 16_000, 17_000, 70_000)))
        case 2:
            draft.lines.append(b"X" * source.choice((200, 8190, 17_000)) + b": 1")
        case 3:
            draft.lines += draft.lines
        case _:
            source.shuffle(draft.lines)


def _case_of_names(source: random.Random, draft: Draft, _places: Places) -> None:
    def bent(line: bytes) -> bytes:
        name, colon, value = line.partition(b":")
        return source.choice((name.lower(), name.upper(), name.swapcase())) + colon + value

    draft.lines = [bent(line) for line in draft.lines]


NUMBERS = (
    b"0",
    b"-1",
    b"1",
    b"+1",
    b"1.5",
    b"1e3",
    b"",
    b" ",
    b"nan",
    b"0x10",
    b"1_000",
    b"9" * 20,
    b"9" * 5000,
    b"-" + b"9" * 30,
)


def _ambry_values(source: random.Random, draft: Draft, _places: Places) -> None:
    words = (
        b"",
        b"default",
        b"other",
        b"caf\xc3\xa9",
        b"\xff",
        b"a,b",
        b'"q"',
        b"../x",
        b"%00",
        b"true",
        b"TRUE",
        b"1",
        b"x" * 4000,
    )
    number, word = source.choice(NUMBERS), source.choice(words)
    draft.lines.append(
        source.choice(
            (
                b"x-ambry-ttl: " + number,
                b"x-ambry-blob-size: " + number,
                b"x-ambry-service-id: " + word,
                b"x-ambry-owner-id: " + word,
                b"x-ambry-content-type: " + word,
                b"x-ambry-content-encoding: " + word,
                b"x-ambry-filename: " + word,
                b"x-ambry-private: " + word,
                b"x-ambry-target-account-name: " + word,
                b"x-ambry-target-container-name: " + word,
                b"x-ambry-durability: " + source.choice((b"memory", b"disk", b"DISK", b"disk, disk", word)),
                b"x-ambry-digest: " + word,
                b"x-ambry-um-" + source.choice((b"a", b"A-b", b"", b"x" * 300)) + b": " + word,
                b"x-ambry-idempotency-key: " + word,
                b"x-ambry-get-option: " + source.choice((b"Include_All", b"Include_Deleted_Blobs", b"none", word)),
                b"x-ambry-resolve-range-on-empty-blob: " + word,
                b"x-ambry-chunk-upload: true",
                b"x-ambry-unknown: " + word,
                b"Content-MD5: " + source.choice((b"1B2M2Y8AsgTpgAmY7PhCfg==", word)),
                b"Content-Digest: " + source.choice((b"sha-256=:AAAA:", b"md5=:AAAA:", b"sha-256=", word)),
                b"Repr-Digest: sha-256=:AAAA:",
                b"Content-Type: " + word,
                b"Content-Encoding: " + source.choice((b"gzip", b"identity", word)),
                b"Content-Range: bytes 0-1/2",
                b"Accept: " + source.choice((b"text/html", b"application/problem+json;q=0", word)),
                b"Accept-Encoding: " + source.choice((b"gzip", b"identity;q=0", word)),
                b"Cookie: " + word,
                b"Authorization: " + word,
                b"Origin: http://elsewhere.test",
                b"Sec-Fetch-Site: cross-site",
                b"Proxy-Connection: keep-alive",
                b"Max-Forwards: 0",
                b"X-HTTP-Method-Override: DELETE",
            )
        )
    )


def _selective(source: random.Random, draft: Draft, _places: Places) -> None:
    dates = (
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Fri, 31 Dec 9999 23:59:59 GMT",
        b"0",
        b"now",
    )
    tags = (b"*", b'"x"', b'W/"x"', b'"a", "b"', b"x", b"", b'"', b"*, *", b'"\xff"', b",".join([b'"t"'] * 500))
    ranges = (
        b"bytes=0-0", b"bytes=-1", b"bytes=0-", b"bytes=5-1", b"bytes=-0", b"bytes=-", b"bytes=a-b", b"bytes=0-0,2-3",
        b"bytes=", b"Bytes=0-1", b"lines=1-2", b"bytes 0-1", b"bytes=0-" + b"9" * 20, b"bytes=" + b"9" * 5000 + b"-",
        b"bytes = 0-1", b"bytes=0 - 1", b"bytes=,0-1", b"\xff",
        b"bytes=" + b",".join(b"%d-%d" % (each, each) for each in range(source.choice((2, 20, 300)))),
    )  # fmt: skip
    draft.lines += source.choice(
        (
            (b"Range: " + source.choice(ranges),),
            (b"Range: " + source.choice(ranges), b"Range: " + source.choice(ranges)),
            (b"Range: bytes=0-0", b"If-Range: " + source.choice((*tags, *dates))),
            (b"If-Match: " + source.choice(tags),),
            (b"If-None-Match: " + source.choice(tags),),
            (b'If-None-Match: "a"', b"If-None-Match: " + source.choice(tags)),
            (b"If-Modified-Since: " + source.choice(dates),),
            (b"If-Unmodified-Since: " + source.choice(dates),),
        )
    )


def _connection(source: random.Random, draft: Draft, _places: Places) -> None:
    draft.lines += source.choice(
        (
            (b"Connection: close",),
            (b"Connection: keep-alive",),
            (b"Connection: Close, X-Fuzz",),
            (b"Connection: close", b"Connection: keep-alive"),
            (b"Connection:",),
            (b"Connection: ,,close",),
            (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x"),
            (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
            (b"Upgrade: websocket",),
            (b"Keep-Alive: timeout=1000, max=1",),
            (b"TE: trailers, deflate;q=0.5",),
            (b"Expect: 100-continue",),
            (b"Expect: 100-Continue",),
            (b"Expect: 200-ok",),
            (b"Expect: 100-continue, 100-continue",),
            (b"Expect:",),
        )
    )


def _line_ends(source: random.Random, draft: Draft, _places: Places) -> None:
    match source.randrange(4):
        case 0:
            draft.line_end = source.choice((b"\n", b"\r", b"\r\r\n", b"\n\r"))
        case 1:
            draft.before = source.choice((CRLF, CRLF * 2, b"\n", b" ", b"\0", CRLF * 200, b"\xef\xbb\xbf"))
        case 2 if draft.lines:
            at = source.randrange(len(draft.lines))
            draft.lines[at] += source.choice((b"\n", b"\r", b"\r\n"))
        case _:
            draft.wire += source.choice(
                (b"x", CRLF, b"\0" * 20, b"GET / HTTP/1.1\r\nHost: smuggled\r\n\r\n", b"more" * 50)
            )


TWISTS: tuple[Twist, ...] = (
    _method, _target, _target, _version, _host, _length, _coding, _chunks, _chunks, _whitespace, _whitespace, _many,
    _case_of_names, _ambry_values, _ambry_values, _selective, _connection, _line_ends,
)  # fmt: skip
