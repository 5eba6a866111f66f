"""The lines of a request in an audit: who did what to what, from where, with which answer. Pure.

A request has one line, and as many as it needs where what is told of it is long: nothing that changed, became public or was
granted is left out for its size.

JSON. No secret stands in it and no content: of a path no query, of a key its id and its name. What a change asks for in JSON
has no secrets.

    time, request_id      when it was over (RFC 3339), and the id that answers and logs have
    client                the address that it came from
    proxy                 that of the trusted proxy that told so, where one did
    key, key_name         whose key; null for nobody's
    claimed_key, ..._name  of a request that is refused since its key opens nothing: the id that it says, unproven, and the
                          name of such a key where there is one
    signed                true where a URL was sent that this key signed
    keyless               true where no keys are asked for
    method, op, path      what was asked for
    account, container    what it was about, by name, where that was found out
    status, code, error   the answer: 499 for one that did not reach its end, so that what became of it is not known
    asked                 the body of a change in JSON; of one of more than ASKED_BYTES_MAX the members that are short, and of
                          the others their sizes; its size alone where it was refused
    more                  of a further line of one request: which of them; it has what no longer went into the one before
    item                  of a batch: which of its items the line is about; `status` and `code` are the item's
    left_out              so many refusals before this one have no line: there were too many
    blob, name, size, upload, part, about_key, ...   what it was about, as far as the operation told
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from frontend.audit.hiding import without_secrets
from frontend.request import RequestContext

ASKED_BYTES_MAX = 4_096
MEMBER_BYTES_MAX = 8_192
"""Of what is asked for each member is told up to that: a name of 1,024 bytes always is, however it is escaped."""
LISTED_BYTES_MAX = 4_096
"""Of what was noted in lists so much is in a line, and at least one of them."""
ERROR_SIZE_MAX = 300
_encode = msgspec.json.Encoder(order=None).encode


def audit_lines(
    context: RequestContext,
    *,
    wall_ms: int,
    method: str,
    op: str,
    status: int,
    noted: Mapping[str, Any],
    left_out: int = 0,
) -> bytes:
    """The line of a request, and of each of its items."""
    who, container = context.who, context.container
    pairs: dict[str, Any] = {
        "time": datetime.fromtimestamp(wall_ms / 1000, UTC),
        "request_id": context.id,
        "client": context.client,
        "key": who.id or None,
        "key_name": who.name or None,
        "method": method,
        "op": op,
        "path": context.path,
    }
    if context.proxy:
        pairs["proxy"] = context.proxy
    if who.signed:
        pairs["signed"] = True
    if who.anybody:
        pairs["keyless"] = True
    if container is not None:
        pairs["account"], pairs["container"] = container.account_name, container.container_name
    items = [] if not context.items else [_encode({**pairs, **_of_item(each)}) for each in context.items]
    first, *others = _pieces(noted)
    lines = [_encode({**pairs, "status": status, "more": n, **each}) for n, each in enumerate(others, 1)] + items
    pairs["status"] = status
    pairs.update(first)
    error = pairs.get("error")
    if error is not None:
        pairs["error"] = _cut(error)
    if context.asked is not None and context.changes:
        pairs["asked"] = _asked(context.asked, refused=400 <= status < 499)
    if left_out:
        pairs["left_out"] = left_out
    # Somebody may have put a key anywhere: into a path, a name, what was asked for.
    return without_secrets(b"\n".join([_encode(pairs), *lines, b""]).decode()).encode()


def _pieces(noted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was noted, in as many pieces as its lists need: each of them goes into a line."""
    pieces = [{name: [] if isinstance(value, list) else value for name, value in noted.items()}]
    size = 0
    for name, value in noted.items():
        for each in value if isinstance(value, list) else ():
            more = len(_encode(each))
            if size and size + more > LISTED_BYTES_MAX:
                pieces.append({})
                size = 0
            pieces[-1].setdefault(name, []).append(each)
            size += more
    return pieces


def _asked(asked: Any, *, refused: bool) -> object:
    """What a change asked for, as far as a line tells it."""
    whole = _encode(asked)
    if len(whole) <= ASKED_BYTES_MAX:
        return msgspec.Raw(whole)
    if refused or not isinstance(asked, dict):
        return _sized(whole)
    members = {name: _encode(value) for name, value in asked.items()}
    return {
        name[:ERROR_SIZE_MAX]: msgspec.Raw(value) if len(value) <= MEMBER_BYTES_MAX else _sized(value)
        for name, value in members.items()
    }


def _sized(value: bytes) -> str:
    return f"{len(value)} bytes of JSON"


def _of_item(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of an item, by what its answer says."""
    names = {"index": "item", "id": "blob", "detail": "error"}
    told = {names.get(name, name): value for name, value in answer.items() if name != "digest"}
    if "error" in told:
        told["error"] = _cut(told["error"])
    return told


def _cut(error: object) -> str:
    # Before it is cut: the rest of a secret would not be known for one.
    return without_secrets(str(error))[:ERROR_SIZE_MAX]
