"""Actions by day and window: each file once, whatever comes again and in which order."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from ambry.ids import BlobId, IdKind, uuid7
from ambry.streams.windows import DAYS_MAX, MemberActions, added, over_files, parse_actions, windows

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def ms(when: datetime) -> int:
    return int(when.timestamp() * 1000)


def file_id(number: int, made: datetime = NOON) -> str:
    """A blob that was put then."""
    uuid = uuid7(ms(made), random.Random(number))
    return str(BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=7, uuid=uuid))


def lines(*actions: tuple[int, str, datetime]) -> bytes:
    return b"".join(
        json.dumps({"member": member, "action": action, "at": ms(at)}).encode() + b"\n"
        for member, action, at in actions
    )


def test_actions_are_counted_by_member_day_and_action() -> None:
    data = lines((17, "Click", NOON), (17, "Click", NOON), (17, "Share", NOON - timedelta(days=1)), (5, "Click", NOON))
    parsed = parse_actions(file_id(1), data)
    assert parsed.members == {
        17: {"2026-11-27": {"Click": 2}, "2026-11-26": {"Share": 1}},
        5: {"2026-11-27": {"Click": 1}},
    }
    assert parsed.wrong == 0


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"member":"17","action":"Click","at":0}',
        b'{"member":true,"action":"Click","at":0}',
        b'{"member":17,"action":7,"at":0}',
        b'{"member":17,"action":"Click","at":0.5}',
        b'{"member":17,"action":"Click","at":-1}',
        b'{"member":17,"action":"Click"}',
        b'{"member":17,"action":"Click","at":1e400}',
        b'{"member":9223372036854775808,"action":"Click","at":0}',
        b'{"member":17,"action":"%s","at":0}' % (b"x" * 201),
        lines((17, "Click", NOON + timedelta(days=1, seconds=1))).strip(),
    ],
)
def test_lines_that_are_no_actions_are_counted_and_keep_none_of_the_others(line: bytes) -> None:
    parsed = parse_actions(file_id(1), line + b"\n\n" + lines((17, "Click", NOON)))
    assert parsed.members == {17: {"2026-11-27": {"Click": 1}}} and parsed.wrong == 1


def test_a_window_ends_with_its_day() -> None:
    days = {f"2026-11-{day:02}": {"Click": day} for day in range(1, 29)}
    found = windows(days, NOON, (1, 7, 30))
    assert found == {
        ("Click", 1): 27,
        ("Click", 7): sum(range(21, 28)),
        ("Click", 30): sum(range(1, 28)),
    }


def test_the_day_is_the_one_in_utc() -> None:
    there = datetime.fromisoformat("2026-11-28T01:00:00+02:00")
    assert windows({"2026-11-27": {"Click": 1}}, there, (1,)) == {("Click", 1): 1}


@pytest.mark.parametrize("seed", range(10))
def test_files_in_any_order_and_again_are_what_all_are_at_once(seed: int) -> None:
    chance = random.Random(seed)
    files = []
    for number in range(30):
        made = NOON - timedelta(days=chance.randrange(3 * DAYS_MAX))
        actions = [
            (chance.randrange(3), chance.choice(("Click", "Share")), made - timedelta(days=chance.randrange(DAYS_MAX)))
            for _ in range(chance.randrange(8))
        ]
        files.append((file_id(number, made), lines(*actions)))
    told = files + chance.choices(files, k=40)
    chance.shuffle(told)
    members: dict[int, MemberActions] = {}
    for file, data in told:
        for member, days in parse_actions(file, data).members.items():
            members[member] = added(members.get(member, MemberActions()), file, days)
    assert {member: found.days for member, found in members.items()} == over_files(files)


def test_what_is_far_older_than_the_newest_is_dropped() -> None:
    old = {"2020-01-01": {"Click": 1}}
    found = added(added(MemberActions(), "a", old), "b", {"2026-11-27": {"Click": 1}})
    assert found == MemberActions({"2026-11-27": {"Click": 1}}, {"b": "2026-11-27"})
    assert added(found, "a", old) == found
