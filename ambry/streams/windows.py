"""Actions of members, counted by day and action, and over windows of days. Pure: neither Kafka nor the store is asked.

    {"member": 17, "action": "Click", "at": 1764244800000}      a line of a file; `at` in milliseconds since 1970, UTC

A file never changes, so what it adds to a member is always the same, and a member that remembers which files were added takes
each once, however often and in which order it is told of it. An action that was made a day after its file is none: one wrong
clock would make all the others old.

What is kept of a member is a record with its days and a small one for each file, so no record grows with the number of files:

    days                {"2026-11-27": {"Click": 5}}
    file <blob id>      true
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NoReturn, Protocol, TypeGuard

from ambry.errors import MALFORMED
from ambry.ids import BlobId

DAYS_MAX = 400
"""No window is longer; days that are older than the newest one of a member by more are dropped."""
ACTION_LENGTH_MAX = 100
"""Characters."""
ACTIONS_OF_A_DAY_MAX = 64
"""Of a member; of more, those that come first by name: the same ones in whichever order files come."""
DAY_SIZE_MAX = 1_780
"""Bytes of the actions of a member's day as JSON, but for the last one by name; what comes behind them is left out as well. So
DAYS_MAX days are less than a million bytes, the longest message that Kafka's clients send where nobody says otherwise."""

TIMES_MAX = 9_999_999_999
"""Of an action of a member's day, so a count has ten digits at most; no file has so many lines, and a sum goes no further."""

_DAY_MS = 86_400_000
_BESIDE_NAME = 14
"""Bytes of an action in JSON beside its name: quotes, colon, comma and a count of ten digits."""
_CONTROL = re.compile(r"[\x00-\x1f]")
_QUOTED = re.compile(r'["\\]')
_LONGEST = 6
"""Bytes of a character in JSON."""

Days = dict[str, dict[str, int]]
"""By day (2026-11-27, in UTC) and action, how often."""


@dataclass(frozen=True, slots=True)
class ParsedActions:
    """What a file adds to each member, and how many of its lines are no actions."""

    members: dict[int, Days]
    wrong: int


class KeptOfMember(Protocol):
    """What a job keeps of one member, by key; of a State of Quix Streams what is used."""

    def get(self, key: str, default: Any = None) -> Any:
        """What was set last."""

    def set(self, key: str, value: Any) -> None:
        """As JSON has it. All that is set for a message is kept, or nothing."""


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
    return ParsedActions({member: _bounded(days) for member, days in members.items()}, wrong)


def _action_in(line: bytes, latest_ms: int) -> tuple[int, str, str] | None:
    try:
        said: Any = json.loads(line.decode("utf-8-sig"), parse_constant=_refused, parse_int=_whole)
        member, action, at = said["member"], said["action"], said["at"]
        action.encode()
        day = datetime.fromtimestamp(at / 1000, UTC).date().isoformat()
    except (*MALFORMED, OSError):
        return None
    sound = type(member) is int and -(1 << 63) <= member < 1 << 63 and type(at) is int and 0 <= at <= latest_ms
    return (member, action, day) if sound and isinstance(action, str) and len(action) <= ACTION_LENGTH_MAX else None


def _refused(number: str) -> NoReturn:
    raise ValueError(f"JSON has no {number}")


def _whole(number: str) -> int | float:
    # Python refuses very long ones, Java none. No member and no time has more digits than these.
    return int(number) if len(number) <= 20 else float(number)


def is_days(said: Any) -> TypeGuard[Days]:
    """Whether it is Days, as a file adds them to a member: days that there are, each with actions that may be, and counts."""
    return isinstance(said, dict) and all(
        _is_day(day)
        and isinstance(actions, dict)
        and len(actions) > 0
        and all(map(_is_counted, actions, actions.values()))
        for day, actions in said.items()
    )


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _is_counted(action: str, times: Any) -> bool:
    try:
        action.encode()
    except UnicodeEncodeError:
        return False
    return len(action) <= ACTION_LENGTH_MAX and type(times) is int and 0 < times <= TIMES_MAX


def added(before: Mapping[str, Mapping[str, int]], days: Mapping[str, Mapping[str, int]]) -> Days:
    """With what a file adds."""
    sums = {day: dict(actions) for day, actions in before.items()}
    for day, actions in days.items():
        sum_of_day = sums.setdefault(day, {})
        for action, times in actions.items():
            sum_of_day[action] = min(sum_of_day.get(action, 0) + times, TIMES_MAX)
    return _bounded(sums)


def folded(kept: KeptOfMember, file: str, days: Mapping[str, Mapping[str, int]]) -> Days:
    """Add what a file adds, once, and return the days of the member."""
    before: Days = kept.get("days", {})
    if not days or kept.get(f"file {file}"):
        return before
    after = added(before, days)
    kept.set(f"file {file}", True)
    kept.set("days", after)
    return after


def _bounded(days: Days) -> Days:
    first = _first_of(date.fromisoformat(max(days)), DAYS_MAX)
    return {day: _first_by_name(actions) for day, actions in days.items() if day >= first}


def _first_of(last: date, length: int) -> str:
    """Of so many days, of those that there are: none is before the year 1."""
    return date.fromordinal(max(last.toordinal() - length + 1, 1)).isoformat()


def _first_by_name(actions: dict[str, int]) -> dict[str, int]:
    """Of a day. One that is left out has others before it that fill the day, and they stay: the last one too, though it may be
    too long for what room there was, since without it another one behind it might be taken later.
    """
    longest = _LONGEST * sum(map(len, actions)) + _BESIDE_NAME * len(actions)
    if len(actions) <= ACTIONS_OF_A_DAY_MAX and longest <= DAY_SIZE_MAX:
        return actions
    kept: dict[str, int] = {}
    room = DAY_SIZE_MAX
    for action in sorted(actions)[:ACTIONS_OF_A_DAY_MAX]:
        if room < 0:
            break
        kept[action] = actions[action]
        escapes = (_LONGEST - 1) * len(_CONTROL.findall(action)) + len(_QUOTED.findall(action))
        room -= len(action.encode()) + escapes + _BESIDE_NAME
    return kept


def windows(
    days: Mapping[str, Mapping[str, int]], as_of: datetime, lengths: Iterable[int]
) -> dict[tuple[str, int], int]:
    """By action and length in days, how often within so many days up to that of `as_of`, which counts as one. No zeros."""
    today = as_of.astimezone(UTC).date()
    found: dict[tuple[str, int], int] = {}
    for length in lengths:
        first, last = _first_of(today, length), today.isoformat()
        for day, actions in days.items():
            if first <= day <= last:
                for action, times in actions.items():
                    found[action, length] = found.get((action, length), 0) + times
    return found


def over_files(files: Iterable[tuple[str, bytes]]) -> dict[int, Days]:
    """The same for all members at once, of (id, content): what a job that is never interrupted ends with."""
    members: dict[int, Days] = {}
    seen: set[str] = set()
    for file, data in files:
        if file in seen:
            continue
        seen.add(file)
        for member, days in parse_actions(file, data).members.items():
            members[member] = added(members.get(member, {}), days)
    return members
