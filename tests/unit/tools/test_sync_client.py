"""The generator of the blocking client."""

from __future__ import annotations

import textwrap

import pytest

from tools import sync_client


def test_the_blocking_client_is_what_the_generator_makes() -> None:
    assert sync_client.drifted() == []


@pytest.mark.parametrize(
    ("awaiting", "blocking"),
    [
        ("async def f(): return await g()", "def f(): return g()"),
        ("async with await a.open() as b: pass", "with a.open() as b: pass"),
        ("async for x in y(): pass", "for x in y(): pass"),
        ("class AsyncAmbryClient(AsyncBlobs): pass", "class AmbryClient(SyncBlobs): pass"),
        ("from ambry.client.aio.calls import AsyncCalls", "from ambry.client.sync.calls import SyncCalls"),
        ("def f() -> AsyncIterator[bytes]: ...", "def f() -> Iterator[bytes]: ..."),
        ("async def __aenter__(self): ...", "def __enter__(self): ..."),
        ("x = 'awaiting is no keyword'", "x = 'awaiting is no keyword'"),
        ("ASYNCHRONOUS = a_sync", "ASYNCHRONOUS = a_sync"),
        ("# See AsyncBlobReader.", "# See BlobReader."),
    ],
)
def test_what_awaits_becomes_what_blocks(awaiting: str, blocking: str) -> None:
    assert sync_client.convert(awaiting + "\n") == blocking + "\n"


def test_docstrings_say_what_is_true_of_the_blocking_twin() -> None:
    source = '''
        class AsyncAmbryClient:
            """Close it, or use it in an `async with` statement."""
    '''
    made = sync_client.convert(textwrap.dedent(source))
    assert "AmbryClient:" in made and "use it in a `with` statement" in made


def test_an_example_awaits_nothing_in_the_blocking_twin() -> None:
    source = '''
        async def f():
            """Who awaits it has to await it.

            >>> async with await client.open(blob) as file:
            ...     await file.read()
            await this
            """
    '''
    made = sync_client.convert(textwrap.dedent(source))
    assert ">>> with client.open(blob) as file:\n    ...     file.read()\n    await this" in made
    assert "Who awaits it has to await it." in made


def test_a_change_of_one_twin_alone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sync_client.NAMES, "SyncCalls", "OtherCalls")
    assert sync_client.main(["--check"]) == 0
    monkeypatch.setitem(sync_client.NAMES, "AsyncCalls", "OtherCalls")
    assert {path.name for path in sync_client.drifted()} == {
        "accounts.py",
        "aliases.py",
        "calls.py",
        "changes.py",
        "encryption.py",
        "health.py",
        "keys.py",
        "lifecycles.py",
        "pager.py",
        "signed.py",
    }
    assert sync_client.main(["--check"]) == 1


def test_a_sentence_that_nobody_says_any_more_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sync_client.SENTENCES, "said nowhere", "")
    with pytest.raises(ValueError, match="said nowhere"):
        sync_client.drifted()
