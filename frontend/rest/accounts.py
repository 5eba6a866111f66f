"""Accounts and containers: `GET` and `POST` of `/accounts` and `/accounts/containers`, with Ambry's JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from aiohttp import web

from ambry.errors import (
    AccountNotFound,
    AmbryError,
    ContainerNotFound,
    InvalidRequest,
    InvariantBroken,
    MetadataUnavailable,
)
from ambry.rest import names, values
from ambry.rest.accounts import NAME_SIZE_MAX, AccountSettings, ContainerSettings
from frontend.containers.changes import ContainerChanges
from frontend.containers.directory import AccountRecord, ContainerRecord
from frontend.containers.resolver import Containers
from frontend.http.exchange import Exchange
from frontend.http.route import Handle, Route
from frontend.rest.account_access import accounts_to_save, check_containers, check_hears, may_concern, refused, shown
from frontend.rest.doubt import told_in_doubt
from frontend.rest.json_body import json_object
from frontend.rest.resource import EVERYWHERE, READS, json_page, of_this_moment
from frontend.router.context import RouterContext
from frontend.who import ANY_KEY

NOT_A_NAME = ""
"""Of an account that is none: only whoever has something in all accounts is concerned by it."""
NOTED_MAX = 32
"""Names that the audit tells of a change that is not made. Of one that is made it tells all."""
NOTED_SIZE_MAX = 100
"""Characters that the audit tells of what a text was before, and of a description."""
Record = AccountRecord | ContainerRecord
SETTINGS = frozenset(AccountSettings.__struct_encode_fields__) | frozenset(ContainerSettings.__struct_encode_fields__)
OF_ACCOUNT = EVERYWHERE | {names.ACCOUNT_ID, names.ACCOUNT_NAME}


class AccountPages:
    """The calls about accounts and containers."""

    def __init__(self, router: RouterContext, containers: Containers, changes: ContainerChanges | None) -> None:
        """Without `changes` there is no store to keep them."""
        self._router = router
        self._containers = containers
        self._changes = changes

    def routes(self) -> tuple[Route, ...]:
        def read(op: str, target: str, handle: Handle, more: str) -> Route:
            headers = OF_ACCOUNT | {more}
            return Route(
                op=op,
                methods=READS,
                target=target,
                handle=handle,
                needs=ANY_KEY,
                headers=headers,
                select=of_this_moment,
            )

        def change(op: str, target: str, handle: Handle, headers: frozenset[str]) -> Route:
            return Route(
                op=op,
                methods=("POST",),
                target=target,
                handle=handle,
                needs=ANY_KEY,
                changes=True,
                takes_body=True,
                headers=headers,
                select=of_this_moment,
            )

        return (
            read("accounts", "/accounts", self.accounts, names.IGNORE_CONTAINERS),
            read("containers", "/accounts/containers", self.containers, names.CONTAINER_NAME),
            change("accounts_post", "/accounts", self.save_accounts, EVERYWHERE),
            change("containers_post", "/accounts/containers", self.save_containers, OF_ACCOUNT),
        )

    async def accounts(self, exchange: Exchange) -> web.Response:
        """All, or the one that a header names."""
        headers, who = exchange.headers, exchange.context.who
        ignore = names.IGNORE_CONTAINERS in headers and values.flag(
            names.IGNORE_CONTAINERS, headers[names.IGNORE_CONTAINERS]
        )
        if names.ACCOUNT_ID in headers or names.ACCOUNT_NAME in headers:
            found = [await self._shown(exchange)]
        else:
            await self._look()
            every = self._containers.directory.accounts.values()
            found = [
                account for each in sorted(every, key=lambda it: it.name) if (account := shown(who, each)) is not None
            ]
        return json_page({"accounts": [account_json(account, ignore_containers=ignore) for account in found]})

    async def containers(self, exchange: Exchange) -> web.Response:
        """All of an account, or the one that a header names."""
        account = await self._shown(exchange)
        name = exchange.headers.get(names.CONTAINER_NAME)
        records = sorted(account.containers.values(), key=lambda container: container.name)
        if name is not None:
            check_hears(exchange.context.who, account.name, name)
            records = [account.container(name) or await self._from_elsewhere(account, name)]
        return json_page({"containers": [container_json(account.id, each) for each in records]})

    async def save_accounts(self, exchange: Exchange) -> web.Response:
        changes = self._changing()
        given = _list(await json_object(exchange, self._router), "accounts")
        directory = self._containers.directory
        exchange.noted["accounts"] = [_called(each, "account", directory.accounts.get) for each in given[:NOTED_MAX]]
        allowed = accounts_to_save(exchange.context.who, given, directory)
        with told_in_doubt(exchange, lambda: _asked_of_accounts(allowed, directory.accounts)):
            saved = await changes.save_accounts(allowed)
        exchange.noted["accounts"] = [account.name for account in saved]
        exchange.noted["changed"] = [
            change
            for each, account in zip(allowed, saved, strict=True)
            for change in _changed_account(each, directory.accounts.get(account.id), account)
        ]
        return json_page({"accounts": [account_json(account) for account in saved]})

    async def save_containers(self, exchange: Exchange) -> web.Response:
        changes = self._changing()
        given = _list(await json_object(exchange, self._router), "containers")
        account = await self._named(exchange)
        exchange.noted["account"] = account.name
        exchange.noted["containers"] = [
            _called(each, "container", account.containers.get) for each in given[:NOTED_MAX]
        ]
        check_containers(exchange.context.who, account, given, self._containers.directory)
        with told_in_doubt(exchange, lambda: _asked(given, "container", account.containers.get)):
            saved = await changes.save_containers(account.id, given)
        exchange.noted["containers"] = [container.name for container in saved]
        exchange.noted["changed"] = [
            change
            for each, container in zip(given, saved, strict=True)
            for change in _changed(each, container.name, account.containers.get(container.id), container)
        ]
        response = json_page({"containers": [container_json(account.id, each) for each in saved]})
        response.headers[names.ACCOUNT_ID] = str(account.id)
        return response

    def _changing(self) -> ContainerChanges:
        if self._changes is None:
            raise MetadataUnavailable("this frontend has no metadata store to keep accounts in")
        return self._changes

    async def _shown(self, exchange: Exchange) -> AccountRecord:
        """The account that the headers name, with those of its containers that whoever asks has anything in."""
        account = shown(exchange.context.who, await self._named(exchange))
        if account is None:
            raise InvariantBroken("an account was to be shown to somebody who has nothing in it")
        return account

    async def _named(self, exchange: Exchange) -> AccountRecord:
        """The account that the headers name, in which whoever asks has anything.

        As it is now; as it was last seen where the metadata store is away.
        """
        who = exchange.context.who
        id, name = exchange.headers.get(names.ACCOUNT_ID), exchange.headers.get(names.ACCOUNT_NAME)
        if (id is None) == (name is None):
            raise InvalidRequest(
                f"say which account in {names.ACCOUNT_NAME} or in {names.ACCOUNT_ID}, and in one of them"
            )
        if name is not None:
            check_hears(who, name)
        away: AmbryError | None = None
        try:
            await self._look()
        except AmbryError as error:
            away = error
        directory = self._containers.directory
        if id is not None and not (id.isascii() and id.isdigit() and len(id) <= 10):
            raise InvalidRequest(f"{names.ACCOUNT_ID} is a number")
        number = int(id or 0)
        found = directory.account(name) if name is not None else directory.accounts.get(number)
        if found is None:
            if name is None and not may_concern(who, directory, number):
                raise refused(who)
            if away is not None:
                raise away
            try:
                found = await (
                    self._containers.resolve_account_id(number)
                    if name is None
                    else self._containers.resolve_account(name)
                )
            except InvalidRequest:
                if name is None and not who.concerns(NOT_A_NAME):
                    raise refused(who) from None
                raise AccountNotFound(f"there is no account {(name or id or '')[:64]!r}") from None
        check_hears(who, found.name)
        return found

    async def _from_elsewhere(self, account: AccountRecord, name: str) -> ContainerRecord:
        """A container that is not known here. Raises ContainerNotFound."""
        try:
            found = await self._containers.resolve(account.name, name)
        except InvalidRequest:
            raise ContainerNotFound(f"account {account.name!r} has no container {name[:64]!r}") from None
        return self._containers.directory.accounts[found.account_id].containers[found.container_id]

    async def _look(self) -> None:
        if self._containers.refresh is not None:
            await self._containers.refresh()


def _called(given: object, kind: str, find: Callable[[int], Record | None]) -> str:
    """What the audit calls an account or a container that somebody asks for."""
    if not isinstance(given, dict):
        return ""
    id, name = given.get(f"{kind}Id"), given.get(f"{kind}Name")
    known = find(id) if isinstance(id, int) else None
    return str(name if known is None else known.name)[:NAME_SIZE_MAX]


def _changed_account(given: Mapping[str, Any], before: AccountRecord | None, after: AccountRecord) -> Iterator[str]:
    """What became another one of an account and of the containers that stand in it, for the audit."""
    yield from _changed(given, after.name, before, after)
    for each in given.get("containers", ()):
        id, name = each.get("containerId"), each.get("containerName")
        made = after.containers.get(id) if isinstance(id, int) else None
        made = after.container(str(name)) if made is None else made
        if made is not None:
            was = None if before is None else before.containers.get(made.id)
            yield from _changed(each, f"{after.name}/{made.name}", was, made)


def _changed(given: Mapping[str, Any], name: str, before: Record | None, after: Record) -> Iterator[str]:
    """What became another one of all that was asked for. Whole values are compared, whatever is told of them."""
    old = {} if before is None else msgspec.to_builtins(before.settings)
    new = msgspec.to_builtins(after.settings)
    if before is None:
        yield f"{name}: made"
    for field in given:
        if field in new and old.get(field) != new[field]:
            yield f"{name}: {field} from {_short(old.get(field))} to {_value(field, new[field])}"


def _asked_of_accounts(given: Iterable[object], accounts: Mapping[int, AccountRecord]) -> Iterator[str]:
    """What is asked for of accounts and of the containers that stand in them; nobody may have judged it yet."""
    for each in given:
        yield from _asked((each,), "account", accounts.get)
        inner = each.get("containers") if isinstance(each, dict) else None
        if isinstance(each, dict) and isinstance(inner, list):
            id, name = each.get("accountId"), _called(each, "account", accounts.get)
            account = accounts.get(id) if isinstance(id, int) else None
            known = {} if account is None else account.containers
            yield from (f"{name}/{told}" for told in _asked(inner, "container", known.get))


def _asked(given: Iterable[object], kind: str, find: Callable[[int], Record | None]) -> Iterator[str]:
    """What is asked for of each account or container of a list."""
    for each in given:
        name = _called(each, kind, find)
        for field, value in each.items() if isinstance(each, dict) else ():
            if field in SETTINGS:
                yield f"{name}: {field} to {_value(field, value)}"


def _value(field: str, value: object) -> str:
    """A value as the audit tells it: whole, unless it is free text."""
    return _short(value) if field == "description" else msgspec.json.encode(value).decode()


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= NOTED_SIZE_MAX else f"{text[:NOTED_SIZE_MAX]}... ({len(text)} characters)"


def account_json(account: AccountRecord, *, ignore_containers: bool = False) -> dict[str, Any]:
    """As it is told."""
    containers = sorted(account.containers.values(), key=lambda container: container.name)
    return {
        "accountId": account.id,
        "accountName": account.name,
        **msgspec.to_builtins(account.settings),
        "snapshotVersion": account.snapshot_version,
        "lastModifiedTime": account.modified_ms,
        "containers": [] if ignore_containers else [container_json(account.id, each) for each in containers],
    }


def container_json(account: int, container: ContainerRecord) -> dict[str, Any]:
    """As it is told."""
    return {
        "containerId": container.id,
        "containerName": container.name,
        "parentAccountId": account,
        **msgspec.to_builtins(container.settings),
        "snapshotVersion": container.snapshot_version,
        "lastModifiedTime": container.modified_ms,
    }


def _list(body: Mapping[str, Any], key: str) -> list[Any]:
    given = body.get(key)
    if not isinstance(given, list) or len(body) != 1:
        raise InvalidRequest(f'the body is {{"{key}": [...]}}, and nothing beside it')
    return given
