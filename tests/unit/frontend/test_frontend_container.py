from __future__ import annotations

import msgspec
import pytest

from ambry.durability import Durability
from ambry.errors import AccessDenied, RetentionLocked
from ambry.rest.accounts import AccountStatus
from frontend.container import unknown_container
from tests.support.fake_cluster import some_container

NEW_YEAR = 1_767_225_600_000


def test_what_makes_a_request_out_of_the_ordinary_is_known_beforehand() -> None:
    plain = some_container()
    assert plain.plain_reads and plain.plain_uploads and plain.active and plain.durability is Durability.DISK
    strict = some_container(strict_reads=True)
    assert (strict.plain_reads, strict.plain_uploads) == (False, True)
    for settings in ({"ttl_required": True}, {"quota_bytes": 0}, {"quota_blobs": 5}):
        bounded = some_container(**settings)
        assert (bounded.plain_reads, bounded.plain_uploads) == (True, False), settings
    inactive = some_container(status=AccountStatus.INACTIVE)
    assert not (inactive.active or inactive.plain_reads or inactive.plain_uploads)
    assert some_container(default_durability="memory").durability is Durability.MEMORY


def test_an_inactive_one_says_so() -> None:
    """Of an inactive account, the container was said to be."""
    some_container().check_active()
    with pytest.raises(AccessDenied, match="the container default/default is inactive: nothing in it"):
        some_container(status=AccountStatus.INACTIVE).check_active()
    of_account = msgspec.structs.replace(some_container(), active=False)
    with pytest.raises(
        AccessDenied, match="the account default, to which the container default/default belongs, is inact"
    ):
        of_account.check_active()


def test_a_lock_holds_until_its_date_and_names_it() -> None:
    locked = some_container(retention_lock_until=NEW_YEAR)
    with pytest.raises(RetentionLocked, match=r"locked until 2026-01-01T00:00:00\+00:00"):
        locked.check_unlocked(NEW_YEAR - 1)
    locked.check_unlocked(NEW_YEAR)
    some_container().check_unlocked(0)


def test_a_lock_of_any_length_can_be_told() -> None:
    with pytest.raises(RetentionLocked, match=str((1 << 53) - 1)):
        some_container(retention_lock_until=(1 << 53) - 1).check_unlocked(NEW_YEAR)


def test_pages_of_listed_origins_may_use_it() -> None:
    listed = some_container(access_control_allow_origin="https://app.example, http://localhost:3000")
    assert listed.allows_origin("https://App.example") and listed.allows_origin("http://localhost:3000")
    assert not listed.allows_origin("https://app.example.org") and not some_container().allows_origin("null")
    assert some_container(access_control_allow_origin="*").allows_origin("https://anybody.example")


def test_ids_that_nobody_knows_are_their_own_names() -> None:
    unknown = unknown_container(7, 71)
    assert (str(unknown), unknown.known, unknown.active) == ("7/71", False, True)
