"""Real datacenters whose frontends reach each other over links that can be cut, while data nodes reach each other as ever.

A test is one more process of every datacenter: it has the metadata files open that their frontends share, and writes to them
as those do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from ambry.clustermap.layout import Layout, decode
from deploy.local_cluster import LocalCluster
from frontend.metadata.store import MetadataStore
from tests.support.clusters import running_cluster
from tests.support.metadata_stores import sqlite_store
from tests.support.rest import page
from tests.support.swallowing_link import SwallowingLink


class CutDatacenters:
    """A cluster that is up. Datacenters are counted from 1."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.stores: dict[int, MetadataStore] = {}
        self.links: dict[int, list[SwallowingLink]] = {}
        """Those into each datacenter."""

    def metadata_path(self, number: int) -> Path:
        return self.cluster.directory / f"metadata-dc{number}.sqlite"

    def frontends(self, number: int) -> list[str]:
        return [member.name for member in self.cluster.frontends(f"dc{number}")]

    async def put_links_between(self) -> None:
        """Have frontends find each other behind links. They are started again for it."""
        path = self.cluster.directory / "layout.json"
        layout: Layout = decode(path.read_bytes())
        datacenters = []
        for datacenter in layout.datacenters:
            entries = []
            for entry in datacenter.frontends:
                link = SwallowingLink(entry.port)
                await link.start()
                self.links.setdefault(datacenter.id, []).append(link)
                entries.append(msgspec.structs.replace(entry, port=link.port))
                config = self.cluster.member(entry.name).config
                section = f"[frontend]\nrpc_port = {entry.port}"
                config.write_text(config.read_text("utf-8").replace("[frontend]", section))
                await asyncio.to_thread(self.cluster.kill, entry.name)
            datacenters.append(msgspec.structs.replace(datacenter, frontends=entries))
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(layout, datacenters=datacenters)))
        for number in self.links:
            for name in self.frontends(number):
                await asyncio.to_thread(self.cluster.start, name)

    async def open_stores(self) -> None:
        """Those that are not open."""
        for number in self.links.keys() - self.stores.keys():
            store = sqlite_store(
                self.metadata_path(number), datacenter=number, cluster=self.cluster.shape.cluster, timeout_s=30.0
            )
            await store.reach()
            self.stores[number] = store

    async def close_store(self, number: int) -> None:
        await self.stores.pop(number).close()

    def cut(self, numbers: list[int] | None = None) -> None:
        """Let nothing through into these datacenters, or any."""
        for number in numbers or self.links:
            for link in self.links[number]:
                link.swallows = True

    def heal(self) -> None:
        for links in self.links.values():
            for link in links:
                link.swallows = False

    async def lines(self, number: int) -> list[dict[str, Any]]:
        """What the frontends of a datacenter say of the others."""
        found: list[dict[str, Any]] = []
        for member in self.cluster.frontends(f"dc{number}"):
            with contextlib.suppress(OSError, AssertionError):  # it may have been killed
                said = await asyncio.to_thread(page, member.admin_url, "/metadata")
                found += [{**line, "frontend": member.name} for line in said]
        return found

    async def who_follows(self, number: int) -> list[str]:
        return [line["frontend"] for line in await self.lines(number) if line["follows"]]

    async def close(self) -> None:
        for store in self.stores.values():
            await store.close()
        for links in self.links.values():
            for link in links:
                link.stop()


@contextlib.asynccontextmanager
async def cut_datacenters(directory: Path, count: int, **options: Any) -> AsyncIterator[CutDatacenters]:
    """So many datacenters of one data node and two frontends each."""
    with contextlib.ExitStack() as stack:
        # Up and down are blocking; nothing of ours runs on the loop then.
        cluster = stack.enter_context(
            running_cluster(directory, datacenters=count, nodes=1, frontends=2, partitions=1, **options)
        )
        made = CutDatacenters(cluster)
        try:
            await made.put_links_between()
            await made.open_stores()
            yield made
        finally:
            await made.close()
