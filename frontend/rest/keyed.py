"""The idempotency key of an upload, as it is asked for: which it is, and the answer where it was acknowledged before."""

from __future__ import annotations

from ambry.checksum import new_digester
from ambry.errors import InvalidRequest, UpdateConflict, must_have
from ambry.ids import BlobId
from ambry.rest import names
from ambry.rest import text as rules
from frontend.http.conditions import CONDITIONAL
from frontend.http.exchange import Exchange
from frontend.idempotency.keys import IdempotencyKeys, KeyedPut
from frontend.idempotency.rows import KeyRow
from frontend.rest.entry import container_of
from frontend.rest.stream import streamed
from frontend.rest.upload_headers import digests_of
from frontend.router.context import RouterContext
from frontend.router.values import PutResult


async def keyed_put(exchange: Exchange, keys: IdempotencyKeys | None) -> KeyedPut | None:
    """What is known of the key of an upload, which has entered its container; None for one without.

    Raises InvalidRequest, MetadataUnavailable.
    """
    text = exchange.headers.get(names.IDEMPOTENCY_KEY)
    if text is None:
        return None
    if not text:
        raise InvalidRequest(f"{names.IDEMPOTENCY_KEY} is empty; give each upload a key of its own, such as a UUID")
    rules.plain_text(names.IDEMPOTENCY_KEY, text)
    if keys is None:
        raise InvalidRequest(
            f"this frontend has no metadata store to remember {names.IDEMPOTENCY_KEY} in; leave it out"
        )
    return await keys.find(container_of(exchange), exchange.context.who.id, text)


def drop_conditions(exchange: Exchange) -> None:
    """Of a put that was acknowledged before: they held then, and may not hold because of it."""
    exchange.headers = {name: value for name, value in exchange.headers.items() if name not in CONDITIONAL}


async def made_before(exchange: Exchange, router: RouterContext, row: KeyRow, said: bytes, key: str) -> PutResult:
    """What was made under a key, for an upload that is the same again: its body is read and compared, and not stored.

    Of a body that goes on where the first one ended no more is read. Raises UpdateConflict for another body, or other headers;
    what reading the body raises.
    """
    made = must_have(row.made, "the blob of a key that is answered again")
    if said != made.said:
        raise UpdateConflict(_another("said something else about its blob", key))
    if exchange.size not in (None, made.size):
        raise UpdateConflict(_another("had another body", key))
    digests = digests_of(exchange.headers)
    running = new_digester()
    size = 0
    async with streamed(exchange, router, digests) as body:
        async for piece in body:
            if piece:
                running.update(piece)
                size += len(piece)
                if size > made.size:
                    raise UpdateConflict(_another("had another body", key))
                exchange.context.renew()
    whole = running.digest()
    if digests is not None:
        await digests.verify(whole)
    if (size, whole) != (made.size, made.digest):
        raise UpdateConflict(_another("had another body", key))
    return PutResult(id=BlobId(row.blob), size=size, digest=whole, created_at_ms=made.created_at_ms, parts=made.parts)


def _another(why: str, key: str) -> str:
    # Who knows it may ask what became of the upload: it is told to nobody, and the message is logged.
    return f"the upload that had the idempotency key {key[:4]!r}... {why}; each upload needs a key of its own"
