"""Random histories of some nodes in one process: what clients, operators and disks do to them, in any order.

Puts, deletes, undeletes and longer lives at two of three replicas, as frontends make them; pulling, healing, compaction,
comparison, scrub and sweep; several at once, and a node that ends amid them: stopped, killed, or with the power cut. Links
that fail, days that pass, disks that err or are full. And one replica at a time, or all of a datacenter where there are two,
loses anything: it is wiped, or put back from a backup. Indexes are deleted, or lose what was written last.
The seed fixes what is done; where threads of the disk are under way when a node ends it cannot fix.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from ambry.blob import NEVER_MS, BlobState, join
from ambry.errors import AmbryError, BlobDeleted
from ambry.network.pool import Peer
from datanode.config import CompactionSection, SweepSection
from datanode.replication.healer import RETRY_MAX_S
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.fake_files import Backup, FakeFiles
from tests.support.history_end import compare_all, pull_from_all, refusals, settled, without_authority
from tests.support.history_ledger import Ledger, Promise, PromiseBroken
from tests.support.samples import PARTITION, content

HOUR_S = 3_600
DAY_S = 24 * HOUR_S
SUCCESS_TARGET = 2
DOWN_MAX = 2
MID_S = 0.5
"""How long what is under way when a node ends may take, before its caller gives it up."""
TRIES = 3
FORGETFUL_SHARE = 0.3
"""Of histories, on disks that lie about the syncs of an index: a power cut takes as many as this of its transactions back."""
TRANSACTIONS_LOST_MAX = 2
FAILING_CALLS = (
    *("pwritev", "fdatasync", "fsync", "allocate", "truncate", "pread"),
    *("create", "open", "rename", "unlink", "sync_directory"),
)
ERRORS = (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.ENOMEM, errno.EDQUOT, errno.EFBIG)

Step = Callable[[], Coroutine[Any, Any, None]]


class History:
    """A cluster, what happens to it, and in `ledger` what it promised. `said` tells the steps, for whoever looks into one."""

    def __init__(self, root: Path, seed: int, datacenters: tuple[int, ...]) -> None:
        self.cluster = DirectCluster(
            root,
            cluster_map(*datacenters),
            sections={
                "compaction": CompactionSection(dead_share_min=0.05),
                "sweep": SweepSection(interval_s=HOUR_S),
            },
        )
        self.ledger = Ledger(self.cluster)
        self.said: list[str] = []
        self._random = random.Random(seed)
        self._homes = "abc"[: len(datacenters)]
        if random.Random(f"index of {seed}").random() < FORGETFUL_SHARE:
            self._say("power cuts take transactions of indexes back")
            for node in self.cluster.nodes.values():
                node.files = FakeFiles(node.files.root, wholly_simulated=True)
                node.files.lose_transactions_max = TRANSACTIONS_LOST_MAX
        self._empty = {name: node.backup() for name, node in self.cluster.nodes.items()}
        self._backups: dict[str, Backup] = {}
        self._backups_of_all: dict[str, Backup] = {}

    async def run(self, steps: int) -> None:
        """So many steps, and after each a look at what is promised; at the end all is mended, compared and judged."""
        often: list[Step] = [self.put] * 6 + [self.update] * 5 + [self.pull] * 12 + [self.compact] * 4
        often += [self.compare] * 2 + [self.several_at_once] * 6 + [self.checkpoint] * 2 + [self.pass_time] * 2
        rarely: list[Step] = [self.end_one] * 2 + [self.end_one_amid_work] * 4 + [self.start_one] * 3
        rarely += [self.turn_link, self.heal_links, self.settle, self.mend_disks, self.fail_a_call, self.fail_a_call]
        rarely += [self.back_up, self.put_back, self.wipe, self.delete_an_index, self.put_a_datacenter_back]
        rarely += [self.back_up_all] * 2
        await self.cluster.start()
        await self.cluster.settle()
        for _ in range(steps):
            await self._random.choice(often + rarely)()
            self.ledger.nothing_is_hidden()
        await self._finish()

    def _say(self, *words: object) -> None:
        self.said.append(" ".join(map(str, words)))

    def _up(self) -> list[DirectNode]:
        return [self.cluster[name] for name in sorted(self.cluster.running)]

    def _down(self) -> list[str]:
        return [name for name in self.cluster.nodes if name not in self.cluster.running]

    def _open_node(self) -> DirectNode | None:
        """One whose replica is open."""
        up = self._up()
        node = self._random.choice(up) if up else None
        return node if node is not None and node.parts.replicas.get(PARTITION) is not None else None

    def _names(self, home: str) -> list[str]:
        return [name for name in sorted(self.cluster.nodes) if name[0] == home]

    # --- clients ---

    async def _at_all(self, home: str, ask: Callable[[DirectNode], Awaitable[object]]) -> dict[str, AmbryError | None]:
        """Ask the nodes of a datacenter at once, sometimes but for one. None: it took it."""
        names = self._names(home)
        left_out = self._random.sample(names, self._random.choice([0, 0, 0, 1]))
        asked = [name for name in names if name in self.cluster.running and name not in left_out]

        async def one(name: str) -> AmbryError | None:
            try:
                await ask(self.cluster[name])
            except AmbryError as error:
                return error
            return None

        return dict(zip(asked, await asyncio.gather(*map(one, asked)), strict=True))

    async def put(self) -> None:
        home = self._random.choice(self._homes)
        for _ in range(self._random.randint(1, 3)):
            now_ms = self.cluster.clock.wall_ms()
            expires_at_ms = self._random.choice([NEVER_MS, NEVER_MS, NEVER_MS, now_ms + 40 * DAY_S * 1000])
            state = BlobState(0, False, expires_at_ms)
            promise = self.ledger.begin(home, self._random.choice([100, 2_000, 9_000]), state, now_ms)
            payload = content(promise.number, promise.size)

            async def ask(
                node: DirectNode, promise: Promise = promise, payload: bytes = payload, state: BlobState = state
            ) -> None:
                await node.put(promise.raw_id, payload, state=state)

            answers = await self._at_all(home, ask)
            promise.holders = {name for name, error in answers.items() if error is None}
            if len(promise.holders) >= SUCCESS_TARGET:
                promise.acknowledged = True
                promise.took(state)
            self._say("put", promise.number, home, answers)

    async def update(self) -> None:
        """A delete, an undelete, or a life without end, by a frontend that has read the blob before."""
        acknowledged = [promise for promise in self.ledger.promises.values() if promise.acknowledged]
        if not acknowledged:
            return
        promise = self._random.choice(acknowledged)
        home = self._random.choice(self._homes)
        old, deleted_at_ms = BlobState(), 0
        for name in self._names(home):
            node = self.cluster.running.get(name)
            if node is not None and node.parts.replicas.get(PARTITION) is not None:
                old = join(old, node.state(promise.raw_id) or BlobState())
                deleted_at_ms = max(deleted_at_ms, node.deleted_at_ms(promise.raw_id))
        if old == BlobState():
            return
        kind = self._random.choice(["delete", "delete", "undelete", "keep for ever"])
        if (kind == "undelete") != old.deleted:
            return
        new = {
            "delete": BlobState(old.life_version, True, old.expires_at_ms),
            "undelete": BlobState(old.life_version + 1, False, old.expires_at_ms),
            "keep for ever": BlobState(old.life_version, False, NEVER_MS),
        }[kind]
        undone_ms = deleted_at_ms if kind == "undelete" else 0
        try:
            answers = await self._at_all(home, lambda node: node.update(promise.raw_id, new, deleted_at_ms=undone_ms))
        except asyncio.CancelledError:
            promise.tried(new)  # some replica may have taken it
            raise
        if any(not isinstance(answer, BlobDeleted) for answer in answers.values()):
            promise.tried(new)
        if sum(answer is None for answer in answers.values()) >= SUCCESS_TARGET:
            promise.took(new)
        self._say(kind, promise.number, home, new, answers)

    # --- what nodes do ---

    async def pull(self) -> None:
        node = self._open_node()
        if node is None:
            await asyncio.sleep(0)
            return
        peer = self._random.choice(sorted(node.peers))
        with refusals():
            node.hear_clocks()
            for name in (f"pull:{peer}", f"pull:{peer}:standby"):
                if name in node.ticks:
                    await node.tick(name)
            await node.heal()
        self._say("pull", node.name, peer)

    async def compact(self) -> None:
        node = self._open_node()
        if node is None:
            return
        self._say("compact", node.name)
        with refusals():
            await node.parts.checkpointer.checkpoint(node.replica)
            for _ in range(20):
                replica = node.parts.replicas.get(PARTITION)
                if replica is None or not await node.parts.compactor.compact(replica):
                    break

    async def compare(self) -> None:
        node = self._open_node()
        if node is None:
            return
        peer = node.peers[self._random.choice(sorted(node.peers))]
        repair, fresh = self._random.random() < 0.8, self._random.random() < 0.7
        with refusals():
            result = await node.parts.comparer.compare(node.replica, cast(Peer, peer), repair=repair, fresh=fresh)
            self._say("compare", node.name, peer.node.name, result)

    async def checkpoint(self) -> None:
        node = self._open_node()
        if node is not None:
            self._say("checkpoint", node.name)
            with refusals():
                await node.parts.checkpointer.checkpoint(node.replica)

    async def scrub(self) -> None:
        await self._tick("scrub")

    async def sweep(self) -> None:
        await self._tick("sweep")

    async def _tick(self, name: str) -> None:
        up = self._up()
        if up:
            with refusals():
                await self._random.choice(up).tick(name)

    async def several_at_once(self) -> None:
        steps = [self.put, self.update, self.pull, self.pull, self.pull, self.compact, self.compare]
        chosen = self._random.sample([*steps, self.scrub, self.sweep], 4)
        await asyncio.gather(*(step() for step in chosen))

    # --- ends and starts ---

    async def end_one(self) -> None:
        up = self._up()
        if len(up) <= max(0, len(self.cluster.nodes) - DOWN_MAX):
            return
        node = self._random.choice(up)
        how = self._random.choice(["stop", "kill", "power cut"])
        self._say(how, node.name)
        match how:
            case "stop":
                await node.stop()
            case "kill":
                await node.kill()
            case _:
                await node.power_cut(self._random.randrange(1 << 30))

    async def end_one_amid_work(self) -> None:
        steps = [self.put, self.update, self.pull, self.pull, self.pull, self.compact, self.compact]
        chosen = self._random.sample([*steps, self.compare, self.checkpoint], 4)
        turns, seconds = self._random.choice([0, 1, 3, 10, 30]), self._random.choice([0, 0, 0.001, 0.003, 0.01])

        async def end() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.sleep(seconds)
            await self.end_one()

        async def guarded(step: Step) -> None:
            try:
                await asyncio.wait_for(step(), MID_S)
            except PromiseBroken:
                raise
            except Exception as error:  # whatever a node does that is ending: nobody hears of it any more
                self._say("ended amid", step.__name__, repr(error))

        await asyncio.gather(end(), *map(guarded, chosen))

    async def start_one(self) -> None:
        down = self._down()
        if down:
            name = self._random.choice(down)
            self._say("start", name)
            await self.cluster[name].start()

    # --- the world around ---

    async def turn_link(self) -> None:
        node = self.cluster[self._random.choice(sorted(self.cluster.nodes))]
        peer = node.peers[self._random.choice(sorted(node.peers))]
        peer.reachable = not peer.reachable
        self._say("link", node.name, peer.node.name, peer.reachable)

    async def heal_links(self) -> None:
        for node in self.cluster.nodes.values():
            for peer in node.peers.values():
                peer.reachable = True

    async def pass_time(self) -> None:
        """Replication is never days behind where a peer can be reached."""
        seconds = self._random.choice([1, 60, HOUR_S, DAY_S, 3 * DAY_S, 10 * DAY_S])
        self._say("time", seconds)
        for node in self._up():
            await pull_from_all(node)
        self.cluster.clock.advance(seconds)
        for node in self._up():
            node.hear_clocks()

    async def fail_a_call(self) -> None:
        up = self._up()
        if up:
            node = self._random.choice(up)
            call, number = self._random.choice(FAILING_CALLS), self._random.choice(ERRORS)
            node.files.fail(call, number, at=self._random.choice([1, 1, 2, 3, 5]))
            self._say("fail", node.name, call, errno.errorcode[number])

    async def mend_disks(self) -> None:
        """And whoever is on duty opens again what is fenced."""
        for node in self.cluster.nodes.values():
            node.files.mend()
            if node.name in self.cluster.running:
                with refusals():
                    await node.parts.replicas.reopen(PARTITION)

    # --- what replicas lose ---

    async def back_up(self) -> None:
        up = self._up()
        if up:
            node = self._random.choice(up)
            self._backups[node.name] = node.backup()
            self._say("back up", node.name)

    async def put_back(self) -> None:
        if self.ledger.at_risk or not self._backups:
            return
        name = self._random.choice(sorted(self._backups))
        self.ledger.at_risk.add(name)
        self._say("put back", name)
        await self.cluster[name].put_back(self._backups.pop(name))

    async def wipe(self) -> None:
        """It starts some time later."""
        if self.ledger.at_risk:
            return
        name = self._random.choice(sorted(self.cluster.nodes))
        self.ledger.at_risk.add(name)
        self._say("wipe", name)
        if name in self.cluster.running:
            await self.cluster[name].kill()
        self.cluster[name].files.put_back(self._empty[name])

    async def delete_an_index(self) -> None:
        down = self._down()
        if down:
            name = self._random.choice(down)
            self._say("delete the index of", name)
            self.cluster[name].files.remove_indexes()

    async def back_up_all(self) -> None:
        if len(self._homes) > 1:
            self._backups_of_all = {node.name: node.backup() for node in self._up()}

    async def put_a_datacenter_back(self) -> None:
        """The other one is whole then."""
        if self.ledger.at_risk or not self._backups_of_all or not await self._settled():
            return
        home = self._random.choice(self._homes)
        self._say("put back all of", home)
        for name in self._names(home):
            if name in self._backups_of_all:
                self.ledger.at_risk.add(name)
                await self.cluster[name].put_back(self._backups_of_all[name])
        self._backups_of_all = {}

    # --- the end ---

    async def settle(self) -> None:
        await self._settled()

    async def _settled(self) -> bool:
        """Mend everything and let replication go on; whether all replicas may say "not found" then."""
        await self.heal_links()
        await self.mend_disks()
        whole = await settled(self.cluster)
        if whole:
            self.ledger.whole_again()
        self._say("settled" if whole else "not settled")
        return whole

    async def _finish(self) -> None:
        for _ in range(TRIES):
            if await self._settled():
                break
            self.cluster.clock.advance(15)
        else:
            raise PromiseBroken(f"authority stays away: {without_authority(self.cluster)}")
        for _ in range(2):
            await compare_all(self.cluster)
            self.cluster.clock.advance(RETRY_MAX_S)  # what could not be fetched is tried again
            await self._settled()
        await self.ledger.everybody_agrees()
