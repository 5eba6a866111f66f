from __future__ import annotations

from ambry.rest.accounts import AccountSettings
from frontend.containers.quota_bounds import PLENTY, account_number, amount_of, bounds_of, is_accounts
from frontend.containers.quota_rows import QuotaAmount
from tests.support.fake_cluster import some_container


def test_a_quota_of_one_kind_leaves_plenty_of_the_other() -> None:
    assert some_container().scope == 1 << 32 | 1
    assert bounds_of(some_container()) == ()
    assert [each.quota for each in bounds_of(some_container(quota_bytes=0))] == [QuotaAmount(0, PLENTY)]
    assert [each.quota for each in bounds_of(some_container(quota_blobs=5))] == [QuotaAmount(PLENTY, 5)]


def test_an_account_bounds_all_its_containers_under_a_number_that_none_has() -> None:
    both = bounds_of(some_container(account=AccountSettings(quota_bytes=9), quota_bytes=5))
    assert [(each.number, each.bytes) for each in both] == [(1 << 32 | 1, 5), (1 << 32, 9)]
    assert account_number(1) == 1 << 32 and is_accounts(1 << 32) and not is_accounts(1 << 32 | 1)


def test_an_account_has_what_its_containers_have() -> None:
    counted = {1 << 32 | 1: QuotaAmount(5, 1), 1 << 32 | 2: QuotaAmount(7, 2), 2 << 32 | 1: QuotaAmount(9, 9)}
    assert amount_of(counted, 1 << 32) == QuotaAmount(12, 3)
    assert amount_of(counted, 1 << 32 | 2) == QuotaAmount(7, 2)
    assert amount_of(counted, 3 << 32) == amount_of(counted, 1 << 32 | 9) == QuotaAmount()


def test_an_upload_into_a_container_of_a_bounded_account_does_not_go_the_short_way() -> None:
    assert some_container().plain_uploads
    assert not some_container(account=AccountSettings(quota_blobs=1)).plain_uploads
