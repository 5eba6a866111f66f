"""Actions by day and window: each file once, whatever comes again and in which order."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ambry.ids import BlobId, IdKind, uuid7
from ambry.streams.windows import (
    ACTIONS_OF_A_DAY_MAX,
    DAYS_MAX,
    Days,
    added,
    folded,
    over_files,
    parse_actions,
    windows,
)

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


class KeptAsJson:
    """What is kept of a member, by key."""

    def __init__(self) -> None:
        self.records: dict[str, str] = {}
        self.written: Counter[str] = Counter()

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.records[key]) if key in self.records else default

    def set(self, key: str, value: Any) -> None:
        self.records[key] = json.dumps(value)
        self.written[key] += len(self.records[key])


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
        b'{"member":17,"action":"Click","at":0,"more":NaN}',
        b'{"member":17,"action":"Click","at":0,"more":[-Infinity]}',
        b'{"member":17,"action":"\\ud800","at":0}',
        b'{"member":17,"action":"Click","at":0,"more":"\xed\xa0\x80"}',
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
    kept: dict[int, KeptAsJson] = {}
    members: dict[int, Days] = {}
    for file, data in told:
        for member, days in parse_actions(file, data).members.items():
            members[member] = folded(kept.setdefault(member, KeptAsJson()), file, days)
    assert members == over_files(told) == over_files(files)


def test_what_is_far_older_than_the_newest_is_dropped() -> None:
    old, new = {"2020-01-01": {"Click": 1}}, {"2026-11-27": {"Click": 1}}
    assert added(old, new) == added(new, old) == new
    parsed = parse_actions(file_id(1), lines((17, "Click", NOON), (17, "Click", NOON - timedelta(days=DAYS_MAX))))
    assert parsed.members == {17: new}


def test_a_repeat_changes_nothing_of_what_is_kept() -> None:
    kept, days = KeptAsJson(), {"2026-11-27": {"Click": 2}}
    assert folded(kept, "one", days) == days
    once = dict(kept.records)
    assert folded(kept, "one", days) == days and kept.records == once


def test_the_records_of_a_member_do_not_grow_with_its_files() -> None:
    kept, files = KeptAsJson(), [file_id(number) for number in range(20_000)]
    days = {"2026-11-27": {"Click": 1, "Share": 2}, "2026-11-26": {"Click": 1}}
    for file in (*files, *files[::7]):
        folded(kept, file, days)
    assert kept.get("days") == {"2026-11-27": {"Click": 20_000, "Share": 40_000}, "2026-11-26": {"Click": 20_000}}
    assert max(len(record) for record in kept.records.values()) < 100
    assert sum(kept.written.values()) < 20_000 * 100, "a change writes what it changes"


def test_a_window_begins_with_the_first_day_that_there_is() -> None:
    days = {"0001-01-01": {"Click": 1}, "0001-01-03": {"Click": 1}}
    assert windows(days, datetime(1, 1, 2, tzinfo=UTC), (1, 2, 400)) == {("Click", 2): 1, ("Click", 400): 1}


@pytest.mark.parametrize("seed", range(5))
def test_a_day_of_more_actions_keeps_the_first_by_name_in_whichever_order_they_come(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"{number:03}" for number in range(3 * ACTIONS_OF_A_DAY_MAX)]
    files = [
        (file_id(number), lines(*((17, chance.choice(names), NOON) for _ in range(100)), (17, "only", NOON)))
        for number in range(20)
    ]
    found = over_files(files)
    assert found == over_files(chance.sample(files, k=len(files)))
    [actions] = found[17].values()
    said = Counter(json.loads(line)["action"] for _, data in files for line in data.splitlines())
    assert actions == {name: said[name] for name in sorted(said)[:ACTIONS_OF_A_DAY_MAX]}


@pytest.mark.parametrize("letter", ["x", "\u20ac", "\U0001f600", '"', "\x01"])
def test_the_days_of_a_member_are_a_message_that_kafka_takes(letter: str) -> None:
    """400 full days of the longest names are below librdkafka's 1,000,000 bytes, and names of 13 letters are all there."""
    chance = random.Random(1)
    names = [f"{number:02}" + letter * length for number in range(80) for length in (1, 18, 98)]
    kept = KeptAsJson()
    for number in range(12):
        chosen = chance.sample(names, k=60)
        newest = NOON.date()
        days = {
            (newest - timedelta(days=day)).isoformat(): dict.fromkeys(chosen, 9_999_999_999 // 12)
            for day in range(DAYS_MAX)
        }
        found = folded(kept, str(number), days)
    sent = json.dumps({"member": -(1 << 63), "days": found}, ensure_ascii=False, separators=(",", ":")).encode()
    assert len(found) == DAYS_MAX and 400_000 < len(sent) < 970_000
    plain = {f"{number:02}" + "x" * 11: 1 for number in range(ACTIONS_OF_A_DAY_MAX)}
    assert added({}, {"2026-11-27": plain}) == {"2026-11-27": plain}


@pytest.mark.parametrize("seed", range(5))
def test_a_day_that_is_full_keeps_the_first_by_name_in_whichever_order_they_come(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"{number:02}" + chance.choice(("x", "\u20ac", "\\")) * chance.randrange(99) for number in range(60)]
    files = [
        (file_id(number), lines(*((17, chance.choice(names), NOON) for _ in range(50)), (17, "only", NOON)))
        for number in range(20)
    ]
    found = over_files(files)
    assert found == over_files(chance.sample(files, k=len(files)))
    [actions] = found[17].values()
    said = Counter(json.loads(line)["action"] for _, data in files for line in data.splitlines())
    kept = sorted(said)[: len(actions)]
    assert actions == {name: said[name] for name in kept} and len(actions) < len(said)
