from __future__ import annotations

import pytest

from ambry.errors import InvalidRequest
from frontend.metadata.accounts import Accounts
from frontend.request import ContainerId
from tests.support.http_frontend import ACCOUNTS


def test_names_lead_to_ids_and_back() -> None:
    accounts = Accounts(ACCOUNTS)
    for account, entry in ACCOUNTS.items():
        for container, number in entry.containers.items():
            assert accounts.resolve(account, container) == ContainerId(entry.id, number)
            assert accounts.names(ContainerId(entry.id, number)) == (account, container)


@pytest.mark.parametrize(
    ("account", "container", "named"),
    [("nobody", "default", "'nobody'"), ("ml", "default", "'default'"), ("", "", "''")],
)
def test_an_unknown_name_is_refused_and_repeated(account: str, container: str, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        Accounts(ACCOUNTS).resolve(account, container)


def test_ids_that_are_not_configured_any_more_are_shown_as_numbers() -> None:
    assert Accounts(ACCOUNTS).names(ContainerId(7, 71)) == ("7", "71")
    assert Accounts(ACCOUNTS).names(ContainerId(8, 70)) == ("8", "70")


def test_later_changes_of_the_given_mapping_do_not_matter() -> None:
    entries = dict(ACCOUNTS)
    accounts = Accounts(entries)
    entries.clear()
    assert accounts.resolve("ml", "models") == ContainerId(7, 70)
