"""Accounts and containers: the JSON there and back. The names of its fields and their rules are those of ambry.rest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from ambry.client.accounts import AccountInfo, ContainerInfo
from ambry.client.wire.json_answer import UNREADABLE
from ambry.client.wire.json_request import json_request
from ambry.client.wire.message import ApiRequest, Headers, moment, violation
from ambry.errors import InvalidRequest
from ambry.rest import names
from ambry.rest.accounts import AccountSettings, ContainerSettings, account_changes, container_changes, name_of

ACCOUNTS = "/accounts"
CONTAINERS = "/accounts/containers"
_object = msgspec.json.Decoder(dict[str, Any]).decode


T = TypeVar("T")


def accounts_request(account: str | None = None, *, containers: bool = True) -> ApiRequest:
    """All accounts, or one."""
    headers = {} if account is None else {names.ACCOUNT_NAME: name_of("account", account)}
    if not containers:
        headers[names.IGNORE_CONTAINERS] = "true"
    return ApiRequest("GET", ACCOUNTS, headers, "accounts" if account is None else f"account {account}")


def containers_request(account: str, container: str) -> ApiRequest:
    headers = {names.ACCOUNT_NAME: name_of("account", account), names.CONTAINER_NAME: name_of("container", container)}
    return ApiRequest("GET", CONTAINERS, headers, f"container {account}/{container}")


def save_account(identity: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[ApiRequest, bytes]:
    """Make or change an account. Raises InvalidRequest."""
    given = _camel(AccountSettings, settings)
    account_changes(given)
    return json_request("POST", ACCOUNTS, {"accounts": [{**identity, **given}]}, "the account")


def save_container(account: str, identity: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[ApiRequest, bytes]:
    """Make or change a container of an account. Raises InvalidRequest."""
    given = _camel(ContainerSettings, settings)
    container_changes(given)
    headers = {names.ACCOUNT_NAME: name_of("account", account)}
    subject = f"the container of account {account}"
    return json_request("POST", CONTAINERS, {"containers": [{**identity, **given}]}, subject, headers)


def is_made(found: AccountInfo | ContainerInfo, settings: Mapping[str, Any]) -> bool:
    """Whether it is what was asked to be made."""
    shape = type(found.settings)
    return msgspec.convert(_camel(shape, settings), shape) == found.settings


def is_changed(found: AccountInfo | ContainerInfo, settings: Mapping[str, Any], snapshot_version: int | None) -> bool:
    """Whether it is what a change of `snapshot_version` made of it."""
    told = msgspec.to_builtins(found.settings)
    asked = _camel(type(found.settings), settings)
    return found.snapshot_version - 1 == snapshot_version and all(told[name] == asked[name] for name in asked)


def _camel(shape: type[msgspec.Struct], settings: Mapping[str, Any]) -> dict[str, Any]:
    known = dict(zip(shape.__struct_fields__, shape.__struct_encode_fields__, strict=True))
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise InvalidRequest(f"there is no setting {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return {known[name]: value for name, value in settings.items()}


def parse_accounts(headers: Headers, body: bytes) -> list[AccountInfo]:
    """The accounts that an answer tells. Raises ProtocolViolation."""
    try:
        return [_account(each) for each in _object(body)["accounts"]]
    except UNREADABLE as cause:
        raise violation(headers, f"the answer tells no accounts ({type(cause).__name__}: {cause})") from cause


def parse_containers(headers: Headers, body: bytes) -> list[ContainerInfo]:
    """The containers that an answer tells. Raises ProtocolViolation."""
    try:
        return [_container(each) for each in _object(body)["containers"]]
    except UNREADABLE as cause:
        raise violation(headers, f"the answer tells no containers ({type(cause).__name__}: {cause})") from cause


def parse_account(headers: Headers, body: bytes) -> AccountInfo:
    """The one account that was asked for. Raises ProtocolViolation."""
    return _only(headers, parse_accounts(headers, body))


def parse_container(headers: Headers, body: bytes) -> ContainerInfo:
    """The one container that was asked for. Raises ProtocolViolation."""
    return _only(headers, parse_containers(headers, body))


def _only(headers: Headers, found: list[T]) -> T:
    if len(found) != 1:
        raise violation(headers, f"one was asked for, and the answer tells {len(found)}")
    return found[0]


def _account(told: Mapping[str, Any]) -> AccountInfo:
    return AccountInfo(
        name=str(told["accountName"]),
        id=int(told["accountId"]),
        settings=msgspec.convert(told, AccountSettings),
        containers=tuple(_container(each) for each in told["containers"]),
        snapshot_version=int(told["snapshotVersion"]),
        modified=_time(told["lastModifiedTime"]),
    )


def _container(told: Mapping[str, Any]) -> ContainerInfo:
    return ContainerInfo(
        name=str(told["containerName"]),
        id=int(told["containerId"]),
        account_id=int(told["parentAccountId"]),
        settings=msgspec.convert(told, ContainerSettings),
        snapshot_version=int(told["snapshotVersion"]),
        modified=_time(told["lastModifiedTime"]),
    )


def _time(ms: int) -> datetime | None:
    return moment(ms) if ms else None
