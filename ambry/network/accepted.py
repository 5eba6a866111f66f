"""The connections that a process serves: how many there may be, whose, and what is looked after on all of them.

    strangers   did not say who they are. Whoever has not for some seconds is closed where there are more than a few of them
    members     nodes of the layout. There is always room for them; of each name the newest few stay
    guests      everybody else of the cluster, frontends say. Beyond their bound those that have been silent go, the
                longest first (who is well pings every second); where nobody has, the hello is refused as Overloaded

Where there is TLS a stranger is answered its hello alone, and nobody says hello but as the one that its certificate names.

So whoever opens connections and says nothing takes room from others like it, and from nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import msgspec

from ambry.clock import Clock
from ambry.errors import AmbryError, Overloaded
from ambry.network.connection import RpcConnection
from ambry.network.identity import check_shown
from ambry.network.line import REFUSED_DRAIN_S, refused
from ambry.network.requests import Requests
from ambry.network.responding import Handler, Responder, Tally
from ambry.network.serving import ServingConnection
from ambry.network.unread import Unread
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Hello
from ambry.service.logs import get_logger
from ambry.service.tls import NodeRole, NodeTls
from ambry.service.trust import Trust
from ambry.service.turned_away import TurnedAway

log = get_logger()

STRANGERS_MAX = 64
STRANGE_S = 5.0
"""So many may stay longer than this without a hello; for so long as many as would have room as guests."""
OF_A_MEMBER_MAX = 4
"""One process has one connection to another; more are left over of those before it."""
SILENT_S = 15.0
EXPIRE_EVERY_S = 0.25
LOOK_EVERY = 8
"""So many times less often it is noted who was silent, and how much each has read."""
READ_BYTES_PER_S = 64 << 10
SLOW_BYTES = int(READ_BYTES_PER_S * EXPIRE_EVERY_S * LOOK_EVERY)
"""Who reads no more of its answers between two looks may go on only while there is room for those of others."""


class Guest(msgspec.Struct):
    """One connection: who it is, and since when it is here, and has said nothing, on the event loop's clock."""

    connection: ServingConnection
    came_at: float
    since: float
    name: str = ""
    member: bool = False
    pieces: int = 0
    read_bytes: int = 0
    unread_bytes: int = 0
    """Both as they were when it was last noted."""
    ends_at: float = 0.0
    """When it is ended, as its certificate is not good any more; 0: it is."""

    def silent_s(self, now: float) -> float:
        if self.connection.pieces_received != self.pieces:
            self.pieces = self.connection.pieces_received
            self.since = now
        return now - self.since


class Accepted:
    """Those of one process. `handlers` answer their requests; a hello that is answered without an error introduces one.

    `members` are the names of the layout's nodes; `guests_max` bounds the introduced connections of others. `tls` tells whose
    certificates are not good any more: they begin nothing, and are closed when what they began is answered, or soon.
    """

    def __init__(
        self,
        handlers: Mapping[int, Handler],
        *,
        members: Collection[str],
        guests_max: int,
        requests: Requests,
        unread: Unread,
        clock: Clock,
        tls: NodeTls | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._clock = clock
        self._tls = tls
        self._judged_by: Trust | None = None
        self._turned_away: TurnedAway | None = None
        self._handlers = {**handlers, MessageType.HELLO: self._hello}
        self._answer_hello = handlers[MessageType.HELLO]
        self._members = frozenset(members)
        self._guests_max = guests_max
        self._requests = requests
        self._unread = unread
        self._tally = tally
        self._strangers: dict[RpcConnection, Guest] = {}
        self._known: dict[RpcConnection, Guest] = {}
        """Both in the order in which they came to be so."""
        self._timer: asyncio.TimerHandle | None = None
        self._looks = 0
        self._crowded = False
        self.closed = 0
        """How many were closed or refused, as there were too many."""

    @property
    def count(self) -> int:
        return len(self._known) + len(self._strangers)

    def start(self) -> None:
        """Begin to look after them, on the event loop that serves them."""
        self._timer = asyncio.get_running_loop().call_later(EXPIRE_EVERY_S, self._look)

    def accept(self) -> ServingConnection:
        """A protocol for a connection that comes."""
        made = ServingConnection(
            handlers=self._handlers,
            tally=self._tally,
            on_lost=self._lost,
            unread=self._unread,
            requests=self._requests,
            on_denied=self._denied,
        )
        if len(self._strangers) >= max(STRANGERS_MAX, self._guests_max - len(self._known)):
            self._end_one_of_many(next(iter(self._strangers.values())), "strangers")
        now = asyncio.get_running_loop().time()
        self._strangers[made] = Guest(made, now, now)
        return made

    def _denied(self, peer: str, error: AmbryError) -> None:
        if self._turned_away is None:
            self._turned_away = TurnedAway(
                "a node", asyncio.get_running_loop().time, over="for what its certificate says"
            )
        self._turned_away.tell(peer, error.message)

    def close(self) -> None:
        """Close all of them, after what is written was sent."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in [*self._strangers, *self._known]:
            connection.close()

    # --- who they are ---

    def _hello(self, frame: Frame, responder: Responder) -> None:
        connection = responder.connection
        hello = messages.decode(frame.header, Hello)
        name = hello.name
        check_shown(connection.shown, cluster=hello.cluster, name=name)
        # A frontend of a data node's name takes no room from it.
        identity = None if connection.shown is None else connection.shown.identity
        member = name in self._members and (identity is None or identity.role is NodeRole.DATANODE)
        if connection in self._strangers and not member and not self._has_room_for_a_guest():
            self.closed += 1
            raise Overloaded(
                f"{self._guests_max} connections are open here already; close some, or raise node.connections_max"
            )
        self._answer_hello(frame, responder)
        guest = self._strangers.pop(connection, None)
        if guest is None:
            return  # it says so again, or is gone
        connection.introduced()
        guest.name, guest.member = name, member
        self._known[connection] = guest
        if member:
            of_it = [other for other in self._known.values() if other.member and other.name == name]
            if len(of_it) > OF_A_MEMBER_MAX:
                self._end_one_of_many(of_it[0], name)

    def _has_room_for_a_guest(self) -> bool:
        guests = [guest for guest in self._known.values() if not guest.member]
        if len(guests) < self._guests_max:
            self._crowded = False
            return True
        now = asyncio.get_running_loop().time()
        silent = max(guests, key=lambda guest: guest.silent_s(now))
        if silent.silent_s(now) < SILENT_S:
            return False
        self._end_one_of_many(silent, "guests")
        return True

    def _end_one_of_many(self, guest: Guest, of: str) -> None:
        if not self._crowded:
            # Once for a crowd: it may be a flood.
            self._crowded = True
            log.warning(
                "too many connections: the oldest that says nothing is closed", peer=guest.connection.peer, of=of
            )
        self._end(guest)

    def _end(self, guest: Guest) -> None:
        """Close it at once. It counts no more from now on, nor what it holds, though its transport ends later."""
        self.closed += 1
        self._lost(guest.connection)
        self._unread.connections.pop(guest.connection, None)
        guest.connection.abort()

    def _lost(self, connection: RpcConnection) -> None:
        self._strangers.pop(connection, None)
        self._known.pop(connection, None)

    # --- looking after them ---

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._looks += 1
        note = self._looks % LOOK_EVERY == 0
        for guest in [*self._strangers.values(), *self._known.values()]:
            guest.connection.expire(now)
            if note:
                guest.silent_s(now)
        for guest in [guest for guest in (*self._strangers.values(), *self._known.values()) if guest.ends_at]:
            if guest.ends_at <= now:
                guest.connection.abort()
            elif guest.connection.idle:
                guest.connection.close()
        if self._tls is not None and (note or self._tls.trust is not self._judged_by):
            self._refuse_who_is_not_trusted(self._tls, now)
        if note:
            self._end_who_does_not_read()
        for stranger in list(self._strangers.values())[: max(0, len(self._strangers) - STRANGERS_MAX)]:
            if now - stranger.came_at > STRANGE_S:
                self._end_one_of_many(stranger, "strangers")
        if len(self._strangers) < STRANGERS_MAX // 2:
            self._crowded = False
        self._timer = loop.call_later(EXPIRE_EVERY_S, self._look)

    def _refuse_who_is_not_trusted(self, tls: NodeTls, now: float) -> None:
        self._judged_by = tls.trust
        wall_ms = self._clock.wall_ms()
        for guest in [*self._strangers.values(), *self._known.values()]:
            reason = "" if guest.ends_at else refused(guest.connection, tls, wall_ms)
            if reason:
                log.warning("a node's certificate is not good any more", peer=_named(guest), reason=reason)
                guest.connection.refuse_all(reason)
                guest.ends_at = now + REFUSED_DRAIN_S

    def _end_who_does_not_read(self) -> None:
        """While answers fill what the process has for them, end those that read theirs too slowly, the slowest first."""
        slow: list[tuple[int, Guest]] = []
        for guest in [*self._strangers.values(), *self._known.values()]:
            read = guest.connection.read_bytes
            since, guest.read_bytes = read - guest.read_bytes, read
            had, guest.unread_bytes = guest.unread_bytes, guest.connection.unread_bytes
            if min(had, guest.unread_bytes) > READ_BYTES_PER_S and since < SLOW_BYTES:
                slow.append((since, guest))
        for since, guest in sorted(slow, key=lambda item: item[0]):
            if not self._unread.full():
                break
            log.warning(
                "connection closed: it does not read, others wait", peer=guest.connection.peer, read_bytes=since
            )
            self._end(guest)


def _named(guest: Guest) -> str:
    """Who by its certificate, and where."""
    shown = guest.connection.shown
    who = "nobody" if shown is None or shown.identity is None else shown.identity.uri
    return f"{who} at {guest.connection.peer}"
