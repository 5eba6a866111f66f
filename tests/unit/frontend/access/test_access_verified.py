"""Whose key it is."""

from __future__ import annotations

import pytest

from ambry.errors import ConfigInvalid, MetadataUnavailable, Unauthenticated
from ambry.rest.access import Grant, KeyText, Role, hash_of, key_text
from frontend.access.key_rows import OldSecret, StoredKey
from frontend.access.verified import VERIFIED_MAX, Access, trusting
from frontend.who import ANYBODY, NOBODY
from tests.support.access import bearer, fresh_key, root_line
from tests.support.fake_clock import SettableClock


def stored(key: KeyText, **more: object) -> StoredKey:
    fields: dict[str, object] = {
        "name": "n",
        "hash": hash_of(key.secret),
        "grants": (Grant(roles=("read",)),),
        "created_ms": 0,
        "created_by": "",
        **more,
    }
    return StoredKey(**fields)  # type: ignore[arg-type]


def header(key: KeyText) -> str:
    return bearer(key)["Authorization"]


def test_an_administrator_of_the_configuration_may_everything() -> None:
    key = fresh_key()
    who = Access(clock=SettableClock(), root_keys=[root_line(key)]).of(header(key))
    assert who.everywhere(Role.READ | Role.ADMIN) and (who.id, who.name) == (key.id, "admin")


@pytest.mark.parametrize("line", ["", "a:b", "abcdefghijklmnop:" + "0" * 63, "ABCDEFGHIJKLMNOP:" + "0" * 64])
def test_an_administrator_that_is_none_is_refused_at_the_start(line: str) -> None:
    with pytest.raises(ConfigInvalid, match="root_keys"):
        Access(clock=SettableClock(), root_keys=[line])


@pytest.mark.parametrize("name", ["x\ny", "x\x1b[2J", " x", "ü", "x" * 129])
def test_the_name_of_an_administrator_is_one_that_keys_have(name: str) -> None:
    with pytest.raises(ConfigInvalid, match="printable ASCII"):
        Access(clock=SettableClock(), root_keys=[f"{'a' * 16}:{'0' * 64}:{name}"])


def test_what_is_no_key_is_told_why() -> None:
    key = fresh_key()
    access = Access(clock=SettableClock())
    access.know([(key.id, stored(key))])
    for wrong, why in (
        ("Basic YTpi", "not understood"),
        ("Bearer", "not understood"),
        ("Bearer " + "x" * 300, "not understood"),
        ("Bearer ambry_x", "cut off or mistyped"),
        (header(fresh_key()), "no key"),
        (header(KeyText(key.id, fresh_key().secret)), "not the secret"),
    ):
        with pytest.raises(Unauthenticated, match=why) as refused:
            access.of(wrong)
        assert key.secret not in str(refused.value) and (not wrong[40:] or wrong[40:] not in str(refused.value))
        assert access.at_once(wrong) is None
    assert access.of(header(key)).id == key.id
    assert access.of(header(key).replace("Bearer", "bEARER")).id == key.id


def test_nobody_is_nobody_and_where_none_is_asked_for_anybody() -> None:
    assert Access(clock=SettableClock()).of(None) is NOBODY
    open_to_all = trusting(SettableClock())
    assert open_to_all.of(None) is ANYBODY and open_to_all.of("Bearer anything") is ANYBODY


def test_a_key_that_is_revoked_or_changed_is_another_on_the_next_request() -> None:
    key = fresh_key()
    access = Access(clock=SettableClock())
    access.know([(key.id, stored(key))])
    assert access.of(header(key)) is access.at_once(header(key))
    access.know([(key.id, stored(key, grants=(Grant(roles=("write",)),)))])
    assert access.at_once(header(key)) is None and access.of(header(key)).everywhere(Role.WRITE)
    access.know([])
    with pytest.raises(Unauthenticated, match="revoked"):
        access.of(header(key))


def test_a_key_ends_at_its_time_also_where_it_is_remembered() -> None:
    clock = SettableClock(wall=1_000)
    key = fresh_key()
    access = Access(clock=clock)
    access.know([(key.id, stored(key, expires_ms=5_000))])
    access.of(header(key))
    clock.wall = 4_999
    assert access.at_once(header(key)) is not None
    clock.wall = 5_000
    assert access.at_once(header(key)) is None
    with pytest.raises(Unauthenticated, match="expired"):
        access.of(header(key))


def test_an_old_secret_opens_until_its_time_is_over() -> None:
    clock = SettableClock(wall=1_000)
    old, new = fresh_key(), fresh_key()
    new = KeyText(old.id, new.secret)
    access = Access(clock=clock)
    access.know([(old.id, stored(new, old=(OldSecret(hash=hash_of(old.secret), until_ms=2_000),)))])
    assert access.of(header(old)).id == access.of(header(new)).id
    began = access.of(header(old))
    clock.wall = 2_000
    for late in (lambda: access.of(header(old)), lambda: access.check_standing(began)):
        with pytest.raises(Unauthenticated, match="replaced by a rotation"):
            late()
    assert access.of(header(new)).id == new.id


def test_what_a_refused_key_says_to_be_is_told_without_its_secret() -> None:
    key, gone = fresh_key(), fresh_key()
    access = Access(clock=SettableClock())
    access.know([(key.id, stored(key, name="job"))])
    assert access.claimed(header(KeyText(key.id, fresh_key().secret))) == (key.id, "job")
    assert access.claimed(header(gone)) == (gone.id, "")
    assert [access.claimed(each) for each in (None, "", "Bearer x", header(key) + "x" * 300)] == [None] * 4


def test_before_the_store_was_heard_nobody_says_that_a_key_is_none() -> None:
    access = Access(clock=SettableClock())
    access.certain = False
    with pytest.raises(MetadataUnavailable):
        access.of(header(fresh_key()))


def test_what_is_remembered_is_bounded_and_which_were_used_is_told_once() -> None:
    access = Access(clock=SettableClock())
    keys = [fresh_key() for _ in range(20)]
    access.know([(key.id, stored(key)) for key in keys])
    for number in range(VERIFIED_MAX * 2):
        access.of(f"Bearer {' ' * (number // 20)}{key_text(keys[number % 20])}"[:250])
    assert len(access._verified) <= VERIFIED_MAX + 1
    assert access.take_used() == {key.id for key in keys}
    assert access.take_used() == set()
