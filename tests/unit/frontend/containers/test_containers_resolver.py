from __future__ import annotations

import pytest

from ambry.errors import InvalidRequest, Unavailable
from frontend.container import scope_of
from frontend.containers.directory import AccountRecord, ContainerRecord, Directory
from frontend.containers.resolver import Containers
from tests.support.http_frontend import ACCOUNTS

NEW = AccountRecord(id=70_000, name="new", containers={70_001: ContainerRecord(id=70_001, name="models")})


async def test_what_the_configuration_names_is_known_without_asking() -> None:
    containers = Containers(ACCOUNTS)
    assert containers.default is containers.known("default", "default") is containers.known_id(1, 1)
    assert await containers.resolve("ml", "models") is containers.known_id(7, 70)
    assert (await containers.resolve_account("ml")).id == 7


@pytest.mark.parametrize(
    ("account", "container", "named"),
    [("nobody", "default", "'nobody'"), ("ml", "default", "'default'"), ("", "", "''")],
)
async def test_an_unknown_name_is_refused_and_repeated(account: str, container: str, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        await Containers(ACCOUNTS).resolve(account, container)


async def test_ids_that_are_not_configured_any_more_are_shown_as_numbers() -> None:
    assert str(await Containers(ACCOUNTS).resolve_id(7, 71)) == "7/71"
    assert str(await Containers(ACCOUNTS).resolve_id(8, 70)) == "8/70"


async def test_later_changes_of_the_given_mapping_do_not_matter() -> None:
    entries = dict(ACCOUNTS)
    containers = Containers(entries)
    entries.clear()
    assert containers.known("ml", "models") is not None


async def test_the_store_is_asked_for_what_is_not_known_and_for_nothing_else() -> None:
    containers = Containers(ACCOUNTS)
    asked = 0

    async def refresh() -> None:
        nonlocal asked
        asked += 1
        containers.directory = Directory([*containers.built_in.values(), NEW])

    containers.refresh = refresh
    await containers.resolve("ml", "models")
    assert asked == 0
    assert (await containers.resolve("new", "models")).container_id == 70_001
    assert asked == 1
    await containers.resolve_id(70_000, 70_001)
    assert asked == 1


async def test_where_the_store_is_away_what_is_known_goes_on_and_the_unknown_is_503() -> None:
    containers = Containers(ACCOUNTS)

    async def refresh() -> None:
        raise Unavailable("it is away", retry_after_s=7)

    containers.refresh = refresh
    assert (await containers.resolve("ml", "models")).container_id == 70
    for ask in (
        containers.resolve("new", "models"),
        containers.resolve_id(70_000, 70_001),
        containers.resolve_account("new"),
    ):
        with pytest.raises(Unavailable, match=r"not known here.*it is away") as caught:
            await ask
        assert caught.value.retry_after_s == 7


def test_a_directory_without_the_default_container_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="default"):
        Containers({})


async def test_a_scope_is_shown_by_the_names_where_they_are_known_and_else_by_the_ids() -> None:
    containers = Containers(ACCOUNTS)
    assert containers.shown(scope_of(7, 70)) == "ml/models" and containers.shown(scope_of(7, 71)) == "7/71"
