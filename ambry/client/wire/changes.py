"""Changes of a container: the request for a page of them, and what it says."""

from __future__ import annotations

import msgspec

from ambry.client.changes import RESTARTED, SINCE_WORDS, TOKEN_SIZE_MAX, ToldChange, ToldChanges
from ambry.client.model import check_type
from ambry.client.wire.json_answer import UNREADABLE
from ambry.client.wire.message import ApiRequest, Headers, moment, violation
from ambry.client.wire.names import query_of
from ambry.errors import InvalidRequest
from ambry.ids import BlobId

PAGE_MAX = 1_000
WAIT_MAX_S = 20
"""How long one request waits, and never more than two thirds of the silence that the client bears."""


class _Event(msgspec.Struct, rename="camel"):
    type: str
    time_ms: int
    blob_id: str | None = None
    blob_size: int | None = None
    expiration_time_ms: int | None = None
    life_version: int = 0
    name: str | None = None
    dataset: str | None = None
    version: str | None = None
    alias: str | None = None
    who: str = ""
    why: str = ""
    datacenter: int | None = None
    late: bool = False


class _Page(msgspec.Struct, rename="camel"):
    changes: list[_Event]
    token: str
    at_end: bool
    delayed: bool = False
    restarted: bool = False


_page = msgspec.json.Decoder(_Page)


def changes_request(account: str, container: str, since: str, *, page_size: int, wait_s: int) -> ApiRequest:
    """A page of what changed after a token. Raises InvalidRequest, TypeError."""
    check_type("since", since, str, "beginning, now or a token")
    check_type("page_size", page_size, int, f"a number from 1 to {PAGE_MAX}")
    if not 1 <= page_size <= PAGE_MAX:
        raise InvalidRequest(f"page_size is a number from 1 to {PAGE_MAX}, not {page_size}")
    if not (since and since.isascii() and since.replace("-", "").replace("_", "").isalnum()):
        raise InvalidRequest("since is beginning, now, or a token that was told")
    if len(since) > TOKEN_SIZE_MAX:
        raise InvalidRequest(
            f"since is beginning, now, or a token that was told, which has at most {TOKEN_SIZE_MAX} characters, "
            f"and not {len(since)}"
        )
    query = {"account": account, "container": container, "limit": str(page_size), "wait": str(wait_s)}
    headers: dict[str, str] = {}
    if since in SINCE_WORDS:
        query["since"] = since
    else:
        headers["last-event-id"] = since  # it may be too long for an address
    return ApiRequest("GET", f"/changes{query_of(query)}", headers, f"changes of {account}/{container}")


def parse_changes(headers: Headers, body: bytes) -> ToldChanges:
    """Raises ProtocolViolation."""
    try:
        told = _page.decode(body)
        first = (ToldChange(type=RESTARTED),) if told.restarted else ()
        changes = (*first, *map(_change, told.changes))
        return ToldChanges(changes=changes, token=told.token, at_end=told.at_end, delayed=told.delayed)
    except UNREADABLE as cause:
        raise violation(headers, f"the answer tells no changes ({type(cause).__name__}: {cause})") from cause


def _change(event: _Event) -> ToldChange:
    return ToldChange(
        type=event.type,
        time=moment(event.time_ms),
        id=None if event.blob_id is None else BlobId.parse(event.blob_id),
        size=event.blob_size,
        expires=None if event.expiration_time_ms is None else moment(event.expiration_time_ms),
        life_version=event.life_version,
        name=event.name,
        dataset=event.dataset,
        version=event.version,
        alias=event.alias,
        who=event.who,
        why=event.why,
        datacenter=event.datacenter,
        late=event.late,
    )
