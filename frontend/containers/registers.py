"""Accounts and containers as registers of the metadata store: one for each field, so that changes merge field by field.

    space      scope           key                              value, JSON
    ACCOUNT    0               id, field                        of the field
    ACCOUNT    0               id, "snapshotVersion/", number   how often this datacenter changed the account
    ACCOUNT    0               id, "containers/", number        anything: its stamp tells that a container changed
    ACCOUNT    1               number                           anything: its stamp tells that something changed
    ACCOUNT_NAME    0          name                             id
    CONTAINER       id << 32   id, field                        of the field
    CONTAINER       id << 32   id, "snapshotVersion/", number   how often this datacenter changed the container
    CONTAINER       id << 32   id, "retentionLock/", until      true
    CONTAINER_NAME  id << 32   name                             id

An id has 4 bytes, big-endian; a number is a datacenter's, in decimal; a scope's id is the account's. Nothing is ever buried but
locks that are over. A snapshot version is the sum of what all datacenters counted, so it grows with every change, also with one
that comes from elsewhere; a retention lock is the latest of all, so no datacenter that is cut off makes another's shorter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from ambry.checksum import xxh64
from ambry.errors import DataCorrupt
from ambry.rest.accounts import AccountSettings, AccountStatus, ContainerSettings
from ambry.service.logs import get_logger
from frontend.config import CONTAINER_ID_MAX
from frontend.metadata.spaces import Space
from frontend.metadata.store import Expect, Put, Require, Stamp, Version
from frontend.metadata.unreadable import passing_over

log = get_logger()

ACCOUNTS = 0
CHANGES = 1
"""Scopes of the space of accounts."""
ID_SIZE = 4
NAME = "name"
LOCK = "retentionLockUntil"
_VERSION = "snapshotVersion/"
_CONTAINERS = "containers/"
_LOCKS = "retentionLock/"

_number = msgspec.json.Decoder(int).decode
_text = msgspec.json.Decoder(str).decode
_any = msgspec.json.Decoder(Any).decode

Settings = TypeVar("Settings", AccountSettings, ContainerSettings)


class Kept(msgspec.Struct, kw_only=True):
    """What the registers of one account or container say together."""

    fields: dict[str, Any] = {}
    name: str = ""
    snapshot_version: int = 0
    modified_ms: int = 0
    own_count: int = 0
    own_stamp: Stamp | None = None
    """Of the count of our own datacenter: what a change is bound to."""
    locks: tuple[int, ...] = ()
    """All dates until which it was ever locked and that were not cleared away."""
    unreadable: bool = False
    """Whether something that is said of it cannot be read: then nothing may be made of the rest."""
    told: Stamp | None = None
    """When our own datacenter last told of a change of the account, or of a container of it."""
    seen: int = 0
    """Differs, but by a chance of 2 ** -64, from what it was before any register changed."""


def by_id(versions: Iterable[Version], *, datacenter: int) -> dict[int, Kept]:
    """The registers of a range, put together by id. `datacenter` is our own number."""
    found: dict[int, Kept] = {}
    for version in versions:
        if version.value is None:
            continue
        kept = found.setdefault(int.from_bytes(version.key[:ID_SIZE], "big"), Kept())
        kept.modified_ms = max(kept.modified_ms, version.stamp.wall_ms)
        kept.seen = xxh64(b"%d %d %d %b" % (kept.seen, version.stamp.time, version.stamp.datacenter, version.key))
        unreadable, kept.unreadable = kept.unreadable, True
        with passing_over("account", version.key):
            _take(kept, version.key, version.value, version.stamp, datacenter)
            kept.unreadable = unreadable
    for kept in found.values():
        if kept.locks:
            kept.fields[LOCK] = max(kept.locks)
    return found


def _take(kept: Kept, key: bytes, value: bytes, stamp: Stamp, datacenter: int) -> None:
    """Put one register with the others. Raises DataCorrupt."""
    try:
        field = key[ID_SIZE:].decode()
        if field.startswith(_VERSION):
            count = _number(value)
            kept.snapshot_version += count
            if field == _VERSION + str(datacenter):
                kept.own_count, kept.own_stamp = count, stamp
        elif field.startswith(_LOCKS):
            kept.locks += (int(field.removeprefix(_LOCKS), 16),)
        elif field == NAME:
            kept.name = _text(value)
        elif field == _CONTAINERS + str(datacenter):
            kept.told = stamp
        elif not field.startswith(_CONTAINERS):
            kept.fields[field] = _any(value)
    except ValueError as cause:
        raise DataCorrupt(f"a field of an account or a container cannot be read: {cause}") from cause


def settings_of(kept: Kept, shape: type[Settings]) -> Settings:
    """The settings that fields say. Where they say what this release does not know, or cannot read, it is switched off."""
    if kept.unreadable:
        return shape(status=AccountStatus.INACTIVE)
    try:
        return msgspec.convert(kept.fields, shape)
    except msgspec.ValidationError as error:
        log.error(
            "settings of a later release are not understood; it is taken for inactive", of=kept.name, error=str(error)
        )
        return shape(status=AccountStatus.INACTIVE)


def account_scope(account: int) -> int:
    """Where the containers of an account stand."""
    return account << 32


def account_puts(id: int, name: str | None, changes: Mapping[str, Any], known: Kept, datacenter: int) -> Iterator[Put]:
    """What changes an account, bound to what was `known` of it; with a `name` it is a new one."""
    yield from _puts(Space.ACCOUNT, Space.ACCOUNT_NAME, ACCOUNTS, id, name, changes, known, datacenter)


def container_puts(
    account: int, id: int, name: str | None, changes: Mapping[str, Any], known: Kept, datacenter: int, now_ms: int
) -> Iterator[Put]:
    """What changes a container of an account, bound to what was `known` of it; with a `name` it is a new one."""
    scope = account_scope(account)
    changes = dict(changes)
    until = changes.pop(LOCK, None)
    yield from _puts(Space.CONTAINER, Space.CONTAINER_NAME, scope, id, name, changes, known, datacenter)
    if until is not None:
        for each in known.locks:
            if each <= now_ms and each != until:
                yield Put(Space.CONTAINER, scope, _lock_key(id, each), None)
        if until and until not in known.locks:
            yield Put(Space.CONTAINER, scope, _lock_key(id, until), b"true")


def _puts(
    space: Space,
    names: Space,
    scope: int,
    id: int,
    name: str | None,
    changes: Mapping[str, Any],
    known: Kept,
    datacenter: int,
) -> Iterator[Put]:
    key = id.to_bytes(ID_SIZE, "big")
    absent = Expect.ABSENT
    if name is not None:
        yield Put(names, scope, name.encode(), msgspec.json.encode(id), absent)
        yield Put(space, scope, key + NAME.encode(), msgspec.json.encode(name), absent)
    counted = (_VERSION + str(datacenter)).encode()
    yield Put(space, scope, key + counted, msgspec.json.encode(known.own_count + 1), known.own_stamp or absent)
    for field, value in changes.items():
        yield Put(space, scope, key + field.encode(), msgspec.json.encode(value))


def told_puts(accounts: Iterable[int], datacenter: int) -> Iterator[Put]:
    """What tells everybody that something changed, in containers of these accounts too."""
    for account in accounts:
        yield Put(Space.ACCOUNT, ACCOUNTS, _told_key(account, datacenter), b"true")
    yield Put(Space.ACCOUNT, CHANGES, str(datacenter).encode(), b"true")


def untold(account: int, told: Stamp | None, datacenter: int) -> Require:
    """Binds a group to what this datacenter last told of an account: nothing of it, or of its containers, changed since."""
    return Require(Space.ACCOUNT, ACCOUNTS, _told_key(account, datacenter), Expect.ABSENT if told is None else told)


def _told_key(account: int, datacenter: int) -> bytes:
    return account.to_bytes(ID_SIZE, "big") + (_CONTAINERS + str(datacenter)).encode()


def _lock_key(id: int, until: int) -> bytes:
    return id.to_bytes(ID_SIZE, "big") + f"{_LOCKS}{until:014x}".encode()


def new_id(name: str, taken: Iterable[int]) -> int:
    """The id of a new account or container: the first free of its name's hashes.

    So the same name gets the same id in datacenters that are cut off from each other, and the two are one afterwards.
    """
    used = frozenset(taken)
    number = 0
    while True:
        id = xxh64(b"%b\0%d" % (name.encode(), number)) & 0xFFFF_FFFF
        if id > CONTAINER_ID_MAX and id not in used:
            return id
        number += 1
