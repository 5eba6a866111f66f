"""What bounds an upload: the quota of its container, and that of its account, which all its containers share."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ambry.rest.accounts import AccountSettings, ContainerSettings
from frontend.container import Container, scope_of
from frontend.containers.quota_rows import NOTHING, QuotaAmount

PLENTY = 1 << 62
_CONTAINER_IDS = (1 << 32) - 1


class Bound(msgspec.Struct, frozen=True):
    """One of them."""

    number: int
    """Under which it is counted: a container's scope. An account's is that of a container 0, which none has."""
    whose: str
    bytes: int | None
    blobs: int | None
    """None for no bound."""

    @property
    def quota(self) -> QuotaAmount:
        return QuotaAmount(PLENTY if self.bytes is None else self.bytes, PLENTY if self.blobs is None else self.blobs)

    def sentence(self, used: QuotaAmount, wanted: QuotaAmount) -> str:
        """Why `wanted` more is refused."""
        bounds = [
            f"{has} of {may} {what}"
            for what, has, may in (("bytes", used.bytes, self.bytes), ("blobs", used.blobs, self.blobs))
            if may is not None
        ]
        return (
            f"{self.whose} has {' and '.join(bounds)} of its quota, what is being uploaded included, and "
            f"{wanted.bytes} bytes more do not fit; delete something (it counts for some minutes more), or have the quota "
            "raised"
        )


def has_quota(settings: ContainerSettings | AccountSettings) -> bool:
    return settings.quota_bytes is not None or settings.quota_blobs is not None


def bounds_of(container: Container) -> tuple[Bound, ...]:
    """All that bound what is put into a container; most have none."""
    found = []
    own, account = container.settings, container.account_settings
    if has_quota(own):
        found.append(Bound(container.scope, f"the container {container}", own.quota_bytes, own.quota_blobs))
    if has_quota(account):
        number = account_number(container.account_id)
        found.append(Bound(number, f"the account {container.account_name}", account.quota_bytes, account.quota_blobs))
    return tuple(found)


def account_number(account: int) -> int:
    """Under which an account is counted."""
    return scope_of(account, 0)


def is_accounts(number: int) -> bool:
    """Whether an account is counted under it, and no container."""
    return not number & _CONTAINER_IDS


def amount_of(counted: Mapping[int, QuotaAmount], number: int) -> QuotaAmount:
    """What is had under a number, by what each container has."""
    if not is_accounts(number):
        return counted.get(number, NOTHING)
    account, found = number >> 32, NOTHING
    for scope, amount in counted.items():
        if scope >> 32 == account:
            found += amount
    return found
