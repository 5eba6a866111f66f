"""Signed URLs in hostile hands: cut, spliced, flipped and stuffed. None opens anything else, and none is a bug of ours."""

from __future__ import annotations

import asyncio
import random
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.rest import names
from frontend.access import signed
from tests.support.http_frontend import HttpFrontend, request
from tests.unit.frontend.rest.test_frontend_rest_entry import MODELS
from tests.unit.frontend.rest.test_frontend_rest_no_500 import FIELDS, METHODS, TEXTS, ask, one
from tests.unit.frontend.rest.test_frontend_rest_signed import signing

CANARY = b"what nobody gave away"
STUFFING = [
    b"&",
    b"=",
    b"%",
    b"%00",
    b"%ff",
    b"+",
    b"..",
    b"/",
    b"?",
    b"#",
    b"\xff",
    b"&ambry-verb=DELETE",
    b"&x-ambry-ttl=1",
    b";",
]


def mutated(chance: random.Random, target: bytes, other: bytes) -> bytes:
    """A target that was a signed URL's; `other` is another one, to splice in."""
    made = bytearray(target)
    for _ in range(chance.randint(1, 3)):
        first, second = sorted(chance.randrange(1, len(made) + 1) for _ in "ab")
        kind = chance.randrange(6)
        if kind == 0 and first < len(made):
            made[first] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del made[first : first + chance.randint(1, 8)]
        elif kind == 2:
            made[first:first] = chance.choice(STUFFING)
        elif kind == 3:
            made[first:first] = made[first:second]
        elif kind == 4:
            made[first:second] = other[first:second]
        else:
            made = bytearray(made.replace(*chance.choice([(b"PUT", b"GET"), (b"GET", b"PUT"), (b"dc1", b"dc2")])))
    # What would end the line belongs to other tests.
    return bytes(byte for byte in made if byte not in b"\r\n \t\0")


async def sent(frontend: HttpFrontend, method: str, target: bytes, body: bytes | None) -> tuple[int, bytes]:
    raw = request(method, "/TARGET", {"Connection": "close"}, body).replace(b"/TARGET", target, 1)
    answer = await frontend.exchange(raw, method)
    return answer.status, answer.body


async def test_no_change_of_a_url_opens_anything_else() -> None:
    chance = random.Random(11)
    async with signing() as on:
        blob, canary = await on.put(b"given away"), await on.put(CANARY)
        read = (await on.sign(f"/{blob}")).encode()
        put = (await on.sign("/", MODELS, verb="PUT", max_size=5, content_type="image/png")).encode()
        spoilt = 0
        for _ in range(600):
            target = mutated(chance, read, put).replace(blob.encode(), chance.choice([blob, canary]).encode())
            status, body = await sent(on.frontend, "GET", target, None)
            assert status < 500 and CANARY not in body, target
            assert status != 200 or body == b"given away" or target.startswith(b"/?"), target
            spoilt += status == 401
            status, _ = await sent(on.frontend, "PUT", mutated(chance, put, read), b"more than that")
            assert 400 <= status < 500, "no change lifts the bound of its size"
        assert spoilt > 100, "signatures were looked at"


SAID = [
    signed.VERB, signed.EXPIRES, signed.KEY, signed.MAX_SIZE, signed.CONTENT_TYPE, signed.ONCE, signed.DATACENTER,
    signed.SIGNATURE, names.TTL, "x-ambry-um-a",
]  # fmt: skip
TOLD = st.lists(st.tuples(st.sampled_from(SAID), TEXTS), max_size=8)
QUESTIONS = st.lists(
    st.tuples(st.sampled_from(["path", "verb", "expires-in", "max-size", "content-type", "once"]), TEXTS), max_size=5
)
PATHS = st.sampled_from(
    ["/", "/{id}", "/named/ml/models/a", "/named/ml/models", "/a%2Fb", "/uploads/00/1", "/\udcff", "*"]
)
HEADERS = st.lists(st.tuples(st.sampled_from([*FIELDS, "content-type"]), TEXTS), max_size=3)


def query(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{name}={quote(value.encode('utf-8', 'surrogateescape'), safe='')}" for name, value in pairs)


@settings(max_examples=8)
@given(st.lists(st.tuples(METHODS, PATHS, TOLD, QUESTIONS, HEADERS), min_size=30, max_size=40), st.booleans())
def test_nothing_that_is_said_to_be_signed_or_asked_to_be_is_a_bug_of_ours(
    asked: list[tuple[str, str, list[tuple[str, str]], list[tuple[str, str]], list[tuple[str, str]]]], root: bool
) -> None:
    async def run() -> None:
        async with signing() as on:
            blob = await on.put()
            good = {"GET": await on.sign(f"/{blob}"), "PUT": await on.sign("/", verb="PUT", content_type="a/b")}
            own = list(on.key.items()) if root else []
            for method, path, told, question, fields in asked:
                target = path.replace("{id}", blob)
                said = [("path", target), *(pair for pair in question if pair[0] != "path")] if root else question
                for verb, to, more in (
                    (method, f"{target}?{query(told)}&ambry-signature={'0' * 64}", []),
                    ("GET", f"/signedUrl?{query(said)}", own),
                    (method, good.get(method, good["GET"]), []),
                ):
                    raw = one(verb, to, [*more, *(pair for pair in fields if pair[0] != "authorization")], b"")
                    assert await ask(on.frontend, raw, verb) < 500, raw

    asyncio.run(run())
