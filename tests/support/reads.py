"""Every way in which a client gives the bytes of a blob, as a call that says whether they were right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ambry import RetryPolicy
from ambry.fs.filesystem import AmbryFileSystem
from tests.support.scripted_frontend import BLOB, DATA
from tests.support.twins import Twins

Read = Callable[[Any, Path], bool]
"""With a client and a directory of its own: True, or it raises."""


def get_bytes(client: Any, place: Path) -> bool:
    return bool(client.get_bytes(BLOB) == DATA)


def get_range(client: Any, place: Path) -> bool:
    return bool(client.get_bytes(BLOB, range=(7, 18)) == DATA[7:18])


def get_into(client: Any, place: Path) -> bool:
    buffer = bytearray(len(DATA) + 5)
    return bool(client.get_into(BLOB, buffer) == len(DATA) and buffer == DATA + bytes(5))


def get_file(client: Any, place: Path) -> bool:
    try:
        client.get_file(BLOB, place / "out", overwrite=True)
    except BaseException:
        assert list(place.iterdir()) == [], "something of a download that failed was left"
        raise
    found = (place / "out").read_bytes() == DATA and list(place.iterdir()) == [place / "out"]
    (place / "out").unlink()
    return found


def opened(client: Any, place: Path) -> bool:
    return bool(client.open(BLOB).read() == DATA)


def cached(client: Any, place: Path) -> bool:
    kept = place / "cache" / "blobs"
    try:
        path = client.cached_path(BLOB, cache_dir=place / "cache")
    except BaseException:
        assert not kept.exists() or list(kept.iterdir()) == [], "something of a download that failed is in the cache"
        raise
    found = path.read_bytes() == DATA
    path.unlink()
    return bool(found)


READS: dict[str, Read] = {each.__name__: each for each in (get_bytes, get_range, get_into, get_file, opened, cached)}
WHOLE = {name: read for name, read in READS.items() if name != "get_range"}
"""Those that prove what they give by its digest."""


def files_by_url(url: str, retry: RetryPolicy) -> dict[str, Read]:
    """The same by way of fsspec, which has the blocking client alone; no client is passed."""
    fs = AmbryFileSystem(endpoints=url, retry=retry, skip_instance_cache=True, use_listings_cache=False)
    path = f"ambry+id://{BLOB}"

    def whole(client: Any, place: Path) -> bool:
        return bool(fs.cat_file(path) == DATA)

    def some(client: Any, place: Path) -> bool:
        return bool(fs.cat_file(path, 7, 18) == DATA[7:18])

    def file(client: Any, place: Path) -> bool:
        with fs.open(path) as reading:
            return bool(reading.read() == DATA)

    def copied(client: Any, place: Path) -> bool:
        try:
            fs.get_file(path, str(place / "out"))
        except BaseException:
            assert list(place.iterdir()) == [], "something of a download that failed was left"
            raise
        found = (place / "out").read_bytes() == DATA
        (place / "out").unlink()
        return found

    return {"fs.cat": whole, "fs.cat of a range": some, "fs.open": file, "fs.get": copied}


def reads_of(twins: Twins, url: str, retry: RetryPolicy) -> dict[str, Read]:
    """All that this twin has."""
    return READS | (files_by_url(url, retry) if twins.kind == "sync" else {})
