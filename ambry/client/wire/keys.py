"""Keys of the API: the JSON there and back. A secret is in the answer that makes it, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from ambry.client.credentials import SecretText
from ambry.client.keys import Expiry, FreshKey, KeyChange, KeyInfo, KeyLimits, as_grants
from ambry.client.model import check_type
from ambry.client.wire.json_request import json_request
from ambry.client.wire.message import ApiRequest, Headers, moment, violation
from ambry.errors import InvalidRequest
from ambry.rest.access import Grant, is_key_id, parse_key, role_of
from ambry.rest.values import TIME_MS_MAX

T = TypeVar("T")
KEYS = "/keys"
SELF = "self"


class _Limits(msgspec.Struct, frozen=True, rename="camel"):
    requests_per_s: float | None = None
    bytes_per_s: float | None = None
    burst_s: float | None = None


_CAMEL = dict(zip(_Limits.__struct_fields__, _Limits.__struct_encode_fields__, strict=True))


class _Key(msgspec.Struct, rename="camel"):
    id: str
    name: str
    grants: tuple[Grant, ...]
    created_ms: int | None = None
    created_by: str = ""
    expires_ms: int | None = None
    last_used_ms: int | None = None
    limits: _Limits = _Limits()
    shares_limits_of: tuple[str, ...] = ()
    same_name: tuple[str, ...] = ()
    key: str = ""


class _Keys(msgspec.Struct):
    keys: list[_Key]


_one = msgspec.json.Decoder(_Key).decode
_many = msgspec.json.Decoder(_Keys).decode


def list_request() -> ApiRequest:
    return ApiRequest("GET", KEYS, {}, "keys")


def key_request(id: str) -> ApiRequest:
    return ApiRequest("GET", f"{KEYS}/{_checked(id)}", {}, f"key {id}")


def create_request(
    name: str, grants: Grant | Iterable[Grant], expires: Expiry, now_ms: int, limits: KeyLimits
) -> tuple[ApiRequest, bytes]:
    """Raises InvalidRequest, TypeError."""
    said: dict[str, Any] = {"name": name, "grants": _grants(grants), "expiresMs": expires_ms(expires, now_ms)}
    return json_request("POST", KEYS, {**said, "limits": _limits(limits)}, f"the key {name}")


def change_request(id: str, said: KeyChange, now_ms: int) -> tuple[ApiRequest, bytes]:
    """What is said changes. Raises InvalidRequest, TypeError."""
    unknown = sorted(said.keys() - KeyChange.__optional_keys__)
    if unknown:
        raise TypeError(
            f"a key has no {unknown[0]!r} to change; there are {', '.join(sorted(KeyChange.__optional_keys__))}"
        )
    asked: dict[str, Any] = {}
    if "name" in said:
        asked["name"] = said["name"]
    if "grants" in said:
        asked["grants"] = _grants(said["grants"])
    if "expires" in said:
        asked["expiresMs"] = expires_ms(said["expires"], now_ms)
    limits = {_CAMEL[name]: value for name, value in said.items() if name in _CAMEL}
    if limits:
        asked["limits"] = limits
    return json_request("PUT", f"{KEYS}/{_checked(id)}", asked, f"key {id}")


def rotate_request(id: str, overlap: timedelta | int) -> tuple[ApiRequest, bytes]:
    seconds = int(overlap.total_seconds()) if isinstance(overlap, timedelta) else overlap
    return json_request("POST", f"{KEYS}/{_checked(id)}/rotate", {"overlapS": seconds}, f"key {id}")


def revoke_request(id: str) -> ApiRequest:
    return ApiRequest("DELETE", f"{KEYS}/{_checked(id)}", {}, f"key {id}")


def parse_list(headers: Headers, body: bytes) -> list[KeyInfo]:
    return [_info(each) for each in _decoded(headers, body, _many).keys]


def parse_key_info(headers: Headers, body: bytes) -> KeyInfo:
    return _info(_decoded(headers, body, _one))


def parse_fresh(headers: Headers, body: bytes) -> FreshKey:
    found = _decoded(headers, body, _one)
    if parse_key(found.key) is None:
        raise violation(headers, "the answer has no key in it")
    return FreshKey(info=_info(found), text=SecretText(found.key))


def parse_nothing(headers: Headers, body: bytes) -> None:
    return None


def expires_ms(expires: object, now_ms: int) -> int | None:
    """Milliseconds since 1970. Raises TypeError."""
    if expires is None:
        return None
    if isinstance(expires, timedelta):
        return now_ms + int(expires.total_seconds() * 1000)
    if isinstance(expires, datetime):
        return int(expires.timestamp() * 1000)
    if isinstance(expires, int) and not isinstance(expires, bool):
        return now_ms + expires * 1000
    wanted = "a datetime, a timedelta or whole seconds from now on, or None for never"
    raise TypeError(f"expires is {wanted}, not {repr(expires)[:60]}")


def _decoded(headers: Headers, body: bytes, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(body)
    except msgspec.MsgspecError as cause:
        raise violation(headers, f"the answer tells no keys ({cause})") from None


def _info(found: _Key) -> KeyInfo:
    return KeyInfo(
        id=found.id,
        name=found.name,
        grants=found.grants,
        created=_when(found.created_ms),
        created_by=found.created_by,
        expires=_when(found.expires_ms),
        last_used=_when(found.last_used_ms),
        limits=KeyLimits(**msgspec.structs.asdict(found.limits)),
        shares_limits_of=found.shares_limits_of,
        same_name=found.same_name,
    )


def _when(milliseconds: int | None) -> datetime | None:
    """Of a key that was made before the store held its expiry to the calendar, the last time that has."""
    return moment(min(milliseconds, TIME_MS_MAX)) if milliseconds else None


def _grants(grants: Grant | Iterable[Grant]) -> list[Any]:
    found = as_grants(grants)
    for each in found:
        role_of(each.roles)
    return [msgspec.to_builtins(each) for each in found]


def _limits(limits: KeyLimits) -> Any:
    check_type("limits", limits, KeyLimits, "a KeyLimits(requests_per_s=...)")
    said = msgspec.to_builtins(_Limits(**asdict(limits)))
    return {name: value for name, value in said.items() if value is not None}


def _checked(id: object) -> str:
    if not isinstance(id, str):
        raise TypeError(f"a key is named by its id, and not by {repr(id)[:60]}")
    if id != SELF and not is_key_id(id):
        if parse_key(id) is not None:
            raise InvalidRequest(
                "a key is named by its id, the 16 characters behind ambry_: keep the rest of it to yourself"
            )
        raise InvalidRequest(
            f"{id[:40]!r} is no id of a key: one has 16 letters and digits (a-z, 2-7); `ambry key ls` (client.keys.list) shows "
            "those of all names"
        )
    return id
