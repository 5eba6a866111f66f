"""A container as everything in a frontend sees it: ids, names, and what holds for what is in it. Resolved in one place
(frontend/containers/directory.py), and never changed: a change of a container is another one of these."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from ambry.durability import Durability
from ambry.errors import AccessDenied, RetentionLocked, Unavailable
from ambry.rest.accounts import ANY_ORIGIN, AccountSettings, AccountStatus, ContainerSettings, origins_of

_DURABILITIES = {each.name.lower(): each for each in Durability}


def scope_of(account: int, container: int) -> int:
    """The scope of a container, of which only the ids are at hand."""
    return account << 32 | container


def ids_shown(scope: int) -> str:
    """A container as people read it where only the ids are known."""
    return f"{scope >> 32}/{scope & 0xFFFF_FFFF}"


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """One container, as it was last seen. The ids stand in blob ids, 32 bits each."""

    account_id: int
    account_name: str
    container_id: int
    container_name: str
    settings: ContainerSettings
    account_settings: AccountSettings
    active: bool
    """Whether both, it and its account, are."""
    durability: Durability
    """Of an upload that says nothing about it."""
    origins: frozenset[str]
    """Whose pages may use it; ANY_ORIGIN among them is everybody's."""
    known: bool = True
    """False for ids that no account or container has, or has any more: the names are the ids as text."""
    plain_reads: bool
    """Whether nothing of it matters to a read but its names and what caches are told."""
    plain_uploads: bool
    """Whether nothing of it matters to an upload but its ids and its durability."""
    public: bool = False
    """Whether whoever comes may read what is in it."""
    certain: bool = True
    """False where what the metadata store may say of it was never seen."""

    def __str__(self) -> str:
        return f"{self.account_name}/{self.container_name}"

    @property
    def scope(self) -> int:
        """Both ids as one number of 64 bits: where its names and datasets stand, and its quota's count."""
        return scope_of(self.account_id, self.container_id)

    def check_active(self) -> None:
        """Raises AccessDenied for one that is switched off."""
        if not self.active:
            own = self.settings.status is AccountStatus.INACTIVE
            what = (
                f"container {self}" if own else f"account {self.account_name}, to which the container {self} belongs,"
            )
            raise AccessDenied(f"the {what} is inactive: nothing in it is read or written until its status is ACTIVE")

    def locked(self, now_ms: int) -> bool:
        """Whether what is in it must be kept as it is."""
        return now_ms < self.settings.retention_lock_until

    def check_unlocked(self, now_ms: int) -> None:
        """To be asked before anything in it is deleted, overwritten, or lives less long.

        Raises RetentionLocked; Unavailable where nobody has heard yet whether it is.
        """
        if not self.certain:
            raise Unavailable(f"whether the container {self} is locked is not known here yet; retry", retry_after_s=1)
        if self.locked(now_ms):
            until = self.settings.retention_lock_until
            raise RetentionLocked(
                f"the container {self} is locked until {_date(until)} (retentionLockUntil {until}): nothing in it is deleted "
                "or overwritten before"
            )

    def allows_origin(self, origin: str) -> bool:
        """Whether a page of this origin may use it."""
        return ANY_ORIGIN in self.origins or origin.lower() in self.origins


def _date(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "a date that no calendar has"


NO_SETTINGS = AccountSettings()


def container_of(
    settings: ContainerSettings,
    *,
    account_id: int,
    account_name: str,
    container_id: int,
    container_name: str,
    account_settings: AccountSettings = NO_SETTINGS,
    known: bool = True,
    certain: bool = True,
    open: bool = False,
) -> Container:
    """The container that these settings make; `open` where no keys are asked for."""
    active = AccountStatus.ACTIVE is account_settings.status is settings.status
    unbounded = all(each.quota_bytes is None and each.quota_blobs is None for each in (settings, account_settings))
    return Container(
        account_id=account_id,
        account_name=account_name,
        container_id=container_id,
        container_name=container_name,
        settings=settings,
        account_settings=account_settings,
        active=active,
        durability=_DURABILITIES[settings.default_durability],
        origins=origins_of(settings.access_control_allow_origin),
        known=known,
        certain=certain,
        public=known and (settings.is_private is False or (open and settings.is_private is None)),
        plain_reads=active and not settings.strict_reads and not settings.audit_reads,
        plain_uploads=active and not settings.ttl_required and unbounded,
    )


def unknown_container(account_id: int, container_id: int) -> Container:
    """For ids of which nobody knows anything."""
    return container_of(
        ContainerSettings(),
        account_id=account_id,
        account_name=str(account_id),
        container_id=container_id,
        container_name=str(container_id),
        known=False,
    )
