"""Who asks, and the one decision whether they may.

    who     nobody, a key, or whoever comes where no keys are asked for (`access.enabled = false`, on loopback alone)
    needs   the roles that a call takes, and where it must have them: every route says them (frontend/http/route.py)
    where   a container, and the name in it where the call is about one

`decide` is asked before anything else is done for a request. What nobody granted is denied; and whoever has nothing in a place
hears nothing of it: what they are told is the same where there is no such place.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ambry.errors import AccessDenied, Unauthenticated
from ambry.rest.access import ALL_ROLES, ANY, Grant, Role, role_of, role_texts
from frontend.container import Container

REMEMBERED_MAX = 4_096
"""Containers of which it is remembered what somebody may do there; beyond that all are looked up anew."""
_READ = Role.READ._value_


class On(enum.Enum):
    """Where a call's roles must be had."""

    NOTHING = "nothing"
    """Whoever asks is answered."""
    KEY = "key"
    """Any key will do; the call decides about each thing that it is asked about."""
    CLUSTER = "cluster"
    """Everywhere."""
    CONTAINER = "container"
    """In the container that the request enters, or for the name in it."""


class Needs(NamedTuple):
    """What a route takes."""

    roles: Role
    on: On


OPEN = Needs(Role.NONE, On.NOTHING)
ANY_KEY = Needs(Role.NONE, On.KEY)


def in_container(roles: Role) -> Needs:
    return Needs(roles, On.CONTAINER)


def in_cluster(roles: Role) -> Needs:
    return Needs(roles, On.CLUSTER)


class _Granted(NamedTuple):
    account: str
    container: str
    prefix: str
    roles: Role


class Who:
    """Somebody, and what they may do. Never changed; a key that is changed becomes another one."""

    __slots__ = ("_granted", "_whole", "anybody", "expires_ms", "hashed", "id", "key", "name", "signed", "used")

    def __init__(
        self,
        grants: Iterable[Grant] = (),
        *,
        id: str = "",
        name: str = "",
        expires_ms: int | None = None,
        key: Any = None,
        hashed: str = "",
        anybody: bool = False,
        signed: bool = False,
    ) -> None:
        """`id` and `name` are a key's; `key` is all that is known of it, `hashed` the hash of the secret that was
        sent, which may be one that another took the place of. `anybody`: no keys are asked for.

        `signed`: it is whoever has a URL that this key signed.
        """
        self.id = id
        self.name = name
        self.expires_ms = expires_ms
        """When what was sent opens nothing any more, by the wall clock; None for a key that does not expire."""
        self.key = key
        self.hashed = hashed
        self.used = False
        """Whether it was, since that was last asked."""
        self.anybody = anybody
        self.signed = signed
        self._granted = tuple(
            _Granted(each.account, each.container, each.prefix, role_of(each.roles)) for each in grants
        )
        self._whole: dict[int, Role] = {}
        """By scope: the roles for all that is in a container. Names of accounts and containers never change."""

    @property
    def known(self) -> bool:
        """Whether it is somebody with a key, or anybody where none is asked for."""
        return bool(self.id) or self.anybody

    def whole(self, container: Container) -> Role:
        """The roles for everything in a container; what it lets everybody do is not among them."""
        scope = container.account_id << 32 | container.container_id  # as `scope`, without its calls
        found = self._whole.get(scope)
        if found is None:
            found = self._roles(container, None)
            if len(self._whole) >= REMEMBERED_MAX:
                self._whole.clear()
            if container.known:
                self._whole[scope] = found
        return found

    def may(self, roles: Role, container: Container, name: str | None = None) -> bool:
        """Whether all these roles are had in a container: for everything in it, or for this name."""
        # As plain numbers: what Python does with flags takes half a microsecond each time, and every request asks.
        wanted, had = roles._value_, self.whole(container)._value_
        if container.public:
            had |= _READ
        if wanted & ~had and name is not None:
            had |= self._roles(container, name)._value_
        return not wanted & ~had

    def granted(self, roles: Role, container: Container, name: str | None = None) -> bool:
        """The same by what was granted alone, whatever the container lets everybody do."""
        missing = roles & ~self.whole(container)
        return not missing or (name is not None and not missing & ~self._roles(container, name))

    def has_any(self, container: Container, name: str | None) -> bool:
        """Whether any role is had for everything in a container, or for a name in it; what everybody has does not count."""
        return bool(self.whole(container) or (name is not None and self._roles(container, name)))

    def gained(self, container: Container, name: str, before: str) -> Role:
        """The roles that are had for a name and not for another one, as of a blob that moves from that to it."""
        return self._roles(container, name) & ~self._roles(container, before)

    def everywhere(self, roles: Role) -> bool:
        """Whether all these roles are had in all accounts, those that are made later too."""
        return not roles & ~self._had(lambda each: (each.account, each.container, each.prefix) == (ANY, ANY, ""))

    def in_account(self, roles: Role, account: str) -> bool:
        """Whether all these roles are had in every container of an account."""
        return not roles & ~self._had(
            lambda each: each.account in (ANY, account) and (each.container, each.prefix) == (ANY, "")
        )

    def concerns(self, account: str, container: str | None = None) -> bool:
        """Whether anything at all is had in an account, or in a container of it."""
        return self.anybody or any(
            each.account in (ANY, account) and (container is None or each.container in (ANY, container))
            for each in self._granted
        )

    @property
    def places(self) -> Iterable[tuple[str, str]]:
        """The account and the container of each grant, ANY for all; those of whoever comes are everywhere."""
        return ((ANY, ANY),) if self.anybody else ((each.account, each.container) for each in self._granted)

    def gives(self, grant: Grant) -> bool:
        """Whether it has all that a grant gives, so that it may hand it out."""
        return not role_of(grant.roles) & ~self._had(
            lambda each: (
                each.account in (ANY, grant.account)
                and each.container in (ANY, grant.container)
                and grant.prefix.startswith(each.prefix)
            )
        )

    def _roles(self, container: Container, name: str | None) -> Role:
        """The roles for a name, or for everything where it is None."""
        account, own = container.account_name, container.container_name
        return self._had(
            lambda each: (
                each.account in (ANY, account)
                and each.container in (ANY, own)
                and (not each.prefix or (name is not None and name.startswith(each.prefix)))
            )
        )

    def _had(self, fits: Callable[[_Granted], bool]) -> Role:
        """The roles of all that was granted and fits."""
        if self.anybody:
            return ALL_ROLES
        had = Role.NONE
        for each in self._granted:
            if fits(each):
                had |= each.roles
        return had

    def __repr__(self) -> str:
        return f"Who({self.id or ('anybody' if self.anybody else 'nobody')})"


NOBODY = Who()
ANYBODY = Who(anybody=True)


def decide(who: Who, needs: Needs, container: Container | None = None, name: str | None = None) -> None:
    """The one decision. Raises Unauthenticated where a key could change it, AccessDenied where this one does not do."""
    if needs.on is On.NOTHING:
        return
    if needs.on is On.KEY:
        allowed = who.known
    elif needs.on is On.CLUSTER:
        allowed = who.everywhere(needs.roles)
    else:
        allowed = container is not None and who.may(needs.roles, container, name)
    if not allowed:
        if needs.on is On.CLUSTER:
            raise refusal(who, needs.roles, "the whole cluster")
        if container is None or not who.concerns(container.account_name, container.container_name):
            raise refusal(who, needs.roles)
        about = "" if name is None else ", nor for that name in it"
        raise refusal(who, needs.roles, f"the container {container}{about}")


def refusal(who: Who, roles: Role, place: str = "that place, if there is one") -> Unauthenticated | AccessDenied:
    """Why somebody may not do something, in a place that they may hear of; else that is left open."""
    if not who.known:
        return Unauthenticated(
            "this takes a key: send `Authorization: Bearer ambry_...` (AMBRY_KEY, or --key-file, says it to the client; "
            "`ambry key create` makes one)"
        )
    wanted = " and ".join(role_texts(roles)) or "a key"
    told = f"the key {who.id} ({who.name})" if who.name else f"the key {who.id}"
    return AccessDenied(f"{told} does not have {wanted} in {place}; whoever has admin there can grant it")
