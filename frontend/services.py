"""What a frontend does with its metadata store, put together: what its API calls, and the loops behind it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ambry.clock import Clock, system_secret
from ambry.network.introduction import Introduction
from ambry.service.listener import Socket
from ambry.service.tls import NodeTls
from ambry.service.worker import Tick, WorkerRegistry
from frontend.access.key_sync import KeySync
from frontend.access.key_use import KeyUse
from frontend.access.keys import Keys
from frontend.access.verified import Access
from frontend.config import FrontendConfig
from frontend.containers.changes import ContainerChanges
from frontend.containers.elsewhere import ContainersElsewhere
from frontend.containers.quota import Quotas
from frontend.containers.recount import Recount, counted_by
from frontend.containers.resolver import Containers
from frontend.containers.standing import StandingRules
from frontend.containers.sync import ContainerSync
from frontend.containers.use_counts import UseCounts
from frontend.datasets.datasets import Datasets
from frontend.datasets.retention import DatasetRetention
from frontend.encryption.changes import KeyChanges
from frontend.encryption.keyring import Keyring
from frontend.feed.following import ChangeFollowing
from frontend.feed.reader import FeedReader
from frontend.feed.token import TokenCodec
from frontend.feed.watching import Notices
from frontend.following.datacenters import OtherDatacenters
from frontend.idempotency.keys import IdempotencyKeys
from frontend.metadata.leases import OWNER_SIZE, Leases
from frontend.metadata.store import MetadataStore
from frontend.names.intents import Intents
from frontend.names.janitor import NameJanitor
from frontend.names.lives import NameLives
from frontend.names.names import Names
from frontend.router.context import RouterContext
from frontend.uploads.bound import BoundLives
from frontend.uploads.janitor import UploadJanitor
from frontend.uploads.places import Places
from frontend.uploads.sessions import Sessions

CHECKPOINTS_WITHIN_S = 60.0
"""Twice `store.checkpoint_interval_s` of data nodes. With a second for each partition, as they take turns where little changed,
every change is in a checkpoint after so long."""
ASK_OTHERS_SHARE = 0.25
"""Of the time that a request has: how long it waits for what other datacenters know."""


DOUBT_S = 1.0
"""Between two looks whether the time is known by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One of them, to be run as a worker."""

    name: str
    tick: Tick
    progress: Callable[[], dict[str, Any]] = dict


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataServices:
    """Everything that stands on the store of one frontend. Nothing runs before `start`."""

    sync: ContainerSync
    changes: ContainerChanges
    quotas: Quotas
    sessions: Sessions
    bound: BoundLives
    names: Names
    intents: Intents
    lives: NameLives
    standing: StandingRules
    keys: IdempotencyKeys
    others: OtherDatacenters
    datasets: Datasets
    feed: ChangeFollowing
    notices: Notices
    access_keys: Keys
    keyring: Keyring | None
    """None where nobody keeps master keys."""
    encryption: KeyChanges | None
    key_use: KeyUse
    key_sync: KeySync
    use_counts: UseCounts
    loops: tuple[Loop, ...]

    async def start(self, workers: WorkerRegistry, rpc_sockets: list[Socket]) -> None:
        """Learn which accounts and containers there are, and start what runs beside requests.

        The sockets listen for frontends of other datacenters, and are ours from now on.
        """
        await self.others.start(rpc_sockets)
        await self.sync.tick()
        await self.key_sync.tick()
        for loop in self.loops:
            workers.add(loop.name, loop.tick, progress=loop.progress)

    async def close(self) -> None:
        """Give back what nobody else has while it is here. Nothing runs any more."""
        await self.notices.stop()
        await self.quotas.close()
        await self.use_counts.close()
        if self.keyring is not None:
            await self.keyring.close()


def metadata_services(
    store: MetadataStore,
    router: RouterContext,
    containers: Containers,
    config: FrontendConfig,
    *,
    introduction: Introduction,
    access: Access,
    keyring: Keyring | None = None,
    clock: Clock,
    random_source: random.Random,
    in_doubt: Callable[[], bool] = lambda: False,
    tls: NodeTls | None = None,
) -> MetadataServices:
    """`clock` has the time that most data nodes have: it dates what other datacenters read.

    `in_doubt` says that nobody was heard of whose time it could be: nothing ends by it then.
    """

    def when_sure(tick: Tick) -> Tick:
        async def sure() -> float:
            return DOUBT_S if in_doubt() else await tick()

        return sure

    key_sync = KeySync(access, store)
    key_use = KeyUse(access, store, clock=clock)
    use_counts = UseCounts(store, clock=clock, is_key=lambda id: not access.certain or id in access.keys)
    sync = ContainerSync(containers, store, clock=clock)
    leases = Leases(store, clock=clock, owner=random_source.randbytes(OWNER_SIZE))
    counted = counted_by(router, random_source)
    quotas = Quotas(store, counted, clock=clock, random_source=random_source)
    settled_after_s = CHECKPOINTS_WITHIN_S + len(router.map.partitions)
    recount = Recount(
        store, containers, counted, leases, clock=clock, random_source=random_source, settled_after_s=settled_after_s
    )
    uploads = config.uploads
    places = Places(
        store, random_source=random_source, sessions_max=uploads.sessions_max, bytes_max=uploads.sessions_bytes_max
    )
    sessions = Sessions(
        store, router.keys, places, clock=clock, random_source=random_source, idle_s=uploads.session_idle_s
    )
    bound = BoundLives(store, router, clock=clock)
    janitor = UploadJanitor(sessions, router, containers, leases, bound, clock=clock, max_s=uploads.session_max_s)
    others = OtherDatacenters(
        store,
        router.map,
        introduction,
        leases,
        within_s=config.router.request_timeout_ms / 1000 * ASK_OTHERS_SHARE,
        clock=clock,
        random_source=random_source,
        tls=tls,
    )
    if len(router.map.datacenters) > 1:
        containers.elsewhere = ContainersElsewhere(
            store, others.everywhere.newest, clock=clock, within_s=others.everywhere.within_s
        )
    encryption = None
    if keyring is not None:
        keyring.elsewhere = others.everywhere.ask_others
        # An upload of one request keeps the key that it began with to its end.
        settled_s = max(config.encryption.cache_s, config.router.upload_max_s)
        encryption = KeyChanges(keyring, containers, store, clock=clock, settled_s=settled_s)
    names = Names(store, others.everywhere.ask_others, container_shown=containers.shown)
    intents = Intents(
        store,
        clock=clock,
        random_source=random_source,
        request_s=config.router.request_timeout_ms / 1000,
        upload_max_s=config.router.upload_max_s,
    )
    lives = NameLives(store, router, intents)
    name_janitor = NameJanitor(store, lives, leases, clock=clock)
    datasets = Datasets(store, others.everywhere.ask_others, container_shown=containers.shown)
    standing = StandingRules(containers, datacenter=store.datacenter)
    retention = DatasetRetention(datasets, lives, router, containers, standing, leases, clock=clock)
    notices = Notices(store, router, random_source=random_source)
    feed = ChangeFollowing(FeedReader(store, router), notices, TokenCodec(router.map.cluster))
    following = [Loop(name=each.name, tick=each.tick, progress=each.describe) for each in others.followers]
    return MetadataServices(
        sync=sync,
        changes=ContainerChanges(
            containers, sync, store, clock=clock, geo=len(router.map.datacenters) > 1, keys=keyring
        ),
        quotas=quotas,
        sessions=sessions,
        bound=bound,
        names=names,
        intents=intents,
        lives=lives,
        standing=standing,
        keys=IdempotencyKeys(
            store, intents, router.keys, clock=clock, random_source=random_source, kept_s=uploads.idempotency_s
        ),
        others=others,
        datasets=datasets,
        feed=feed,
        notices=notices,
        keyring=keyring,
        encryption=encryption,
        access_keys=Keys(access, key_sync, store, clock=clock, chance=system_secret),
        key_use=key_use,
        key_sync=key_sync,
        use_counts=use_counts,
        loops=(
            Loop(name="containers", tick=sync.tick),
            Loop(name="keys", tick=key_sync.tick),
            Loop(name="key_use", tick=key_use.tick),
            Loop(name="use_counts", tick=use_counts.tick),
            Loop(name="quotas", tick=quotas.tick),
            Loop(name="recount", tick=recount.tick),
            Loop(name="upload_sessions", tick=when_sure(janitor.tick), progress=janitor.progress),
            Loop(name="names", tick=when_sure(name_janitor.tick), progress=name_janitor.progress),
            *following,
            *([] if keyring is None else [Loop(name="encryption", tick=keyring.tick, progress=keyring.progress)]),
            Loop(name="datasets", tick=when_sure(retention.tick), progress=retention.progress),
        ),
    )
