"""What changed among the blobs of one container, read from one replica of each partition.

One is enough: what others acknowledged without it comes into its log by replication, behind what it told. With each answer come
the places in the logs of its siblings and of other datacenters' replicas up to which it has all of theirs; so any of them can
go on where it is lost. Where none of those that answer knows a place, and no other can be asked, the partition is read
from its beginning: told again, never left out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ambry.errors import AmbryError, must_have
from ambry.network.pool import Peer
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.feed import (
    CHANGES_MAX,
    TAG_SIZE,
    FeedAnswer,
    FeedChange,
    FeedOutcome,
    FeedPartition,
    FeedPlace,
    FeedReply,
    FeedRequest,
    node_hint,
)
from ambry.service.logs import get_logger
from frontend.feed.token import PartitionPosition
from frontend.router.context import RouterContext

log = get_logger()

ASK_S = 5.0
"""How long a data node may take."""
GIVEN_UP_S = 60.0
"""A partition of which nobody who answers knows a place for so long is read from its beginning, whoever may come back."""
LOST_MAX = 10_000
"""Places of which it is remembered since when nobody knows them; beyond that all begin anew."""


class BlobPage(msgspec.Struct):
    """What was told, and how far that is. Those partitions that nobody told of now are `held`."""

    changes: list[FeedChange] = msgspec.field(default_factory=list)
    positions: dict[int, PartitionPosition] = msgspec.field(default_factory=dict)
    ended: set[int] = msgspec.field(default_factory=set)
    """Partitions of which all was told that there was."""
    held: set[int] = msgspec.field(default_factory=set)
    lacking: set[bytes] = msgspec.field(default_factory=set)
    """Those of the ids asked for that were not found."""
    restarted: bool = False


class _Partition:
    """One that is being asked about, and who has not been."""

    __slots__ = ("asked", "candidates", "knows_not", "silent")

    def __init__(self, asked: FeedPartition, candidates: Iterable[Peer]) -> None:
        self.asked = asked
        self.candidates = deque(candidates)
        self.knows_not: list[Peer] = []
        """Those that tell, but do not know its places."""
        self.silent = False
        """Whether somebody did not tell who might know them."""

    @property
    def lost_key(self) -> tuple[int, bytes]:
        """Its number, and what its place is of."""
        places = self.asked.places
        return self.asked.partition, places[0].tag if places else b""


class BlobChanges:
    """Of the whole cluster, as one process asks for them."""

    def __init__(self, router: RouterContext) -> None:
        self._router = router
        self._lost: dict[tuple[int, bytes], float] = {}
        """Partitions and tags of places that nobody knew who answered, and since when, on the event loop's clock."""

    async def read(
        self,
        container: bytes,
        positions: Mapping[int, PartitionPosition],
        partitions: Iterable[int],
        *,
        limit: int,
        ids: Mapping[int, Sequence[bytes]],
        beginning: bool = True,
    ) -> BlobPage:
        """What these partitions tell after their positions; those without one from their beginning, or from now on.

        About `limit` blobs. `ids` are blobs by partition that must be there: their partitions are among these.
        """
        page = BlobPage()
        pending = [
            self._asked(number, positions.get(number), list(ids.get(number, ())), beginning=beginning)
            for number in sorted(partitions)
        ]
        while pending:
            rounds: dict[Peer, list[_Partition]] = {}
            for each in [again for one in pending if (again := self._ready(one, page)) is not None]:
                rounds.setdefault(each.candidates.popleft(), []).append(each)
            share = max(1, min(CHANGES_MAX, limit // max(1, len(rounds))))
            asking = [self._ask(container, peer, some, share, page) for peer, some in rounds.items()]
            pending = [each for left in await asyncio.gather(*asking) for each in left]
        for number, position in page.positions.items():
            page.positions[number] = self._with_known(number, position, positions.get(number))
        return page

    def _ready(self, each: _Partition, page: BlobPage) -> _Partition | None:
        """One of which somebody is left to be asked; None where it is held."""
        while each.candidates and not each.candidates[0].connected:
            each.candidates.popleft()
            each.silent = True
        if each.candidates:
            return each
        number = each.asked.partition
        now = asyncio.get_running_loop().time()
        if len(self._lost) >= LOST_MAX:
            self._lost.clear()
        lost_at = self._lost.setdefault(each.lost_key, now)
        if each.knows_not and (not each.silent or now - lost_at >= GIVEN_UP_S):
            page.restarted = True
            log.warning("the changes of a partition are told from its beginning", partition=number)
            return _Partition(
                msgspec.structs.replace(each.asked, places=[], beginning=True, floor=0, behind=0), each.knows_not
            )
        page.held.add(number)
        page.lacking.update(each.asked.ids)
        return None

    def _with_known(self, number: int, now: PartitionPosition, before: PartitionPosition | None) -> PartitionPosition:
        """With what is known of further replicas: what was told stays told. Those of this datacenter come first."""
        own = now.places[0]
        known: dict[int, FeedPlace] = {}
        for place in (*(() if before is None or now.floor else before.places), *now.places[1:]):
            other = known.get(place.tag[0])
            if place.tag[0] != own.tag[0] and (other is None or other.tag != place.tag or other.lsn < place.lsn):
                known[place.tag[0]] = place
        replicas = self._router.replicas[number]
        hints = [node_hint(peer.node.name) for peer in (*replicas.local, *replicas.remote)]
        others = (known[hint] for hint in dict.fromkeys(hints) if hint in known)
        return PartitionPosition((own, *others), now.floor, now.behind)

    def _asked(
        self, number: int, position: PartitionPosition | None, ids: list[bytes], *, beginning: bool
    ) -> _Partition:
        places = () if position is None else position.places
        floor, behind = (0, 0) if position is None else (position.floor, position.behind)
        asked = FeedPartition(number, list(places), beginning, floor, ids, behind)
        return _Partition(asked, self._candidates(number, [place.tag for place in places]))

    def _candidates(self, number: int, tags: Sequence[bytes]) -> list[Peer]:
        """Its replicas in the order in which they are asked: here before elsewhere, those that the tags hint at first."""
        replicas = self._router.replicas[number]
        ranks = {tag[:1]: rank for rank, tag in reversed(list(enumerate(tags)))}
        local, remote = list(replicas.local), list(replicas.remote)
        # Not all partitions begin with the same node.
        local = local[number % len(local) :] + local[: number % len(local)] if local else []

        def order(peer: Peer) -> tuple[bool, int]:
            return not peer.usable, ranks.get(bytes((node_hint(peer.node.name),)), TAG_SIZE + len(tags))

        return sorted(local, key=order) + sorted(remote, key=order)

    async def _ask(
        self, container: bytes, peer: Peer, some: list[_Partition], limit: int, page: BlobPage
    ) -> list[_Partition]:
        """Ask one data node; returns those partitions that are to be asked about elsewhere."""
        request = FeedRequest(container, [each.asked for each in some], limit)
        try:
            frame = await peer.request(MessageType.FEED, request, timeout_s=ASK_S)
            answers = messages.decode(frame.header, FeedReply).partitions
        except AmbryError:
            answers = []
        told = {answer.partition: answer for answer in answers}
        left: list[_Partition] = []
        for each in some:
            answer = told.get(each.asked.partition)
            if answer is not None and answer.outcome is FeedOutcome.TOLD and answer.place is not None:
                self._lost.pop(each.lost_key, None)
                self._take(answer, page)
                continue
            if answer is None or answer.outcome in (FeedOutcome.AWAY, FeedOutcome.TOLD):
                each.silent = True
            else:
                each.knows_not.append(peer)
            left.append(each)
        return left

    def _take(self, answer: FeedAnswer, page: BlobPage) -> None:
        place = must_have(answer.place, "the place that an answer goes on from")
        number = answer.partition
        page.changes += answer.changes
        page.lacking.update(answer.lacking)
        page.positions[number] = PartitionPosition((place, *answer.seen), answer.floor, answer.behind)
        if answer.at_end:
            page.ended.add(number)
