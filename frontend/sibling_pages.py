"""What the admin port of a supervisor tells of its processes: their readiness, and their metrics and other pages in one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import aiohttp
from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from ambry.service import metrics

LOOK_EVERY_S = 0.5
ASK_TIMEOUT_S = 2.0
STOPPING = ["stopping"]
"""What one says that drains."""
LABEL = "worker"
OF_THE_PROCESS = ("process_", "python_", "ambry_accept_exhausted")


class _Said(NamedTuple):
    """What one says of itself at /readyz."""

    reasons: list[str]
    warnings: list[str]


class Siblings:
    """Asks the processes on their admin ports. `serving` tells which there are, by number."""

    def __init__(self, serving: Callable[[], Mapping[int, int]]) -> None:
        self._serving = serving
        self._session: aiohttp.ClientSession | None = None
        self._said: dict[int, _Said] = {}

    def unready(self, number: int) -> list[str]:
        """Why this one should get no requests, as it said a moment ago; it accepts only when it is ready itself."""
        said = self._said.get(number)
        return [] if said is None else said.reasons

    def warnings(self) -> list[str]:
        """What somebody should see to, as they said a moment ago; what several say, once."""
        return list(dict.fromkeys(each for said in self._said.values() for each in said.warnings))

    async def watch(self) -> None:
        """Ask all how they are, again and again."""
        while True:
            serving = dict(self._serving())
            found = await asyncio.gather(*(self._ask_ready(port) for port in serving.values()))
            self._said = dict(zip(serving, found, strict=True))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _ask_ready(self, port: int) -> _Said:
        try:
            async with self._client().get(self._url(port, "/readyz")) as answer:
                said = await answer.json()
                return _Said([*map(str, said.get("reasons", []))], [*map(str, said.get("warnings", []))])
        except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError) as error:
            return _Said([f"it does not answer on its admin port: {str(error) or type(error).__name__}"], [])

    async def metrics(self) -> bytes:
        """The metrics of all, each with the label `worker`; those of the supervisor itself have none."""
        serving = dict(self._serving())
        texts = await asyncio.gather(*(self._ask_metrics(port) for port in serving.values()))
        return await asyncio.to_thread(_joined, dict(zip(serving, texts, strict=True)))

    async def _ask_metrics(self, port: int) -> str:
        try:
            async with self._client().get(self._url(port, "/metrics")) as answer:
                return await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return ""  # it is ending: its numbers are gone with it

    async def metadata(self) -> list[dict[str, Any]]:
        """The pages of all about the other datacenters, one after the other, each line with the number of its process."""
        serving = dict(self._serving())
        found = await asyncio.gather(*(self._ask_metadata(port) for port in serving.values()))
        return [{**line, LABEL: number} for number, lines in zip(serving, found, strict=True) for line in lines]

    async def _ask_metadata(self, port: int) -> list[dict[str, Any]]:
        try:
            async with self._client().get(self._url(port, "/metadata")) as answer:
                return list(await answer.json())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return []  # it is ending: another follows in its place

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_TIMEOUT_S))
        return self._session

    @staticmethod
    def _url(port: int, path: str) -> str:
        return f"http://127.0.0.1:{port}{path}"

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _joined(texts: Mapping[int, str]) -> bytes:
    """One page of several, with a label that tells them apart."""
    families: dict[str, Metric] = {}
    for own in metrics.registry.collect():
        if not own.name.startswith(OF_THE_PROCESS):
            continue  # this process serves nothing: its zeros would be taken for a frontend's
        # Some collectors give the same object every time.
        families[own.name] = copy = Metric(own.name, own.documentation, own.type)
        copy.samples = list(own.samples)
    for number, text in texts.items():
        for family in text_string_to_metric_families(text):
            known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                labels = {**sample.labels, LABEL: str(number)}
                known.add_sample(sample.name, labels, sample.value, sample.timestamp, sample.exemplar)
    return generate_latest(_Families(list(families.values())))
