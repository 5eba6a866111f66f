"""The examples in the docstrings of both clients, as they stand there, against real processes."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import ambry
from ambry import AmbryClient, AsyncAmbryClient, CacheConfig
from ambry.client.aio.encryption import AsyncEncryption
from ambry.client.aio.keys import AsyncKeys
from ambry.client.aio.upload_session import AsyncUpload
from ambry.client.sync.encryption import SyncEncryption
from ambry.client.sync.keys import SyncKeys
from ambry.client.sync.upload_session import Upload
from tests.support.clusters import shared_cluster

CALLS: list[tuple[str, type]] = [
    ("sync", AmbryClient),
    ("sync", SyncKeys),
    ("sync", SyncEncryption),
    ("async", AsyncAmbryClient),
    ("async", AsyncKeys),
    ("async", AsyncEncryption),
]
"""Each of their methods has an example of its own."""
OBJECTS: list[tuple[str, type]] = [
    *(
        ("sync", each)
        for each in (ambry.BlobReader, ambry.BlobFile, ambry.BlobWriter, ambry.Pager, ambry.ChangesFeed, Upload)
    ),
    ("async", ambry.AsyncBlobReader),
    ("async", ambry.AsyncBlobFile),
    ("async", ambry.AsyncBlobWriter),
    ("async", ambry.AsyncPager),
    ("async", ambry.AsyncChangesFeed),
    ("async", AsyncUpload),
]
"""What a call gives: the example of the class shows its methods."""
OF_EVERY_FILE = {name for name in dir(io.BufferedIOBase) if not name.startswith("_")}
INNER = {(AsyncUpload, "make"), (Upload, "make")}
"""For `put_file`, which names the blob itself."""
PARSER = doctest.DocTestParser()
CHECKER = doctest.OutputChecker()


def methods_of(cls: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(cls, inspect.isroutine) if not name.startswith("_")]


def examples_of(documented: Any) -> list[doctest.Example]:
    return PARSER.get_examples(inspect.cleandoc(documented.__doc__ or ""))


CASES = [(kind, f"{cls.__name__}.{name}", getattr(cls, name)) for kind, cls in CALLS for name in methods_of(cls)]
CASES += [(kind, cls.__name__, cls) for kind, cls in OBJECTS]


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Arguments of a client that may do everything, in a cluster that asks for keys."""
    with shared_cluster(request, tmp_path_factory, nodes=1, partitions=1, datacenters=1, auth=True) as cluster:
        key = (cluster.directory / "admin.key").read_text().strip()
        url = cluster.frontends()[0].url
        with AmbryClient(url, key=key) as client:
            client.create_account("docs")
            for kind in ("sync", "async"):
                client.create_container("docs", kind)
        yield {"endpoints": url, "key": key, "account": "docs"}


async def run(examples: list[doctest.Example], names: dict[str, Any]) -> None:
    """As at a prompt that takes `await`."""
    for example in examples:
        code = compile(example.source, "<example>", "single", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            result = eval(code, names)
            if inspect.iscoroutine(result):
                await result
        got = out.getvalue()
        assert CHECKER.check_output(example.want, got, 0), f"{example.source}gives {got!r}, and not {example.want!r}"


@pytest.mark.parametrize(("kind", "what", "documented"), CASES, ids=[what for _, what, _ in CASES])
def test_an_example_gives_what_stands_beneath_it(
    told: dict[str, str], kind: str, what: str, documented: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.bin").write_bytes(bytes(1000))
    assert ("await " in documented.__doc__) <= (kind == "async"), "the blocking client awaits nothing"
    examples = examples_of(documented)
    assert examples, f"{what} has no example"
    for example in examples:  # Both clients make accounts, in one cluster.
        example.source = re.sub(r'"team\b', f'"{kind}-team', example.source)
        example.want = re.sub(r"'team\b", f"'{kind}-team", example.want)
    options: dict[str, Any] = {**told, "container": kind, "cache": CacheConfig(directory=tmp_path / "cache")}
    names: dict[str, Any] = {name: getattr(ambry, name) for name in ambry.__all__} | {"timedelta": timedelta}

    async def within() -> None:
        async with AsyncAmbryClient(**options) as client:
            names["client"], names["blob"] = client, (await client.put(b"hello world")).id
            await run(examples, names)

    if kind == "async":
        asyncio.run(within())
        return
    with AmbryClient(**options) as client:
        names["client"], names["blob"] = client, client.put(b"hello world").id
        asyncio.run(run(examples, names))


@pytest.mark.parametrize("cls", [cls for _, cls in OBJECTS])
def test_the_example_of_a_class_shows_all_that_it_has_of_its_own(cls: type) -> None:
    shown = "".join(example.source for example in examples_of(cls))
    own = [name for name in methods_of(cls) if name not in OF_EVERY_FILE and (cls, name) not in INNER]
    assert [name for name in own if f".{name}(" not in shown] == []
