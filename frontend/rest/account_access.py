"""Who sees and changes which accounts and containers.

Whoever has anything in a container sees what holds for it; changing that takes admin there, and a new account takes admin
everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ambry.errors import AccessDenied
from ambry.rest.access import Role
from frontend.containers.directory import AccountRecord, Directory
from frontend.who import Who


def shown(who: Who, account: AccountRecord) -> AccountRecord | None:
    """An account with those of its containers that somebody has anything in; None where there is nothing for them."""
    if not who.concerns(account.name):
        return None
    seen = {id: each for id, each in account.containers.items() if who.concerns(account.name, each.name)}
    return account if len(seen) == len(account.containers) else msgspec.structs.replace(account, containers=seen)


def shown_or_refused(who: Who, account: AccountRecord) -> AccountRecord:
    """The same. Raises AccessDenied where there is nothing for them."""
    found = shown(who, account)
    if found is None:
        raise _refused(who, f"anything in the account {account.name}")
    return found


def check_accounts(who: Who, given: Iterable[Mapping[str, Any]], directory: Directory) -> None:
    """Whether somebody may make or change these. Raises AccessDenied."""
    for each in given:
        id = each.get("accountId") if isinstance(each, dict) else None
        known = directory.accounts.get(id) if isinstance(id, int) else None
        if not (who.everywhere(Role.ADMIN) or (known is not None and who.in_account(Role.ADMIN, known.name))):
            where = "the whole cluster" if known is None else f"the account {known.name}"
            raise _refused(who, f"admin in {where}")


def check_containers(
    who: Who, account: AccountRecord, given: Iterable[Mapping[str, Any]], directory: Directory
) -> None:
    """Whether somebody may make or change these containers of an account. Raises AccessDenied."""
    if who.in_account(Role.ADMIN, account.name):
        return
    for each in given:
        id = each.get("containerId") if isinstance(each, dict) else None
        known = directory.find_id(account.id, id) if isinstance(id, int) else None
        if known is None or not who.may(Role.ADMIN, known):
            where = f"the account {account.name}" if known is None else f"the container {known}"
            raise _refused(who, f"admin in {where}")


def _refused(who: Who, what: str) -> AccessDenied:
    return AccessDenied(f"the key {who.id} ({who.name}) does not have {what}; whoever has admin there can grant it")
