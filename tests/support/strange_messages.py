"""Messages on the topics of a job of actions, and whether the job takes them; for both twins."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any

from ambry.ids import BlobId, IdKind, uuid7
from ambry.streams.told import part_of
from ambry.streams.windows import TIMES_MAX, Days, folded

FOLDER = "actions/"
MEMBER_MAX = (1 << 63) - 1
_MADE_MS = int(datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp() * 1000)


def _blob(number: int) -> str:
    uuid = uuid7(_MADE_MS, random.Random(number))
    return str(BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=7, uuid=uuid))


BLOB = _blob(1)
NO_MESSAGES = [
    *("", " ", "no JSON", "{", "[]", "7", "null", '""', "true", '{"a":1}', "{}", "[{}]", '{"type":"name.put"} {}'),
    *('{"type":null}', '{"type":7}', '{"type":["name.put"]}', '{"type":NaN}', '{"type":{"a":1}}'),
]
"""On either topic."""


def change(**said: object) -> str:
    """The put of a file, but for what is said; what is None lacks."""
    told = {"type": "name.put", "name": f"{FOLDER}1", "id": BLOB, "size": 3} | said
    return json.dumps({name: value for name, value in told.items() if value is not None})


def part(**said: object) -> str:
    """What a file adds to a member, but for what is said."""
    return json.dumps({"member": 17, "file": BLOB, "days": {"2026-11-27": {"Click": 3}}} | said)


CHANGES = [
    *(change(), change(id=BLOB, more=[1]), change(name="others/1"), change(name="others/1", id=None)),
    *(change(type="name.delete", id=None), change(type="blob.put", name=None), change(type="one day", name=7)),
]
NO_CHANGES = [
    *NO_MESSAGES,
    *(change(name=None), change(name=7), change(name=["actions/1"]), change(name={"actions/": 1})),
    *(change(id=None), change(id=7), change(id=""), change(id="models/one"), change(id=BLOB[:-1]), change(id=[BLOB])),
    *(change().replace(f'"{BLOB}"', "null"), change().replace(f'"{FOLDER}1"', "null"), change(id="ä" * 48)),
]
PARTS = [
    *(part(), part(member=-5), part(member=MEMBER_MAX), part(member=-MEMBER_MAX - 1), part(days={})),
    *(part(days={"2024-02-29": {"": 1, "\U0001f600" * 100: TIMES_MAX}}), part(more=7)),
]
_NO_MEMBERS: list[object] = [None, True, "17", 17.0, 17.5, [17], MEMBER_MAX + 1, -MEMBER_MAX - 2, 10**30]
_NO_FILES: list[object] = [None, 7, "", "another", [BLOB], BLOB + "=", BLOB[:-1]]
_NO_COUNTS: list[object] = [0, -1, 1.0, True, "1", {}, TIMES_MAX + 1, MEMBER_MAX + 1, 10**30]
_NO_ACTIONS: list[object] = [None, 7, [], {}, "Click", {"Click": None}, {"Click": [1]}]
_NO_DAYS: list[object] = [None, 7, "2026-11-27", [], [["2026-11-27", {}]]]
NO_PARTS = [
    *NO_MESSAGES,
    *(part(member=each) for each in _NO_MEMBERS),
    *(part(file=each) for each in _NO_FILES),
    *(part(days=each) for each in _NO_DAYS),
    *(part(days={each: {"Click": 1}}) for each in ("", "2026-11-31", "20261127", "2026-W48-5", "+2026-11-27")),
    *(part(days={each: {"Click": 1}}) for each in ("0000-01-01", "2026-11-27T00", "12026-11-27", "٢٠٢٦-11-27")),
    *(part(days={"2026-11-27": each}) for each in _NO_ACTIONS),
    *(part(days={"2026-11-27": {"Click": each}}) for each in _NO_COUNTS),
    *(part(days={"2026-11-27": {"x" * 101: 1}}), part(days={"2026-11-27": {"\ud800": 1}})),
    *(
        json.dumps({"member": 17, "days": {}}),
        json.dumps({"file": BLOB, "days": {}}),
        json.dumps({"member": 17, "file": BLOB}),
    ),
]

_SUMS: list[list[object]] = [
    [{day: {"Click": 1}}, {"0001-01-01": {"Click": 2}, day: {"View": 1}}]
    for day in ("0001-01-01", "0001-01-02", "0002-02-04", "0002-02-05", "0002-02-06", "9999-12-31")
]
_SUMS += [
    [
        {"2026-11-27": {"Click": TIMES_MAX}},
        {"2026-11-27": {"Click": TIMES_MAX, "View": 1}},
        {"2026-11-26": {"View": 1}},
    ],
    [{"2026-11-27": {"Click": TIMES_MAX - 1}}, {"2026-11-27": {"Click": 1}}, {"2026-11-27": {"Click": 1}}],
    [{}, {"2026-11-27": {"Click": 1}}, {}],
]
SUMS = [
    part(member=member, file=_blob(file), days=days)
    for member, files in enumerate(_SUMS)
    for file, days in enumerate(files, 2)
]
"""Parts of members whose days or counts come to where there are no more."""


class _Kept(dict[str, Any]):
    """Of one member."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


def days_after(parts: list[str]) -> list[tuple[int, Days]]:
    """The member of each part, and its days then, as the job of Python has them."""
    kept: dict[int, _Kept] = {}
    told = (part_of(json.loads(text)) for text in parts)
    return [(member, folded(kept.setdefault(member, _Kept()), file, days)) for member, file, days in told]
