from __future__ import annotations

from ambry.rest.accounts import AccountSettings, AccountStatus, ContainerSettings
from frontend.containers.directory import AccountRecord, ContainerRecord, Directory, built_in
from tests.support.http_frontend import ACCOUNTS


def test_names_lead_to_ids_and_back() -> None:
    directory = Directory(built_in(ACCOUNTS).values())
    for account, entry in ACCOUNTS.items():
        for container, number in entry.containers.items():
            found = directory.find(account, container)
            assert found is not None and found is directory.find_id(entry.id, number)
            assert (found.account_name, found.container_name) == (account, container)
            assert (found.account_id, found.container_id) == (entry.id, number)


def test_what_is_unknown_is_not_found() -> None:
    directory = Directory(built_in(ACCOUNTS).values())
    assert directory.find("nobody", "default") is directory.find("ml", "default") is directory.find("", "") is None
    assert directory.find_id(7, 71) is directory.find_id(8, 70) is None
    assert directory.account("nobody") is None


def test_an_inactive_account_makes_its_containers_inactive() -> None:
    account = AccountRecord(
        id=70_000,
        name="ml",
        settings=AccountSettings(status=AccountStatus.INACTIVE),
        containers={1: ContainerRecord(id=1, name="models", settings=ContainerSettings(cacheable=False))},
    )
    found = Directory([account]).find("ml", "models")
    assert found is not None and not found.active and not found.settings.cacheable


def test_of_two_with_one_name_the_lower_id_is_meant_and_both_are_found_by_id() -> None:
    containers = {number: ContainerRecord(id=number, name="same") for number in (9, 5)}
    directory = Directory([AccountRecord(id=number, name="twin", containers=containers) for number in (70_001, 70_000)])
    found, account = directory.find("twin", "same"), directory.account("twin")
    assert found is not None and (found.account_id, found.container_id) == (70_000, 5)
    assert account is not None and account.id == 70_000 and account.container("same") == containers[5]
    assert all(directory.find_id(a, c) is not None for a in (70_000, 70_001) for c in (5, 9))
