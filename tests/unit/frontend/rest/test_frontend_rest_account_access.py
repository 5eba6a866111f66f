"""Who sees and changes which accounts."""

from __future__ import annotations

import msgspec
import pytest

from ambry.errors import AccessDenied
from ambry.rest.access import Grant
from ambry.rest.accounts import AccountSettings
from frontend.containers.directory import AccountRecord, ContainerRecord, Directory
from frontend.rest.account_access import accounts_to_save, check_containers, check_hears, may_concern, shown
from frontend.who import ANYBODY, Who

ML = AccountRecord(
    id=7, name="ml", containers={70: ContainerRecord(id=70, name="a"), 71: ContainerRecord(id=71, name="b")}
)
DIRECTORY = Directory([ML])


def key(*grants: Grant) -> Who:
    return Who(grants, id="abcdefghijklmnop", name="k")


def test_containers_of_others_are_left_out() -> None:
    found = shown(key(Grant(roles=("read",), account="ml", container="a", prefix="x")), ML)
    assert found is not None and set(found.containers) == {70}
    assert shown(key(Grant(roles=("read",), account="ml")), ML) is ML
    assert shown(ANYBODY, ML) is ML
    other = key(Grant(roles=("admin",), account="other"))
    assert shown(other, ML) is None
    for place in (("ml",), ("ml", "a"), ("none",), ("none", "a")):
        with pytest.raises(AccessDenied) as refused:
            check_hears(other, *place)
        assert "in that place, if there is one" in str(refused.value)
    check_hears(other, "other", "a")


def test_an_id_that_is_not_known_here_may_be_of_what_is_not_known_here_alone() -> None:
    for grant, account, container, may in (
        (Grant(roles=("read",), account="ml", container="a"), 7, 99, False),
        (Grant(roles=("read",), account="ml", container="new"), 7, 99, True),
        (Grant(roles=("read",), account="ml", container="a"), 7, None, True),
        (Grant(roles=("read",), account="ml"), 7, 99, True),
        (Grant(roles=("read",), account="ml"), 8, 99, False),
        (Grant(roles=("read",), account="ml"), 8, None, False),
        (Grant(roles=("read",), account="new"), 8, None, True),
        (Grant(roles=("read",), container="a"), 8, 99, True),
    ):
        assert may_concern(key(grant), DIRECTORY, account, container) is may, (grant, account, container)
    assert may_concern(ANYBODY, DIRECTORY, 8, 99) and not may_concern(Who(), DIRECTORY, 7, 70)


def test_a_container_is_changed_by_its_administrator_and_made_by_that_of_its_account() -> None:
    one = key(Grant(roles=("admin",), account="ml", container="a"))
    check_containers(one, ML, [{"containerId": 70}], DIRECTORY)
    for given in ({"containerId": 71}, {"containerName": "new"}, {"containerId": True}, {"containerId": "70"}):
        with pytest.raises(AccessDenied):
            check_containers(one, ML, [given], DIRECTORY)
    check_containers(key(Grant(roles=("admin",), account="ml")), ML, [{"containerName": "new"}], DIRECTORY)


def test_an_account_is_changed_by_its_administrator_and_made_by_that_of_the_cluster() -> None:
    one = key(Grant(roles=("admin",), account="ml"))
    assert accounts_to_save(one, [{"accountId": 7}], DIRECTORY) == [{"accountId": 7}]
    for given in ({"accountId": 8}, {"accountName": "new"}, {"accountName": "ml"}):
        with pytest.raises(AccessDenied):
            accounts_to_save(one, [given], DIRECTORY)
    new = {"accountName": "new", "quotaBytes": 5}
    assert accounts_to_save(key(Grant(roles=("admin",))), [new], DIRECTORY) == [new]


def test_what_bounds_an_account_stands_there_as_it_is_for_its_administrator() -> None:
    """An account that was sent back as it was read was 403: its quota stood there, and was that which it had."""
    bounded = AccountRecord(id=7, name="ml", settings=AccountSettings(quota_bytes=100))
    read = {"accountId": 7, "accountName": "ml", **msgspec.to_builtins(bounded.settings)}
    one, over = key(Grant(roles=("admin",), account="ml")), key(Grant(roles=("admin",)))
    asked = {**read, "aclInheritedByContainer": True}
    # None of it is written, so that nobody lifts what was lowered elsewhere in this moment.
    assert accounts_to_save(one, [asked], Directory([bounded])) == [
        {"accountId": 7, "accountName": "ml", "aclInheritedByContainer": True}
    ]
    assert accounts_to_save(over, [asked], Directory([bounded])) == [asked]
    for change in ({"quotaBytes": 101}, {"quotaBytes": None}, {"quotaBlobs": 5}, {"status": "INACTIVE"}):
        with pytest.raises(AccessDenied, match=f"another {next(iter(change))} of the account ml"):
            accounts_to_save(one, [{**read, **change}], Directory([bounded]))
