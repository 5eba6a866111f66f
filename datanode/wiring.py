"""How the parts of a data node are put together: the one place, for the server and for every test.

Collaborators come in through constructors, so the order below is the order of who needs whom. Nothing runs yet and no file is
open when `build` returns: see datanode/parts.py, and datanode/server.py for a whole life.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from ambry.clock import Clock
from ambry.clustermap.model import ClusterMap
from ambry.errors import ConfigInvalid
from ambry.network.introduction import INSTANCE_SIZE, Introduction
from ambry.network.later import Later
from ambry.network.pool import PeerPool
from ambry.network.responding import Handler
from ambry.service.tls import NodeTls
from datanode.checkpointer import Checkpointer
from datanode.config import DataNodeConfig
from datanode.disk import Disk
from datanode.handlers.batch_gets import BatchGetHandlers
from datanode.handlers.batch_puts import BatchPutHandlers
from datanode.handlers.blobs import BlobHandlers
from datanode.handlers.counting import RequestCounts
from datanode.handlers.feed import FeedHandlers
from datanode.handlers.gets import GetHandlers
from datanode.handlers.greeting import GreetingHandlers
from datanode.handlers.reading import Reading
from datanode.handlers.replication import ReplicationHandlers
from datanode.handlers.segments import SegmentHandlers
from datanode.handlers.upkeep import UpkeepHandlers
from datanode.parts import Parts
from datanode.replicas import Replica, Replicas
from datanode.replication.authority import Authority
from datanode.replication.bootstrap import Bootstrapper
from datanode.replication.bootstrap_copy import Taking
from datanode.replication.bootstrap_source import BootstrapSource
from datanode.replication.comparer import Comparer
from datanode.replication.comparison import PairComparer
from datanode.replication.container_feed import ContainerFeed
from datanode.replication.container_watch import Watches
from datanode.replication.cursor import Cursors
from datanode.replication.digest_reader import DigestReader
from datanode.replication.feed import ChangeFeed
from datanode.replication.healer import Healer
from datanode.replication.horizon import Horizon
from datanode.replication.intake import Intake
from datanode.replication.losses import Losses
from datanode.replication.merger import Merger
from datanode.replication.pace import Allowance, Pace
from datanode.replication.recovery import Recovery
from datanode.replication.replicator import Replicator
from datanode.replication.silence import Silence
from datanode.replication.subscriptions import Followers, Publications
from datanode.store.files import Files
from datanode.upkeep import states
from datanode.upkeep.asides import Asides
from datanode.upkeep.clocks import NodeClocks
from datanode.upkeep.compactor import Compactor
from datanode.upkeep.fates import Fates
from datanode.upkeep.hangs import DiskWatch
from datanode.upkeep.room import Room
from datanode.upkeep.scrubber import Scrubber
from datanode.upkeep.sweeper import ChunkSweeper
from datanode.write_queue import WriteQueue

BOOTSTRAP_BYTES_MAX = 64 << 20
"""Of segments that are copied, in the memory of this node at a time."""


def build(
    config: DataNodeConfig,
    cluster_map: ClusterMap,
    *,
    clock: Clock,
    random_source: random.Random,
    files: Files,
    tls: NodeTls | None = None,
    pool: PeerPool | None = None,
    disk: Disk | None = None,
    load: Callable[[], float] = lambda: 0.0,
) -> Parts:
    """Build the node `config.node.name` of a map; `tls` is what nodes show each other.
    `pool` and `disk` are made from the configuration unless they are given.

    `load` tells what share of a core the event loop uses (ambry/service/loop_watch.py): background work gives way to it.
    Raises ConfigInvalid when the map has no such node.
    """
    own = cluster_map.nodes.get(config.node.name)
    if own is None:
        raise ConfigInvalid(f"node.name: the layout {config.node.layout} has no node {config.node.name}")
    store, replication, retention = config.store, config.replication, config.compaction
    sharing = {node.name for partition in cluster_map.partitions_of(own.name) for node in partition.replicas}
    clocks = NodeClocks(clock, retention=retention, sharing=sharing - {own.name})
    introduction = Introduction(
        cluster=cluster_map.cluster,
        name=own.name,
        layout_version=cluster_map.version,
        instance=random_source.randbytes(INSTANCE_SIZE),
        clock=clock,
        told_ms=clocks.judge.told_ms,
    )
    if pool is None:
        pool = PeerPool(
            [node for node in cluster_map.nodes.values() if node.name != own.name],
            introduction=introduction,
            random_source=random_source,
            on_sample=clocks.sampled,
            tls=tls,
        )
    if disk is None:
        disk = Disk(threads=store.io_threads, clock=clock, load=load)
    writes = WriteQueue(pending_bytes_max=store.pending_bytes_max, clock=clock)
    cursors = Cursors(own)
    publications = Publications()
    followers = Followers(publications)
    authority = Authority(
        cursors,
        clock=clock,
        note_change=lambda partition: checkpointer.soon(partition),
        on_turn=followers.stir,
    )

    def opened(replica: Replica) -> None:
        clocks.opened(replica)
        cursors.restore(replica.partition, replica.store.checkpoint.tokens)
        publications.watchers(replica.partition.id)[checkpointer.notice_of(replica.partition.id)] = None
        for part in (checkpointer, authority, recovery, scrubber, sweeper):
            part.opened(replica)
        checkpointed(replica)
        publications.notify(replica.partition.id)  # who waits on its log as it was before asks anew

    def checkpointed(replica: Replica) -> None:
        digests.note(replica)
        compactor.note(replica)

    replicas = Replicas(
        cluster=cluster_map.cluster,
        data_dir=Path(config.node.data_dir),
        config=store,
        files=files,
        clock=clock,
        random_source=random_source,
        disk=disk,
        writes=writes,
        on_open=opened,
        watchers_of=publications.watchers,
    )
    checkpointer = Checkpointer(
        replicas,
        disk=disk,
        config=store,
        clock=clock,
        tokens=cursors,
        right_ms=clocks.judge.right_ms,
        on_written=checkpointed,
    )
    cursors.on_moved = checkpointer.changed
    recovery = Recovery(replicas, cursors, authority, disk=disk, clock=clock)
    states.watch(replicas)
    horizon = Horizon(replicas, cluster_map.partitions_of(own.name), own_name=own.name, clock=clock)
    feed = ChangeFeed(
        replicas,
        followers,
        disk=disk,
        horizon=horizon,
        nodes=cluster_map.nodes,
        clock=clock,
        known_of=cursors.known_of,
        on_beyond=recovery.recognise,
    )
    intake = Intake(
        certain_retention=clocks.certain_retention,
        fetch_bytes_max=replication.fetch_bytes_max,
        timeout_s=replication.request_timeout_ms / 1000,
    )
    healer = Healer(
        own=own,
        replicas=replicas,
        pool=pool,
        cursors=cursors,
        authority=authority,
        recovery=recovery,
        intake=intake,
        disk=disk,
        clock=clock,
    )
    data_dir = Path(config.node.data_dir)
    losses = Losses(
        replicas=replicas, healer=healer, intake=intake, disk=disk, files=files, data_dir=data_dir, clock=clock
    )
    taking = Taking(
        disk=disk,
        checkpointer=checkpointer,
        pace=Pace(config.bootstrap.rate_bytes_per_s, busy=writes.busy),
        room=Allowance(BOOTSTRAP_BYTES_MAX),
        certain_retention=clocks.certain_retention,
    )
    bootstrapper = Bootstrapper(
        taking, own=own, replicas=replicas, pool=pool, cursors=cursors, config=config.bootstrap, clock=clock
    )
    merger = Merger(intake, healer, certain_retention=clocks.certain_retention)
    replicator = Replicator(
        cluster_map=cluster_map,
        own=own,
        replicas=replicas,
        pool=pool,
        cursors=cursors,
        authority=authority,
        recovery=recovery,
        merger=merger,
        bootstrapper=bootstrapper,
        silence=Silence(clock),
        config=replication,
    )
    digests = DigestReader(replicas, disk=disk, checkpointer=checkpointer)
    pairs = PairComparer(
        cursors=cursors,
        authority=authority,
        reader=digests,
        healer=healer,
        take_in=merger.take_in,
        clock=clocks.agreed,
        certain_retention=clocks.certain_retention,
        timeout_s=replication.request_timeout_ms / 1000,
    )
    comparer = Comparer(replicas, pairs, digests, own=own, pool=pool, config=replication, clock=clock)
    scrubber = Scrubber(
        replicas,
        disk=disk,
        busy=writes.busy,
        config=config.scrub,
        retention=retention,
        clock=clocks.agreed,
        on_damaged=healer.note_damaged,
    )
    compactor = Compactor(
        replicas,
        disk=disk,
        busy=writes.busy,
        checkpointer=checkpointer,
        config=retention,
        segment_size_bytes=store.segment_size_bytes,
        reserve_bytes=store.reserve_bytes,
        clock=clock,
        certain_ms=clocks.judge.certain_ms,
        horizon=horizon.lsn,
        ask_for_scrub=scrubber.ask,
        on_missing=healer.note_damaged,
    )
    later = Later(own_name=own.name)
    upkeep = UpkeepHandlers(replicas, digests, later=later, certain_retention=clocks.certain_retention)
    fates = Fates(cluster_map=cluster_map, own_name=own.name, pool=pool, local=upkeep.fates)
    sweeper = ChunkSweeper(
        replicas,
        disk=disk,
        config=config.sweep,
        clock=clocks.agreed,
        doubt=clocks.judge.doubt,
        oracle=fates,
        make_durable=intake.append,
    )
    reading = Reading(disk=disk, own_name=own.name, on_damaged=healer.note_damaged)
    blobs = BlobHandlers(
        replicas,
        own_name=own.name,
        reading=reading,
        later=later,
        retention=retention,
        clock=clocks.agreed,
        certain_ms=clocks.judge.certain_ms,
    )
    gets = GetHandlers(
        replicas,
        own_name=own.name,
        reading=reading,
        later=later,
        inline_read_bytes_max=store.inline_read_bytes_max,
        clock=clocks.agreed,
    )
    peers = ReplicationHandlers(replicas, feed=feed, reading=reading, digests=digests, later=later)
    pace = Pace(config.bootstrap.rate_bytes_per_s, busy=writes.busy, load=disk.load)
    source = BootstrapSource(replicas, disk=disk, pace=pace, tells=feed.tells_all)
    segments = SegmentHandlers(source, later=later)
    asides = Asides(files, data_dir, disk=disk, clock=clock)
    disk_watch = DiskWatch(replicas, disk, directory=data_dir)
    room = Room(files, Path(config.node.data_dir), disk=disk, reserve_bytes=store.reserve_bytes)
    greeting = GreetingHandlers(introduction, room)
    batch_gets = BatchGetHandlers(replicas, reading=reading, later=later, clock=clocks.agreed)
    batch_puts = BatchPutHandlers(replicas, own_name=own.name)
    container_feed = ContainerFeed(replicas, cursors, own_name=own.name, disk=disk, tells=feed.tells_all)
    watches = Watches(publications, replicas, [partition.id for partition in cluster_map.partitions_of(own.name)])
    tables = (
        greeting.table(),
        blobs.table(),
        gets.table(),
        batch_gets.table(),
        batch_puts.table(),
        peers.table(),
        segments.table(),
        upkeep.table(),
        FeedHandlers(container_feed, watches, later=later).table(),
    )
    handlers: Mapping[int, Handler] = {type: handler for table in tables for type, handler in table.items()}
    return Parts(
        config=config,
        map=cluster_map,
        own=own,
        files=files,
        disk=disk,
        writes=writes,
        pool=pool,
        replicas=replicas,
        checkpointer=checkpointer,
        feed=feed,
        horizon=horizon,
        cursors=cursors,
        intake=intake,
        healer=healer,
        losses=losses,
        authority=authority,
        bootstrapper=bootstrapper,
        replicator=replicator,
        comparer=comparer,
        scrubber=scrubber,
        compactor=compactor,
        fates=fates,
        sweeper=sweeper,
        room=room,
        disk_watch=disk_watch,
        asides=asides,
        later=later,
        handlers=handlers,
        counts=RequestCounts(),
        clocks=clocks,
    )
