"""Who sees and changes which accounts and containers.

Whoever has anything in a container sees what holds for it; changing that takes admin there, and a new account takes admin
everywhere. Who is refused hears the same whether there is such an account or container.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ambry.errors import AccessDenied
from ambry.rest.access import ANY, Role
from frontend.containers.directory import AccountRecord, Directory
from frontend.who import Who

OVER_ACCOUNT = frozenset({"quotaBytes", "quotaBlobs", "status"})
"""What is set over an account, by whoever has admin everywhere; those of its containers are its administrators'."""


def shown(who: Who, account: AccountRecord) -> AccountRecord | None:
    """An account with those of its containers that somebody has anything in; None where there is nothing for them."""
    if not who.concerns(account.name):
        return None
    seen = {id: each for id, each in account.containers.items() if who.concerns(account.name, each.name)}
    return account if len(seen) == len(account.containers) else msgspec.structs.replace(account, containers=seen)


def may_concern(who: Who, directory: Directory, account: int, container: int | None = None) -> bool:
    """Whether somebody may have something in an account, or a container of it, of which only the id is known, and not here."""
    for account_name, container_name in who.places:
        known = None if account_name == ANY else directory.account(account_name)
        if known is not None and known.id != account:
            continue
        of_it = None if container is None or known is None or container_name == ANY else known.container(container_name)
        if of_it is None or of_it.id == container:
            return True
    return False


def check_hears(who: Who, account: str, container: str | None = None) -> None:
    """Whether somebody may hear if there is such an account or container. Raises AccessDenied."""
    if not who.concerns(account, container):
        raise refused(who)


def refused(who: Who) -> AccessDenied:
    """What whoever has nothing in an account or container is told that they ask for."""
    return _refused(who, "anything in that place, if there is one")


def accounts_to_save(who: Who, given: Sequence[Mapping[str, Any]], directory: Directory) -> list[Mapping[str, Any]]:
    """What somebody may make or change of these accounts, in their order. Raises AccessDenied.

    What is set over an account and is said as it stands is left out for its administrators: who sends back what they read
    changes nothing by it, also where it stands otherwise by the time that this is written.
    """
    if who.everywhere(Role.ADMIN):
        return list(given)
    allowed: list[Mapping[str, Any]] = []
    for each in given:
        id = each.get("accountId") if isinstance(each, dict) else None
        known = directory.accounts.get(id) if isinstance(id, int) else None
        if known is None or not who.in_account(Role.ADMIN, known.name):
            raise _refused(who, "admin in the whole cluster, or in all of each account that it names by accountId")
        # What bounds an account is none where it may be lifted by whom it bounds.
        stands = msgspec.to_builtins(known.settings)
        changed = sorted(field for field in OVER_ACCOUNT & each.keys() if each[field] != stands[field])
        if changed:
            raise _refused(
                who,
                f"admin in the whole cluster, which another {', '.join(changed)} of the account {known.name} takes; leave that "
                "out, or as it stands",
            )
        allowed.append({field: value for field, value in each.items() if field not in OVER_ACCOUNT})
    return allowed


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
            raise _refused(
                who, f"admin in the account {account.name}, or in each container that it names by containerId"
            )


def _refused(who: Who, what: str) -> AccessDenied:
    return AccessDenied(f"the key {who.id} ({who.name}) does not have {what}; whoever has admin there can grant it")
