"""Real datacenters whose frontends reach each other over links that can be cut, and data nodes as ever, or over such too.

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

    async def put_links_before_all(self) -> None:
        """Have all processes of a datacenter find those of the others behind links, data nodes too. They are started again."""
        path = self.cluster.directory / "layout.json"
        layout: Layout = decode(path.read_bytes())
        for member in self.cluster.members:
            await asyncio.to_thread(self.cluster.kill, member.name)
        for own in layout.datacenters:
            datacenters = []
            for datacenter in layout.datacenters:
                if datacenter.id != own.id:
                    datacenter = msgspec.structs.replace(
                        datacenter,
                        frontends=[await self._behind_link(datacenter.id, entry) for entry in datacenter.frontends],
                        nodes=[await self._behind_link(datacenter.id, entry) for entry in datacenter.nodes],
                    )
                datacenters.append(datacenter)
            # A process reads it once, when it starts.
            path.write_bytes(msgspec.json.encode(msgspec.structs.replace(layout, datacenters=datacenters)))
            for member in (*self.cluster.nodes(own.name), *self.cluster.frontends(own.name)):
                await asyncio.to_thread(self.cluster.start, member.name)
        path.write_bytes(msgspec.json.encode(layout))

    async def _behind_link(self, number: int, entry: Any) -> Any:
        link = SwallowingLink(entry.port)
        await link.start()
        self.links.setdefault(number, []).append(link)
        return msgspec.structs.replace(entry, port=link.port)

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
async def cut_datacenters(
    directory: Path, count: int, *, blobs: bool = False, **options: Any
) -> AsyncIterator[CutDatacenters]:
    """So many datacenters of one data node and two frontends each; with `blobs` data nodes can be cut apart too."""
    with contextlib.ExitStack() as stack:
        # Up and down are blocking; nothing of ours runs on the loop then.
        cluster = stack.enter_context(
            running_cluster(directory, datacenters=count, nodes=1, frontends=2, partitions=1, **options)
        )
        made = CutDatacenters(cluster)
        try:
            await (made.put_links_before_all() if blobs else made.put_links_between())
            await made.open_stores()
            yield made
        finally:
            await made.close()
