"""Keys of encryption at rest: the JSON there and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec

from ambry.client.encryption import ContainerKeyInfo, ContainerKeysInfo, ProviderInfo, RewrapResult
from ambry.client.wire.json_answer import UNREADABLE
from ambry.client.wire.json_request import json_request
from ambry.client.wire.message import ApiRequest, Headers, moment, violation
from ambry.rest.accounts import name_of

ENCRYPTION = "/encryption"
quote_part = partial(quote, safe="")
_object = msgspec.json.Decoder(dict[str, Any]).decode


def provider_request() -> ApiRequest:
    return ApiRequest("GET", ENCRYPTION, {}, "the provider of master keys")


def keys_request(account: str, container: str) -> ApiRequest:
    return ApiRequest("GET", _path(account, container), {}, f"the keys of container {account}/{container}")


def rotate_request(account: str, container: str) -> ApiRequest:
    path = f"{_path(account, container)}/rotate"
    return ApiRequest("POST", path, {"content-length": "0"}, f"the keys of container {account}/{container}")


def delete_request(account: str, container: str, version: str | None) -> ApiRequest:
    """Whoever calls has asked whether it is meant."""
    path = _path(account, container) + ("" if version is None else f"/{quote_part(version)}")
    confirm = quote_part(f"{account}/{container}")
    return ApiRequest("DELETE", f"{path}?confirm={confirm}", {}, f"the keys of container {account}/{container}")


def rewrap_request(after: int | None, limit: int) -> tuple[ApiRequest, bytes]:
    return json_request("POST", f"{ENCRYPTION}/rewrap", {"after": after, "limit": limit}, "the keys of containers")


def _path(account: str, container: str) -> str:
    parts = (quote_part(name_of("account", account)), quote_part(name_of("container", container)))
    return f"{ENCRYPTION}/containers/{'/'.join(parts)}"


def parse_provider(headers: Headers, body: bytes) -> ProviderInfo:
    """Raises ProtocolViolation, as all of these."""
    try:
        told = _object(body)
        return ProviderInfo(
            name=told["provider"],
            master_version=told["masterVersion"],
            away=told["away"],
            open_keys=int(told["openKeys"]),
        )
    except UNREADABLE as cause:
        raise violation(headers, f"the answer tells no provider ({type(cause).__name__}: {cause})") from cause


def parse_keys(headers: Headers, body: bytes) -> ContainerKeysInfo:
    try:
        told = _object(body)
        return ContainerKeysInfo(
            account=str(told["account"]),
            container=str(told["container"]),
            encrypted=bool(told["encrypted"]),
            keys=tuple(_key(each) for each in told["keys"]),
        )
    except UNREADABLE as cause:
        raise violation(headers, f"the answer tells no keys ({type(cause).__name__}: {cause})") from cause


def parse_rewrap(headers: Headers, body: bytes) -> RewrapResult:
    try:
        told = _object(body)
        next = told["next"]
        return RewrapResult(
            master_version=str(told["masterVersion"]),
            rewrapped=int(told["rewrapped"]),
            already=int(told["already"]),
            failed=tuple(str(each) for each in told["failed"]),
            next=None if next is None else int(next),
        )
    except UNREADABLE as cause:
        raise violation(headers, f"the answer tells no step ({type(cause).__name__}: {cause})") from cause


def _key(told: Mapping[str, Any]) -> ContainerKeyInfo:
    return ContainerKeyInfo(
        version=str(told["version"]),
        current=bool(told.get("current", False)),
        made=_time(told.get("madeMs")),
        provider=str(told.get("provider", "")),
        master_version=str(told.get("masterVersion", "")),
        deleted=_time(told.get("deletedMs")),
        deleted_by=str(told.get("deletedBy", "")),
    )


def _time(ms: int | None) -> datetime | None:
    return None if ms is None else moment(ms)
