"""What a compaction keeps: every kind of record, at every place, of blobs in every state and age, as one table.

The columns, and what may stand in them (`*` is any of these):

    kind         put (a blob, a composite or a chunk), update
    the index    unknown, here (it points to this record), elsewhere (to another one), bare (it has the state alone)
    latest       yes, no: whether this record is the latest change of its blob
    checkpoint   covers, behind: whether the last checkpoint covers the latest change of the blob
    state        alive, deleted, expired
    age          young, bytes (its bytes are past retention), old (its tombstone is as well)
    peers        seen, unseen: whether every peer has seen the latest change
    repaired     no, yes: whether an older put record of the blob may still be in the log
"""

from __future__ import annotations

import itertools

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.format.record import RecordKind
from datanode.store.compaction.plan import Keep, kept, kept_of_lost
from datanode.store.entry import IndexEntry, Location
from datanode.store.retention import Retention
from tests.support.samples import blob_id

COLUMNS: dict[str, tuple[str, ...]] = {
    "kind": ("put", "update"),
    "index": ("unknown", "here", "elsewhere", "bare"),
    "latest": ("yes", "no"),
    "checkpoint": ("covers", "behind"),
    "state": ("alive", "deleted", "expired"),
    "age": ("young", "bytes", "old"),
    "peers": ("seen", "unseen"),
    "repaired": ("no", "yes"),
}

TABLE = """
kind    index           latest  checkpoint  state            age        peers   repaired  | kept

*       unknown         *       *           *                *          *       *         | NOTHING

# The latest change may be lost in a power cut: all that it makes needless is kept.
put     here            *       behind      *                *          *       *         | MOVE
put     elsewhere,bare  *       behind      *                *          *       *         | COPY
update  elsewhere,bare  *       behind      *                *          *       *         | COPY

# A put record that the index points to is the blob.
put     here            *       covers      alive            *          *       *         | MOVE
put     here            *       covers      deleted,expired  young      *       *         | MOVE
put     here            *       covers      expired          bytes,old  *       *         | DROP
put     here            no      covers      deleted          bytes,old  *       *         | DROP
# It came under a tombstone, and carries it.
put     here            yes     covers      deleted          bytes,old  *       *         | STATE
# One that it does not point to was repaired, or its bytes went before.
put     elsewhere,bare  *       covers      *                *          *       *         | NOTHING

# An update record matters while it is the latest change.
update  *               no      covers      *                *          *       *         | NOTHING
update  elsewhere       yes     covers      *                *          *       *         | COPY
update  bare            yes     covers      alive            *          *       *         | COPY
update  bare            yes     covers      deleted,expired  young      *       *         | COPY
# An expired blob without bytes is fetched by nobody any more.
update  bare            yes     covers      expired          bytes,old  *       *         | FORGET
# A tombstone goes when it is old, every peer has seen it, and nothing older can come back.
update  bare            yes     covers      deleted          bytes      *       *         | COPY
update  bare            yes     covers      deleted          old        unseen  *         | COPY
update  bare            yes     covers      deleted          old        seen    yes       | COPY
update  bare            yes     covers      deleted          old        seen    no        | FORGET
"""

HERE = Location(1, 80)
OTHER = Location(2, 800)
LSN = 1_000
"""Of the record in question."""
WRITTEN_MS = 1_700_000_000_000
DELETED_MS, TOMBSTONE_MS = 10, 30
AGES = {"young": DELETED_MS - 1, "bytes": TOMBSTONE_MS - 1, "old": TOMBSTONE_MS}
STATES = {
    "alive": BlobState(0, False, NEVER_MS),
    "deleted": BlobState(0, True, NEVER_MS),
    "expired": BlobState(0, False, WRITTEN_MS),
}


def rows() -> list[tuple[dict[str, tuple[str, ...]], Keep]]:
    found = []
    for line in TABLE.splitlines()[2:]:
        if line and not line.startswith("#"):
            conditions, _, outcome = line.partition("|")
            cells = zip(COLUMNS, conditions.split(), strict=True)
            wanted = {name: COLUMNS[name] if cell == "*" else tuple(cell.split(",")) for name, cell in cells}
            found.append((wanted, Keep[outcome.strip()]))
    return found


def cases() -> list[tuple[dict[str, str], Keep]]:
    """Every combination with what the table says of it; exactly one row must."""
    found = []
    for values in itertools.product(*COLUMNS.values()):
        case = dict(zip(COLUMNS, values, strict=True))
        if case["index"] == "unknown" and values[2:] != tuple(options[0] for options in list(COLUMNS.values())[2:]):
            continue  # there is no entry that could say more
        if case["kind"] == "update" and case["index"] == "here":
            continue  # the index points to puts alone
        fitting = [outcome for wanted, outcome in rows() if all(case[name] in wanted[name] for name in case)]
        assert len(fitting) == 1, f"{case} stands in {len(fitting)} rows"
        found.append((case, fitting[0]))
    return found


def entry_of(case: dict[str, str]) -> IndexEntry | None:
    if case["index"] == "unknown":
        return None
    place = {"here": HERE, "elsewhere": OTHER, "bare": Location(0, 0)}[case["index"]]
    return IndexEntry(
        id=blob_id(1),
        lsn=LSN if case["latest"] == "yes" else LSN + 500,
        segment=place.segment,
        offset=place.offset,
        size=500,
        payload_size=300,
        state=STATES[case["state"]],
        changed_at_ms=WRITTEN_MS,
        repaired=case["repaired"] == "yes",
    )


def retention_of(case: dict[str, str], lsn: int) -> Retention:
    return Retention(
        now_ms=WRITTEN_MS + AGES[case["age"]],
        deleted_ms=DELETED_MS,
        tombstone_ms=TOMBSTONE_MS,
        horizon_lsn=lsn + 1 if case["peers"] == "seen" else lsn,
    )


@pytest.mark.parametrize("kind", list(RecordKind), ids=lambda kind: kind.name.lower())
def test_what_is_kept_of_a_record(kind: RecordKind) -> None:
    counted = 0
    for case, outcome in cases():
        if (case["kind"] == "update") != (kind == RecordKind.UPDATE):
            continue
        entry = entry_of(case)
        lsn = LSN if entry is None else entry.lsn
        durable_lsn = lsn + 1 if case["checkpoint"] == "covers" else lsn
        told = kept(
            kind,
            LSN,
            HERE,
            entry,
            written_at_ms=WRITTEN_MS - 1,
            durable_lsn=durable_lsn,
            retention=retention_of(case, lsn),
        )
        assert told is outcome, case
        counted += 1
    assert counted == (2 if kind == RecordKind.UPDATE else 3) * 2 * 2 * 3 * 3 * 2 * 2 + 1


LOST = """
index           state            age        peers   repaired  | kept

*               alive            *          *       *         | STATE
*               deleted          young      *       *         | STATE
*               expired          young      *       *         | STATE
# Its bytes are dropped with the record, so that it will not be fetched.
here,elsewhere  expired          bytes,old  *       *         | NOTHING
bare            expired          bytes,old  *       *         | FORGET
here,elsewhere  deleted          bytes,old  *       *         | STATE
bare            deleted          bytes      *       *         | STATE
bare            deleted          old        unseen  *         | STATE
bare            deleted          old        seen    yes       | STATE
bare            deleted          old        seen    no        | FORGET
"""


def test_what_is_kept_of_a_change_whose_record_is_damaged() -> None:
    names = ("index", "state", "age", "peers", "repaired")
    table = []
    for line in LOST.splitlines()[2:]:
        if line and not line.startswith("#"):
            conditions, _, outcome = line.partition("|")
            cells = zip(names, conditions.split(), strict=True)
            table.append(
                ({n: COLUMNS[n] if cell == "*" else tuple(cell.split(",")) for n, cell in cells}, Keep[outcome.strip()])
            )
    for values in itertools.product(("here", "elsewhere", "bare"), *(COLUMNS[name] for name in names[1:])):
        case = dict(zip(names, values, strict=True))
        fitting = [outcome for wanted, outcome in table if all(case[name] in wanted[name] for name in case)]
        assert len(fitting) == 1, f"{case} stands in {len(fitting)} rows"
        entry = entry_of(case | {"latest": "yes"})
        assert entry is not None
        assert kept_of_lost(entry, retention_of(case, LSN)) is fitting[0], case
