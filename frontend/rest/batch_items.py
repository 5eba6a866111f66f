"""What a batch asks for: a JSON list of ids, each alone or with ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from ambry.errors import AmbryError, InvalidRequest, MediaTypeUnsupported
from frontend.http.exchange import Exchange, json_response
from frontend.rest.json_body import whole_body
from frontend.router.context import RouterContext

ITEMS_MAX = 1_000
"""Of one batch; so many ranges of them, too."""
LIST_BYTES_MAX = 1 << 20
"""Of a list; a thousand ids with ten ranges each take a quarter of it."""
_JSON_TYPES = frozenset({"", "application/json", "application/x-www-form-urlencoded"})
"""The last is what curl says unasked."""


_ID = {"type": "string", "description": "of a blob; one that is none is the status of its item alone"}
_NAME = {"type": "string", "description": "account/container/name; the name is all behind the second slash, exactly"}
_RANGES = {"type": "array", "minItems": 1, "maxItems": 10, "items": {"type": "string"}}


def _list(more: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """A batch as a JSON Schema; its objects have `more` properties beside an id or a name, or are as `others`."""
    items = {"anyOf": [_ID, _one({"id": _ID}, more), _one({"name": _NAME}, more), *others]}
    return {"type": "array", "minItems": 1, "maxItems": ITEMS_MAX, "items": items}


def _one(required: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [*required],
        "additionalProperties": False,
        "properties": {**required, **more},
    }


LIST = _list({})
LIST_OF_DELETES = _list({}, _one({"id": _ID, "name": _NAME}, {}))
LIST_WITH_RANGES = _list({"ranges": _RANGES})


class BatchItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One blob by its id or its name, `account/container/name`, and ranges as a Range header has them; none for all of it.

    With both, which a delete may have, it is the name while it points to that blob.
    """

    id: str = ""
    name: str = ""
    ranges: list[str] | None = None


_SHAPE = (
    'a batch is a JSON list of "<id>", {"id": "<id>", "ranges": ["0-99"]} and {"name": "<account>/<container>/<name>"}'
)
_items = msgspec.json.Decoder(list[str | BatchItem])


async def read_items(
    exchange: Exchange, router: RouterContext, *, ranges: bool, bound: bool = False
) -> list[str | BatchItem]:
    """The items of a request, an id alone as its text; with `ranges` they may have some, where `bound` a name with an id.

    Raises InvalidRequest, TooLarge, MediaTypeUnsupported, and what reading a body raises.
    """
    kind = exchange.headers.get("content-type", "").partition(";")[0].strip(" \t").lower()
    if kind not in _JSON_TYPES:
        raise MediaTypeUnsupported(f"a batch is a list in application/json, and not {kind[:60]!r}")
    raw = await whole_body(exchange, router, size_max=LIST_BYTES_MAX, what="the list of a batch")
    try:
        found = _items.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{_SHAPE}: {error}") from None
    check_count(len(found))
    if any(not isinstance(item, str) and not _fits(item, bound=bound) for item in found):
        both = ", or both in a delete" if bound else ""
        raise InvalidRequest(f"{_SHAPE}: each item has an id or a name{both}")
    with_ranges = [item.ranges for item in found if not isinstance(item, str) and item.ranges is not None]
    if with_ranges and not ranges:
        raise InvalidRequest("ranges are for /batch/get alone")
    if sum(map(len, with_ranges)) > ITEMS_MAX:
        raise InvalidRequest(f"a batch has at most {ITEMS_MAX} ranges; send several")
    if [] in with_ranges:
        raise InvalidRequest("an empty list of ranges asks for nothing; leave it out for all of the blob")
    return found


def _fits(item: BatchItem, *, bound: bool) -> bool:
    return bool(item.id or item.name) if bound else bool(item.id) != bool(item.name)


def check_count(count: int) -> None:
    """Raises InvalidRequest for a batch of nothing, or of too much."""
    if not 1 <= count <= ITEMS_MAX:
        several = "; send several" if count else ""
        raise InvalidRequest(f"a batch has 1 to {ITEMS_MAX} items, and not {count}{several}")


def told_items(exchange: Exchange, answers: Sequence[dict[str, Any]]) -> web.Response:
    """What became of each item, in the order of the request."""
    exchange.context.items = exchange.context.items or answers
    response = json_response({"items": answers})
    response.headers["Cache-Control"] = "no-store"
    return response


def failed_item(index: int, error: AmbryError, **more: str) -> dict[str, Any]:
    """What is told of one that failed."""
    return {"index": index, "status": error.status, "code": type(error).__name__, "detail": error.message[:400], **more}
