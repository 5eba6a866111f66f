"""The registers as they lie in the store: their keys and values are in every datacenter, so they are spelled out here."""

from __future__ import annotations

from ambry.checksum import xxh64
from ambry.rest.accounts import AccountSettings, AccountStatus, ContainerSettings
from frontend.containers.registers import Kept, account_puts, by_id, container_puts, new_id, settings_of, told_puts
from frontend.metadata.spaces import Space
from frontend.metadata.store import Expect, Put, Stamp, Version

ID = 70_000
KEY = b"\x00\x01\x11\x70"


def version(key: bytes, value: bytes | None, *, time: int = 5 << 16, datacenter: int = 1) -> Version:
    return Version(Space.CONTAINER, 7 << 32, key, Stamp(time, datacenter), value, 1)


def test_a_new_account_is_these_registers() -> None:
    assert [*account_puts(ID, "team", {"status": "INACTIVE"}, Kept(), 2), *told_puts([ID], 2)] == [
        Put(Space.ACCOUNT_NAME, 0, b"team", b"70000", Expect.ABSENT),
        Put(Space.ACCOUNT, 0, KEY + b"name", b'"team"', Expect.ABSENT),
        Put(Space.ACCOUNT, 0, KEY + b"snapshotVersion/2", b"1", Expect.ABSENT),
        Put(Space.ACCOUNT, 0, KEY + b"status", b'"INACTIVE"'),
        Put(Space.ACCOUNT, 0, KEY + b"containers/2", b"true"),
        Put(Space.ACCOUNT, 1, b"2", b"true"),
    ]


def test_a_changed_container_is_these_registers_bound_to_our_own_count() -> None:
    known = Kept(own_count=4, own_stamp=Stamp(9, 1), locks=(0x10, 0x20))
    changes = {"cacheable": False, "retentionLockUntil": 0x30}
    assert list(container_puts(7, ID, None, changes, known, 1, now_ms=0x18)) == [
        Put(Space.CONTAINER, 7 << 32, KEY + b"snapshotVersion/1", b"5", Stamp(9, 1)),
        Put(Space.CONTAINER, 7 << 32, KEY + b"cacheable", b"false"),
        Put(Space.CONTAINER, 7 << 32, KEY + b"retentionLock/00000000000010", None),
        Put(Space.CONTAINER, 7 << 32, KEY + b"retentionLock/00000000000030", b"true"),
    ]


def test_registers_are_put_together_by_id() -> None:
    other = b"\x00\x01\x11\x71"
    found = by_id(
        [
            version(KEY + b"name", b'"models"'),
            version(KEY + b"snapshotVersion/1", b"3", time=7 << 16),
            version(KEY + b"snapshotVersion/2", b"2", datacenter=2),
            version(KEY + b"retentionLock/00000000000010", b"true"),
            version(KEY + b"retentionLock/00000000000020", b"true"),
            version(KEY + b"retentionLock/00000000000030", None),
            version(KEY + b"strictReads", b"true"),
            version(KEY + b"containers/1", b"true"),
            version(other + b"name", b'"other"'),
        ],
        datacenter=1,
    )
    assert set(found) == {ID, ID + 1}
    kept = found[ID]
    assert (kept.name, kept.snapshot_version, kept.modified_ms) == ("models", 5, 7)
    assert (kept.own_count, kept.own_stamp, kept.locks) == (3, Stamp(7 << 16, 1), (0x10, 0x20))
    assert settings_of(kept, ContainerSettings) == ContainerSettings(strict_reads=True, retention_lock_until=0x20)
    assert settings_of(found[ID + 1], AccountSettings) == AccountSettings()


def test_any_change_of_a_register_is_seen() -> None:
    before = by_id([version(KEY + b"name", b'"a"'), version(KEY + b"strictReads", b"true")], datacenter=1)
    after = by_id([version(KEY + b"name", b'"a"'), version(KEY + b"strictReads", b"true", time=6 << 16)], datacenter=1)
    assert before[ID].seen != after[ID].seen


def test_a_name_has_the_same_id_everywhere_and_the_next_where_that_is_taken() -> None:
    first = xxh64(b"team\x000") & 0xFFFF_FFFF
    second = xxh64(b"team\x001") & 0xFFFF_FFFF
    assert new_id("team", []) == first and new_id("team", [first]) == second
    assert first > 65_535 and second > 65_535


def test_what_cannot_be_read_switches_its_container_off_and_no_other() -> None:
    """One such field, and no frontend heard of any change any more."""
    other = b"\x00\x01\x11\x71"
    for bad in (
        version(KEY + b"cacheable", b"{"),
        version(KEY + b"name", b"7"),
        version(KEY + b"\xff", b"1"),
        version(KEY + b"retentionLock/x", b"true"),
    ):
        found = by_id(
            [bad, version(KEY + b"cacheable", b"true"), version(other + b"cacheable", b"false")], datacenter=1
        )
        assert settings_of(found[ID], ContainerSettings).status is AccountStatus.INACTIVE
        assert settings_of(found[ID + 1], ContainerSettings) == ContainerSettings(cacheable=False)
