"""What every request passes before its conditions are looked at: which container it is about, and whether it may be at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ambry.clock import Clock
from ambry.errors import InvariantBroken, PreconditionFailed
from ambry.ids import BlobId
from ambry.rest import names
from ambry.rest.access import Role
from ambry.rest.values import DEFAULT_NAME
from frontend.container import Container
from frontend.containers.resolver import Containers
from frontend.http.conditions import CONDITIONAL
from frontend.http.exchange import Exchange
from frontend.http.route import Route
from frontend.rest import cross_origin
from frontend.rest.account_access import may_concern
from frontend.rest.blob import id_in_header, id_in_path
from frontend.uploads.rows import Session
from frontend.uploads.sessions import unknown_session
from frontend.who import Who, decide, in_container, refusal

OF_BLOB = frozenset({names.ACCOUNT_NAME, names.CONTAINER_NAME})
"""Headers that name the container of a new blob, or of one that is there: then it must be that blob's."""


class Entry:
    """Each of its methods is the `enter` of routes (frontend/http/route.py)."""

    def __init__(self, containers: Containers, *, clock: Clock) -> None:
        self._containers = containers
        self._clock = clock
        self.now = containers.now
        """A container that a request is about, as it was last seen."""

    async def by_path(self, exchange: Exchange) -> None:
        """For what is about the blob in the path."""
        await self._of_blob(exchange, id_in_path(exchange))

    async def by_header(self, exchange: Exchange) -> None:
        """For what is about the blob in a header."""
        await self._of_blob(exchange, id_in_header(exchange))

    async def to_upload(self, exchange: Exchange) -> None:
        """For a new blob. Raises InvalidRequest for a container that is none."""
        found = known_target(exchange.headers, self._containers)
        enter(exchange, found or await self.by_names(exchange, *_target(exchange.headers)))

    async def by_names(self, exchange: Exchange, account: str, container: str) -> Container:
        """See `asked_for`."""
        return await asked_for(exchange.context.who, exchange.needs.roles, self._containers, account, container)

    async def to_delete(self, exchange: Exchange) -> None:
        """For the delete of the blob in the path."""
        container = await self._of_blob(exchange, id_in_path(exchange))
        container.check_unlocked(self._clock.wall_ms())

    async def admit_to_session(self, exchange: Exchange, session_id: bytes, session: Session) -> Container:
        """The container of an upload session, for whoever has something in all of it or for the name that it is for, or no
        key, which is told later.

        Raises UploadNotFound for others: they do not hear that somebody uploads there.
        """
        blob_id = session.blob_id
        container = self._containers.known_id(blob_id.account, blob_id.container) or await self._containers.resolve_id(
            blob_id.account, blob_id.container
        )
        who = exchange.context.who
        if who.known and not who.has_any(container, session.name or None):
            raise unknown_session(session_id)
        return container

    def preflight(self, exchange: Exchange, allowed: Sequence[str]) -> dict[str, str]:
        """What the answer to OPTIONS says beside `Allow` to a browser that asks for a page."""
        if "origin" not in exchange.headers:
            return {}
        return cross_origin.preflight(exchange, allowed, self._containers.directory.origins)

    async def _of_blob(self, exchange: Exchange, blob_id: BlobId) -> Container:
        found = await asked_for_id(exchange.context.who, exchange.needs.roles, self._containers, blob_id)
        enter(exchange, found)
        check_said(exchange, found)
        return found


def check_said(exchange: Exchange, container: Container) -> None:
    """Raises PreconditionFailed where headers name another container than the blob's."""
    for name, own in ((names.ACCOUNT_NAME, container.account_name), (names.CONTAINER_NAME, container.container_name)):
        said = exchange.headers.get(name, own)
        if said != own:
            raise PreconditionFailed(f"{name} says {said[:64]!r}, and the blob is in {container}")


def enter(exchange: Exchange, container: Container) -> None:
    """From now on the request is about this container, and the name in it if it has one already.

    Here it is decided whether it may be. Raises Unauthenticated, AccessDenied.
    """
    context = exchange.context
    context.container = container
    decide(context.who, exchange.needs, container, exchange.name)
    context.as_everybody = container.public and not context.who.granted(exchange.needs.roles, container, exchange.name)
    exchange.decided = True
    # Not before: what its pages are told would tell anybody that it is there.
    cross_origin.let_in(exchange, container)
    container.check_active()


def check_may_compare(exchange: Exchange, route: Route) -> None:
    """Whether a request that has entered may be held against what stands there, so that its answer tells of that.

    A tag is a digest of content: whoever may not read could find out, tag by tag, whether they have guessed it. `*` asks for no
    more than whether something stands there. Raises AccessDenied.
    """
    headers, needs = exchange.headers, exchange.needs
    if CONDITIONAL.isdisjoint(headers) or route.select is None or needs.roles & Role.READ:
        return
    compared = sorted(name for name in CONDITIONAL & headers.keys() if headers[name].strip(" \t") != "*")
    container, who = container_of(exchange), exchange.context.who
    if compared and not who.may(Role.READ, container, exchange.name):
        about = "" if exchange.name is None else " or for that name in it"
        raise refusal(
            who,
            Role.READ,
            f"the container {container}{about}, which {compared[0]} takes: its answer tells of the content",
        )


async def asked_for(who: Who, roles: Role, containers: Containers, account: str, container: str) -> Container:
    """A container by its names, for who asks for these roles in it.

    Whoever has nothing there causes no look for it, and hears the same whether there is one: only what is known here may let
    everybody read. Raises Unauthenticated, AccessDenied; InvalidRequest for one that is none, Unavailable.
    """
    found = containers.known(account, container)
    if found is not None:
        return found
    if not who.concerns(account, container):
        raise refusal(who, roles)
    return await containers.resolve(account, container)


async def asked_for_id(who: Who, roles: Role, containers: Containers, blob_id: BlobId) -> Container:
    """The same for the container in which a blob with this id would be."""
    account, container = blob_id.account, blob_id.container
    found = containers.known_id(account, container)
    if found is not None:
        return found
    if not may_concern(who, containers.directory, account, container):
        raise refusal(who, roles)
    return await containers.resolve_id(account, container)


def decide_on(exchange: Exchange, roles: Role, container: Container, name: str | None = None) -> None:
    """Whether it may be done to something beside what the request is about. Raises Unauthenticated, AccessDenied."""
    decide(exchange.context.who, in_container(roles), container, name)


def container_of(exchange: Exchange) -> Container:
    """The container that a request is about, which has entered."""
    container = exchange.context.container
    if container is None:
        raise InvariantBroken("a request came here before it was known which container it is about")
    return container


def known_target(headers: Mapping[str, str], containers: Containers) -> Container | None:
    """The container that a new blob goes to, if it is known."""
    return containers.default if OF_BLOB.isdisjoint(headers) else containers.known(*_target(headers))


def _target(headers: Mapping[str, str]) -> tuple[str, str]:
    return headers.get(names.ACCOUNT_NAME, DEFAULT_NAME), headers.get(names.CONTAINER_NAME, DEFAULT_NAME)
