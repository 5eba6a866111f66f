"""What a history of a few nodes (tests/support/histories.py) was promised, and whether the nodes keep it.

Of a blob two states are known: what was acknowledged at least, and what may have happened at most. An update whose answer
did not come, or that fewer than two replicas took, may have happened, for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from ambry.blob import BlobState, join
from ambry.ids import BlobId, IdKind
from tests.support.direct_node import DirectCluster, DirectNode
from tests.support.samples import PARTITION, blob_id, content


class PromiseBroken(AssertionError):
    """Something that was acknowledged is lost, hidden or revived, or replicas differ."""


@dataclass(slots=True)
class Promise:
    """One blob: put in the datacenter `home` (a letter), with `size` bytes."""

    number: int
    home: str
    size: int
    raw_id: bytes
    possible: BlobState
    least: BlobState = field(default_factory=BlobState)
    acknowledged: bool = False
    holders: set[str] = field(default_factory=set)
    """Nodes that have it as far as anybody was told."""

    def tried(self, state: BlobState) -> None:
        self.possible = join(self.possible, state)

    def took(self, state: BlobState) -> None:
        self.least = join(self.least, state)

    def undisputed(self, now_ms: int) -> bool:
        """Whether it was acknowledged, and cannot have been deleted, nor have expired."""
        untouched = not self.possible.deleted and self.possible.life_version == 0
        return self.acknowledged and untouched and not self.least.expired(now_ms)


class Ledger:
    """All blobs of a history.

    `at_risk`: nodes that may have lost anything (wiped, put back from a backup) since the cluster was whole the last time.
    """

    def __init__(self, cluster: DirectCluster) -> None:
        self.promises: dict[int, Promise] = {}
        self.at_risk: set[str] = set()
        self._cluster = cluster
        self._excused: set[int] = set()

    def begin(self, home: str, size: int, state: BlobState, made_at_ms: int) -> Promise:
        number = len(self.promises) + 1
        promise = Promise(number, home, size, dated_id(number, made_at_ms), state)
        self.promises[number] = promise
        return promise

    def whole_again(self) -> None:
        """All have caught up with all, and may say "not found"."""
        self.at_risk.clear()
        self._excused.clear()
        for promise in self.promises.values():
            if promise.acknowledged:
                promise.holders = set(self._cluster.nodes)

    def nothing_is_hidden(self) -> None:
        """No two replicas of a datacenter say "not found" of what was acknowledged there. Raises PromiseBroken.

        But for what docs/decisions/0014 gives up: after three seconds a replica that was put back believes those that it
        reaches, though the only ones that have a blob are away.
        """
        now_ms = self._cluster.clock.wall_ms()
        self._excuse()
        for promise in self.promises.values():
            if promise.number in self._excused or not promise.undisputed(now_ms):
                continue
            denying = [
                node.name
                for node in self._up()
                if node.name[0] == promise.home
                and (replica := node.parts.replicas.get(PARTITION)) is not None
                and replica.store.authority
                and replica.store.lookup(promise.raw_id) is None
            ]
            if len(denying) > 1:
                raise PromiseBroken(f"{denying} say that blob {promise.number} was not found: {promise}")

    def _excuse(self) -> None:
        for lost in self.at_risk:
            away = {name for name in self._cluster.nodes if self._away(name, of=lost)}
            for promise in self.promises.values():
                if promise.holders - self.at_risk <= away:
                    self._excused.add(promise.number)

    def _away(self, name: str, *, of: str) -> bool:
        if name == of:
            return False
        return name not in self._cluster.running or not self._cluster[of].peers[name].reachable

    async def everybody_agrees(self) -> None:
        """Once all have compared everything with all. Raises PromiseBroken."""
        now_ms = self._cluster.clock.wall_ms()
        for promise in self.promises.values():
            if not promise.possible.expired(now_ms):
                self._judge(promise, now_ms)
                await self._read(promise)

    def _judge(self, promise: Promise, now_ms: int) -> None:
        states = {node.name: node.state(promise.raw_id) for node in self._up()}
        holding = {node.name for node in self._up() if node.holds(promise.raw_id)}
        known = set(states.values())
        alive = _alive(known)
        what = f"{promise}; states {states}, held by {sorted(holding)}"
        if promise.undisputed(now_ms) and not alive:
            raise PromiseBroken(f"lost: {what}")
        if promise.least.deleted and promise.possible == promise.least and alive:
            raise PromiseBroken(f"revived: {what}")
        if alive and (len(known) > 1 or len(holding) < len(states)):
            raise PromiseBroken(f"replicas differ: {what}")

    async def _read(self, promise: Promise) -> None:
        for node in self._up():
            if _alive([node.state(promise.raw_id)]) and node.holds(promise.raw_id):
                _, body = await node.get(promise.raw_id)
                if body != content(promise.number, promise.size):
                    raise PromiseBroken(f"{node.name} has other bytes: {promise}")

    def _up(self) -> list[DirectNode]:
        return [self._cluster[name] for name in sorted(self._cluster.running)]


def _alive(states: Iterable[BlobState | None]) -> Set[BlobState]:
    return {state for state in states if state is not None and not state.deleted}


def dated_id(number: int, made_at_ms: int) -> bytes:
    """The raw id of blob `number`, with the time of its making, as frontends draw them."""
    sample = BlobId(blob_id(number))
    return BlobId.make(
        kind=IdKind.SIMPLE,
        datacenter=sample.datacenter,
        account=sample.account,
        container=sample.container,
        partition=PARTITION,
        uuid=made_at_ms.to_bytes(6, "big") + b"\x70\x00\x80\x00" + number.to_bytes(6, "big"),
    ).raw
