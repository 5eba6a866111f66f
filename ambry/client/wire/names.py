"""Names: lists, histories, and what changes names alone, as requests and as answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from ambry.client.model import check_type
from ambry.client.names import NameChange, NameEntry, Page
from ambry.client.refs import NameRef, list_path, path_of, subject_of
from ambry.client.wire.json_answer import UNREADABLE
from ambry.client.wire.json_request import json_request
from ambry.client.wire.message import ApiRequest, Headers, moment, violation
from ambry.errors import AlreadyExists, InvalidRequest
from ambry.ids import BlobId
from ambry.rest import names
from ambry.rest.text import plain_text

PAGE_MAX = 1_000


class _Listed(msgspec.Struct, rename="camel"):
    blob_name: str
    is_directory: bool
    blob_id: str | None = None
    blob_size: int | None = None
    modified_time_ms: int | None = None
    expiration_time_ms: int | None = None


class _List(msgspec.Struct, rename="camel"):
    entries: list[_Listed]
    next_page_token: str | None


class _Version(msgspec.Struct, rename="camel"):
    modified_time_ms: int
    datacenter: int
    deleted: bool = False
    blob_id: str | None = None
    blob_size: int | None = None


class _History(msgspec.Struct, rename="camel"):
    versions: list[_Version]
    next_page_token: str | None


class _Changed(msgspec.Struct):
    id: str
    size: int


def list_request(
    within: NameRef, delimiter: str | None, start_after: str | None, page_size: int, token: str | None
) -> ApiRequest:
    """A page of the names that begin with that of `within`. Raises InvalidRequest."""
    query = {
        "start-after": start_after or "",
        "prefix": within.name,
        "delimiter": delimiter or "",
        "max-keys": page_limit(page_size),
        "page": token or "",
    }
    path = list_path(within.account, within.container)
    return ApiRequest("GET", path + query_of(query), {}, f"names of {within.account}/{within.container}")


def history_request(place: NameRef, token: str | None) -> ApiRequest:
    query = query_of({"page": token or ""})
    history = f"?history&{query[1:]}" if query else "?history"
    return ApiRequest("GET", path_of(place) + history, {}, subject_of(place))


def rename_request(source: NameRef, place: NameRef, *, overwrite: bool) -> tuple[ApiRequest, bytes]:
    """Raises InvalidRequest for names of two containers."""
    if (source.account, source.container) != (place.account, place.container):
        raise InvalidRequest("a name is renamed inside its container; put the blob there, or bind it where it is")
    return _act(place, {"op": "rename", "from": source.name}, overwrite=overwrite)


def bind_request(
    place: NameRef,
    blob: BlobId,
    *,
    overwrite: bool,
    if_match: str | None = None,
    owned: bool = False,
    upload: str | None = None,
) -> tuple[ApiRequest, bytes]:
    """`owned`: the blob goes with the name, as one that was put under it; who may not delete it says which `upload` made it."""
    action: dict[str, Any] = {"op": "bind", "id": str(blob)}
    if owned:
        action["owned"] = True
    if upload is not None:
        action["upload"] = upload
    request, body = _act(place, action, overwrite=overwrite and if_match is None)
    if if_match is not None:
        request.headers["if-match"] = plain_text("if_match", if_match)
    return request, body


def container_headers(place: NameRef) -> dict[str, str]:
    """What says the container of a name where its path does not."""
    return {names.ACCOUNT_NAME: place.account, names.CONTAINER_NAME: place.container}


def undelete_request(place: NameRef) -> tuple[ApiRequest, bytes]:
    return _act(place, {"op": "undelete"}, overwrite=False)


def _act(place: NameRef, action: Mapping[str, Any], *, overwrite: bool) -> tuple[ApiRequest, bytes]:
    headers = {names.NAMED_UPSERT: "true"} if overwrite else {}
    return json_request("POST", path_of(place), action, subject_of(place), headers)


def reword(error: AlreadyExists, place: NameRef, way_out: str) -> None:
    """Say what to do in words of this client, where the server says it in those of HTTP."""
    if names.NAMED_UPSERT in error.message:
        error.message = f"the name {place} exists; {way_out}"


def page_limit(page_size: int) -> str:
    """Raises InvalidRequest, TypeError."""
    check_type("page_size", page_size, int, f"a number from 1 to {PAGE_MAX}")
    if not 1 <= page_size <= PAGE_MAX:
        raise InvalidRequest(f"page_size is a number from 1 to {PAGE_MAX}, not {page_size}")
    return str(page_size)


def query_of(pairs: Mapping[str, str]) -> str:
    """With its question mark; what is empty is left out. Raises InvalidRequest for half characters."""
    try:
        found = "&".join(f"{key}={quote(text, safe='')}" for key, text in pairs.items() if text)
    except UnicodeEncodeError:
        raise InvalidRequest("names are text that UTF-8 can hold") from None
    return f"?{found}" if found else ""


def parse_list(within: NameRef, headers: Headers, body: bytes) -> Page[NameEntry]:
    """Raises ProtocolViolation."""
    try:
        told = _list.decode(body)
        return Page(entries=tuple(_entry(within, each) for each in told.entries), next_token=told.next_page_token)
    except UNREADABLE as cause:
        raise violation(headers, f"the answer lists no names ({type(cause).__name__}: {cause})") from cause


def parse_history(headers: Headers, body: bytes) -> Page[NameChange]:
    """Raises ProtocolViolation."""
    try:
        told = _history.decode(body)
        return Page(entries=tuple(map(_version, told.versions)), next_token=told.next_page_token)
    except UNREADABLE as cause:
        raise violation(headers, f"the answer tells no history ({type(cause).__name__}: {cause})") from cause


def parse_changed(headers: Headers, body: bytes) -> BlobId:
    """The blob that the name points to now. Raises ProtocolViolation."""
    try:
        return BlobId.parse(_changed.decode(body).id)
    except UNREADABLE as cause:
        raise violation(headers, f"the answer says no blob ({type(cause).__name__}: {cause})") from cause


def _entry(within: NameRef, told: _Listed) -> NameEntry:
    ref = NameRef(told.blob_name, within.account, within.container)
    if told.is_directory:
        return NameEntry(ref=ref)
    return NameEntry(
        ref=ref,
        id=BlobId.parse(_required(told.blob_id)),
        size=told.blob_size,
        modified=None if told.modified_time_ms is None else moment(told.modified_time_ms),
        expires=None if told.expiration_time_ms is None else moment(told.expiration_time_ms),
    )


def _version(told: _Version) -> NameChange:
    return NameChange(
        modified=moment(told.modified_time_ms),
        datacenter=told.datacenter,
        id=None if told.deleted else BlobId.parse(_required(told.blob_id)),
        size=told.blob_size,
    )


def _required(found: Any) -> Any:
    if found is None:
        raise ValueError("an entry says no id")
    return found


_list = msgspec.json.Decoder(_List)
_history = msgspec.json.Decoder(_History)
_changed = msgspec.json.Decoder(_Changed)
