"""Who sees and changes which accounts."""

from __future__ import annotations

import pytest

from ambry.errors import AccessDenied
from ambry.rest.access import Grant
from frontend.containers.directory import AccountRecord, ContainerRecord, Directory
from frontend.rest.account_access import check_accounts, check_containers, shown, shown_or_refused
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
    with pytest.raises(AccessDenied):
        shown_or_refused(key(Grant(roles=("admin",), account="other")), ML)


def test_a_container_is_changed_by_its_administrator_and_made_by_that_of_its_account() -> None:
    one = key(Grant(roles=("admin",), account="ml", container="a"))
    check_containers(one, ML, [{"containerId": 70}], DIRECTORY)
    for given in ({"containerId": 71}, {"containerName": "new"}, {"containerId": True}, {"containerId": "70"}):
        with pytest.raises(AccessDenied):
            check_containers(one, ML, [given], DIRECTORY)
    check_containers(key(Grant(roles=("admin",), account="ml")), ML, [{"containerName": "new"}], DIRECTORY)


def test_an_account_is_changed_by_its_administrator_and_made_by_that_of_the_cluster() -> None:
    one = key(Grant(roles=("admin",), account="ml"))
    check_accounts(one, [{"accountId": 7}], DIRECTORY)
    for given in ({"accountId": 8}, {"accountName": "new"}, {"accountName": "ml"}):
        with pytest.raises(AccessDenied):
            check_accounts(one, [given], DIRECTORY)
    check_accounts(key(Grant(roles=("admin",))), [{"accountName": "new"}], DIRECTORY)
