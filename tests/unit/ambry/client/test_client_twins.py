"""The two clients are twins, and importing ambry is cheap."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ambry
from ambry import AmbryClient, AsyncAmbryClient, InvalidRequest, RetryPolicy
from ambry.client.aio.encryption import AsyncEncryption
from ambry.client.aio.keys import AsyncKeys
from ambry.client.aio.upload_session import AsyncUpload
from ambry.client.sync.encryption import SyncEncryption
from ambry.client.sync.keys import SyncKeys
from ambry.client.sync.upload_session import Upload
from tests.support.stub_frontend import StubFrontend
from tools import sync_client


def written_here(member: object) -> bool:
    return inspect.isfunction(member) or inspect.ismethod(member)


def public(cls: type) -> dict[str, list[tuple[str, Any, Any]]]:
    names = [name for name, _ in inspect.getmembers(cls, written_here) if not name.startswith("_")]
    return {
        name: [
            (each.name, each.kind, each.default) for each in inspect.signature(getattr(cls, name)).parameters.values()
        ]
        for name in [*names, "__init__"]
    }


PAIRS = [
    (AmbryClient, AsyncAmbryClient),
    (ambry.BlobReader, ambry.AsyncBlobReader),
    (ambry.BlobFile, ambry.AsyncBlobFile),
    (ambry.BlobWriter, ambry.AsyncBlobWriter),
    (ambry.Pager, ambry.AsyncPager),
    (ambry.ChangesFeed, ambry.AsyncChangesFeed),
    (Upload, AsyncUpload),
    (SyncKeys, AsyncKeys),
    (SyncEncryption, AsyncEncryption),
]
OF_FILES = {name for name in dir(io.RawIOBase) + dir(io.BufferedIOBase) if not name.startswith("_")}
"""What the blocking ones have beside, as they are files of Python's."""


@pytest.mark.parametrize(("blocking", "awaiting"), PAIRS, ids=[pair[0].__name__ for pair in PAIRS])
def test_the_twins_have_the_same_methods_and_parameters(blocking: type, awaiting: type) -> None:
    ours, theirs = public(blocking), public(awaiting)
    assert {name: of for name, of in ours.items() if name in theirs or name not in OF_FILES} == theirs


@pytest.mark.parametrize(("blocking", "awaiting"), PAIRS, ids=[pair[0].__name__ for pair in PAIRS])
def test_the_twins_are_told_of_in_the_same_words(blocking: type, awaiting: type) -> None:
    """The reader's are written by hand, and may differ in what is true of one; its examples are the same."""
    for name in [*public(awaiting), None]:
        both = [each if name is None else getattr(each, name) for each in (blocking, awaiting)]
        ours, theirs = (inspect.cleandoc(each.__doc__ or "") for each in both)
        if blocking is ambry.BlobReader:
            ours, theirs = ("\n".join(re.findall(r"^(?:>>>|[.]{3}) .*$", text, re.M)) for text in (ours, theirs))
        assert ours == sync_client.twin_of(theirs), name


def test_the_clients_have_what_people_look_for() -> None:
    assert {"put", "get", "get_file", "head", "delete", "health", "close"} <= set(public(AmbryClient))


def output_of(code: str) -> str:
    root = str(Path(ambry.__file__).parents[1])
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root).stdout


LATER = {
    *("aiohttp", "structlog", "lmdb", "rich", "click", "asyncio", "logging", "subprocess", "concurrent.futures"),
    *("http.client", "email", "ssl", "hashlib", "tomllib", "difflib", "msgspec", "uuid", "ambry.config"),
    *("ambry.client.accounts", "ambry.client.cache", "ambry.client.changes", "ambry.client.coalescing"),
    *("ambry.client.datasets", "ambry.client.encryption", "ambry.client.keys", "ambry.client.names"),
    *("ambry.client.profiles", "ambry.client.usage", "ambry.rest.access", "ambry.rest.accounts", "ambry.rest.frames"),
}
"""What no program pays for that reads and stores blobs over HTTP: each takes milliseconds to import."""


def test_a_get_and_a_put_load_nothing_that_they_do_not_use(stub: StubFrontend) -> None:
    """`from ambry import AmbryClient` took a tenth of a second: e-mail, TLS, TOML, and the types of every resource."""
    blob = stub.add(b"data")
    code = (
        "import sys, json, ambry; light = sorted(sys.modules);"
        f"client = ambry.AmbryClient({stub.url!r}); client.get_bytes({str(blob)!r}); client.put(b'x', ttl=60);"
        "print(json.dumps([light, sorted(sys.modules)]))"
    )
    light, loaded = json.loads(output_of(code))
    assert [name for name in light if name.startswith("ambry.") or name in LATER] == []
    assert sorted(LATER & set(loaded)) == []


def test_the_async_client_without_aiohttp_says_what_to_install() -> None:
    code = (
        "import sys, asyncio; sys.modules['aiohttp'] = None; import ambry\n"
        "try: asyncio.run(ambry.AsyncAmbryClient('http://127.0.0.1:1').put(b'x'))\n"
        "except ImportError as error: print(error)"
    )
    assert "pip install 'ambry[async]'" in output_of(code)


def test_every_exported_name_can_be_had_and_an_unknown_one_is_an_attribute_error() -> None:
    for name in ambry._EXPORTS:
        assert getattr(ambry, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'AmbryCleint'"):
        ambry.AmbryCleint  # noqa: B018


@pytest.mark.parametrize("cls", [AmbryClient, AsyncAmbryClient])
def test_a_pickled_client_keeps_its_configuration(cls: type[AmbryClient]) -> None:
    client = cls("http://a:1,http://b:2", account="ml", retry=RetryPolicy(max_attempts=2))
    copy = pickle.loads(pickle.dumps(client))
    assert type(copy) is cls
    assert copy.endpoints == ("http://a:1", "http://b:2")
    assert copy._options == client._options


def test_everything_exported_comes_with_a_star() -> None:
    """`from ambry import *` gave nothing, and dir() the modules that ambry imports for itself."""
    assert output_of("from ambry import *; print(AmbryClient.__name__, Timeout.__name__)") == "AmbryClient Timeout\n"
    assert {"TYPE_CHECKING", "importlib", "annotations"} & set(dir(ambry)) == set()


async def test_a_reader_is_opened_by_async_with_as_its_twin_is_by_with(stub: StubFrontend) -> None:
    """`async with client.get(id)` was a TypeError: it took `async with await client.get(id)`, and nothing said so."""
    blob = stub.add(b"0123456789")
    async with AsyncAmbryClient(stub.url) as client:
        async with client.get(blob) as reader:
            assert await reader.read(4) == b"0123"
        assert reader.closed
        async with await client.get(blob) as again, asyncio.timeout(30):
            assert await again.read() == b"0123456789"
        one, two = await asyncio.gather(client.get(blob), asyncio.create_task(client.get(blob)))
        assert await one.read() + await two.read() == b"01234567890123456789"
        with pytest.raises(InvalidRequest):
            async with client.get("nonsense"):
                raise AssertionError("it is no id")
        task = asyncio.create_task(client.get(blob))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        client.get(blob).close()
