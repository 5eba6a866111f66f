"""Actions of members, counted by day and action, and over windows of days. Pure: neither Kafka nor the store is asked.

    {"member": 17, "action": "Click", "at": 1764244800000}      a line of a file; `at` in milliseconds since 1970, UTC

A file never changes, so what it adds to a member is always the same, and a member that remembers which files were added takes
each once, however often and in which order it is told of it. An action that was made a day after its file is none: one wrong
clock would make all the others old.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ambry.errors import MALFORMED
from ambry.ids import BlobId

DAYS_MAX = 400
"""No window is longer; days that are older than the newest one of a member by more are dropped."""
ACTION_LENGTH_MAX = 200
"""Characters."""

_DAY_MS = 86_400_000

Days = dict[str, dict[str, int]]
"""By day (2026-11-27, in UTC) and action, how often."""


@dataclass(frozen=True, slots=True)
class ParsedActions:
    """What a file adds to each member, and how many of its lines are no actions."""

    members: dict[int, Days]
    wrong: int


@dataclass(slots=True)
class MemberActions:
    """What is remembered of a member: the sum, and by file that is in it, its newest day."""

    days: Days = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def parse_actions(file: str, data: bytes) -> ParsedActions:
    """The actions in a file, which is named by its blob's id; lines that are none are counted and left out, since nobody can
    mend a blob. Raises InvalidBlobId.
    """
    # A blob id holds a UUIDv7, which begins with the time (RFC 9562).
    latest_ms = int.from_bytes(BlobId.parse(file).raw[16:22], "big") + _DAY_MS
    members: dict[int, Days] = {}
    wrong = 0
    for line in data.splitlines():
        found = _action_in(line, latest_ms)
        if found is None:
            wrong += bool(line.strip())
            continue
        member, action, day = found
        actions = members.setdefault(member, {}).setdefault(day, {})
        actions[action] = actions.get(action, 0) + 1
    return ParsedActions(members, wrong)


def _action_in(line: bytes, latest_ms: int) -> tuple[int, str, str] | None:
    try:
        said: Any = json.loads(line)
        member, action, at = said["member"], said["action"], said["at"]
        day = datetime.fromtimestamp(at / 1000, UTC).date().isoformat()
    except (*MALFORMED, OSError):
        return None
    sound = type(member) is int and -(1 << 63) <= member < 1 << 63 and type(at) is int and 0 <= at <= latest_ms
    return (member, action, day) if sound and isinstance(action, str) and len(action) <= ACTION_LENGTH_MAX else None


def added(before: MemberActions, file: str, days: Days) -> MemberActions:
    """With what a file adds, once."""
    if file in before.files or not days:
        return before
    sums = {day: dict(actions) for day, actions in before.days.items()}
    for day, actions in days.items():
        sum_of_day = sums.setdefault(day, {})
        for action, times in actions.items():
            sum_of_day[action] = sum_of_day.get(action, 0) + times
    files = {**before.files, file: max(days)}
    oldest = (date.fromisoformat(max(sums)) - timedelta(days=DAYS_MAX)).isoformat()
    return MemberActions(
        {day: actions for day, actions in sums.items() if day > oldest},
        {each: newest for each, newest in files.items() if newest > oldest},
    )


def windows(
    days: Mapping[str, Mapping[str, int]], as_of: datetime, lengths: Iterable[int]
) -> dict[tuple[str, int], int]:
    """By action and length in days, how often within so many days up to that of `as_of`, which counts as one. No zeros."""
    today = as_of.astimezone(UTC).date()
    found: dict[tuple[str, int], int] = {}
    for length in lengths:
        first, last = (today - timedelta(days=length - 1)).isoformat(), today.isoformat()
        for day, actions in days.items():
            if first <= day <= last:
                for action, times in actions.items():
                    found[action, length] = found.get((action, length), 0) + times
    return found


def over_files(files: Iterable[tuple[str, bytes]]) -> dict[int, Days]:
    """The same for all members at once, of (id, content): what a job that is never interrupted ends with."""
    members: dict[int, MemberActions] = {}
    for file, data in files:
        for member, days in parse_actions(file, data).members.items():
            members[member] = added(members.get(member, MemberActions()), file, days)
    return {member: found.days for member, found in members.items()}
