"""What a transaction of the metadata store changes: decided here, carried out by the engines. Pure.

A transaction takes many groups, one after the other, each whole or not at all. The engine loads what stands under the keys
that they name, hands it in, asks for each group, and writes the rows that came of it.

Invariants: a register's newest version lies in `register` if it lives, and in `past` if it is a tombstone; every other version
lies in `past`. A key is in `register` or its newest is a tombstone. Versions keep their seq when they move.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from frontend.metadata.spaces import FORGETTING
from frontend.metadata.store import (
    Change,
    Conflict,
    Expect,
    LocalDelete,
    LocalPut,
    LocalRow,
    LogHead,
    Put,
    Require,
    Stamp,
    Version,
    order,
    rank,
)

_OF_REGISTERS = (Put, Require)


class RegisterKey(NamedTuple):
    space: int
    scope: int
    key: bytes


class LocalKey(NamedTuple):
    space: int
    key: bytes


class VersionIdentity(NamedTuple):
    """A version by what tells it from all others, in whatever store."""

    space: int
    scope: int
    key: bytes
    time: int
    datacenter: int
    value: bytes | None


def known(version: Version) -> VersionIdentity:
    stamp = version.stamp
    return VersionIdentity(version.space, version.scope, version.key, stamp.time, stamp.datacenter, version.value)


def register_keys(group: Iterable[Change]) -> list[RegisterKey]:
    """What must be loaded before a group."""
    return [
        RegisterKey(change.space, change.scope, change.key) for change in group if isinstance(change, _OF_REGISTERS)
    ]


def local_keys(group: Iterable[Change]) -> list[LocalKey]:
    """The same of local rows: a change that is bound to nothing needs none."""
    return [
        LocalKey(change.space, change.key)
        for change in group
        if isinstance(change, (LocalPut, LocalDelete)) and change.condition is not Expect.ANY
    ]


class Plan:
    """The changes of one transaction. `registers` and `locals` hold what stands under every key that must be loaded.

    `past_known` are the versions, of those to be merged, that lie in `past` already.
    """

    def __init__(
        self,
        head: LogHead,
        *,
        datacenter: int,
        wall_ms: int,
        registers: dict[RegisterKey, Version | None],
        locals: dict[LocalKey, LocalRow | None],
        past_known: Iterable[VersionIdentity] = (),
    ) -> None:
        self._datacenter = datacenter
        self._wall_ms = wall_ms
        self._store = head.store
        self._seq = head.seq
        self._time = head.time
        self._registers = registers
        self._locals = locals
        self._known = set(past_known)
        self._living_before = {key for key, version in registers.items() if version is not None and version.living}
        self._moved: dict[int, Version] = {}
        self._dirty: dict[RegisterKey, None] = {}
        self._local_dirty: dict[LocalKey, None] = {}
        self.erased = False
        """Whether a value goes that nobody may find any more, wherever it lay."""

    # --- groups ---

    def write(self, group: Sequence[Change]) -> list[Version]:
        """Plan a whole group; its new versions. Raises Conflict, and then plans nothing of it."""
        for change in group:
            if change.condition is not Expect.ANY:
                self._require(change)
            if isinstance(change, Put) and change.space in FORGETTING:
                self._require_rank(change)
        made = []
        for change in group:
            if isinstance(change, Put):
                made.append(self._put(change))
            elif not isinstance(change, Require):
                self._change_local(change)
        return made

    def merge(self, versions: Sequence[Version], along: Sequence[LocalPut] = ()) -> int:
        """Plan the recording of other stores' versions; how many are new."""
        new = 0
        for version in versions:
            place = RegisterKey(version.space, version.scope, version.key)
            newest = self._registers[place]
            if newest is not None:
                # Where nothing is, nothing is known of it.
                identity = known(version)
                if identity in self._known or known(newest) == identity:
                    continue
                if version.space in FORGETTING and order(version) <= order(newest):
                    continue
            new += 1
            self._seq += 1
            recorded = Version(version.space, version.scope, version.key, version.stamp, version.value, self._seq)
            self._time = max(self._time, version.stamp.time)
            if newest is None or order(recorded) > order(newest):
                self._supersede(place, newest, recorded)
            else:
                self._move(recorded)
        for change in along:
            self._change_local(change)
        return new

    def _require(self, change: Change) -> None:
        condition = change.condition
        if isinstance(change, Put | Require):
            newest = self._registers[RegisterKey(change.space, change.scope, change.key)]
            if isinstance(condition, Stamp):
                holds = newest is not None and newest.stamp == condition
            else:
                living = newest is not None and newest.living
                holds = living is (condition is Expect.PRESENT)
            if not holds:
                raise Conflict(change, newest)
            return
        row = self._row(LocalKey(change.space, change.key))
        if isinstance(condition, bytes):
            holds = row is not None and row.value == condition
        else:
            holds = (row is not None) is (condition is Expect.PRESENT)
        if not holds:
            raise Conflict(change, row)

    def _require_rank(self, change: Put) -> None:
        """What is over for ever in a space that forgets is not brought back."""
        newest = self._registers[RegisterKey(change.space, change.scope, change.key)]
        if newest is not None and rank(change.space, change.value) < rank(newest.space, newest.value):
            raise Conflict(change, newest)

    def _row(self, place: LocalKey) -> LocalRow | None:
        row = self._locals[place]
        return None if row is None or ended(row, self._wall_ms) else row

    def _put(self, change: Put) -> Version:
        place = RegisterKey(change.space, change.scope, change.key)
        # Later than everything that was ever seen here, whatever the clock says.
        self._time = max(self._time + 1, self._wall_ms << 16)
        self._seq += 1
        stamp = Stamp(self._time, self._datacenter)
        version = Version(int(change.space), change.scope, change.key, stamp, change.value, self._seq)
        self._supersede(place, self._registers[place], version)
        return version

    def _supersede(self, place: RegisterKey, newest: Version | None, version: Version) -> None:
        if newest is not None and newest.living:
            if newest.space in FORGETTING and newest.value:
                # It keeps its place in the log, which others have read to.
                newest = msgspec.structs.replace(newest, value=b"")
                self.erased = True
            self._move(newest)
        if not version.living:
            self._move(version)
        self._registers[place] = version
        self._dirty[place] = None

    def _move(self, version: Version) -> None:
        """It lies in `past` from now on."""
        self._moved[version.seq] = version
        self._known.add(known(version))

    def _change_local(self, change: LocalPut | LocalDelete) -> None:
        place = LocalKey(change.space, change.key)
        row = None
        if isinstance(change, LocalPut):
            row = LocalRow(int(change.space), change.key, change.value, change.expires_ms)
        self._locals[place] = row
        self._local_dirty[place] = None

    # --- rows ---

    @property
    def head(self) -> LogHead:
        """How far the store is after all of it."""
        return LogHead(self._store, self._seq, self._time)

    @property
    def empty(self) -> bool:
        return not (self._dirty or self._local_dirty or self._moved)

    def registers_put(self) -> list[Version]:
        """Rows of `register`, in place of those that are there."""
        found = [self._registers[place] for place in self._dirty]
        return [version for version in found if version is not None and version.living]

    def registers_gone(self) -> list[RegisterKey]:
        """Rows of `register` that go."""
        return [
            place
            for place in self._dirty
            if place in self._living_before and (version := self._registers[place]) is not None and not version.living
        ]

    def past(self) -> list[Version]:
        """New rows of `past`."""
        return list(self._moved.values())

    def locals_put(self) -> list[LocalRow]:
        return [row for place in self._local_dirty if (row := self._locals[place]) is not None]

    def locals_gone(self) -> list[LocalKey]:
        return [place for place in self._local_dirty if self._locals[place] is None]


def ended(row: LocalRow, wall_ms: int) -> bool:
    return row.expires_ms is not None and row.expires_ms <= wall_ms
