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


def get_ranges(client: Any, place: Path) -> bool:
    """Two ranges that are not joined: two parts of one answer."""
    found = client.get_ranges(BLOB, [(7, 18), (0, 5)], coalesce=0)
    return bool(found == [DATA[7:18], DATA[0:5]])


def get_many(client: Any, place: Path) -> bool:
    return all(result.data == DATA for result in _well(client.get_many([BLOB, BLOB])))


def head_many(client: Any, place: Path) -> bool:
    return all(result.info.size == len(DATA) for result in _well(client.head_many([BLOB, BLOB])))


def put_many(client: Any, place: Path) -> bool:
    made = _well(client.put_many([DATA, b"other", DATA]))
    return [result.info.size for result in made] == [len(DATA), 5, len(DATA)]


def delete_many(client: Any, place: Path) -> bool:
    return len(_well(client.delete_many([BLOB, BLOB]))) == 2


def _well(results: list[Any]) -> list[Any]:
    """The results, or the first error among them."""
    for result in results:
        if result.error is not None:
            raise result.error
    return results


READS: dict[str, Read] = {each.__name__: each for each in (get_bytes, get_range, get_into, get_file, opened, cached)}
WHOLE = {name: read for name, read in READS.items() if name != "get_range"}
"""Those that prove what they give by its digest."""
BATCHES: dict[str, Read] = {each.__name__: each for each in (get_ranges, get_many, head_many, put_many, delete_many)}
"""Calls on many blobs, each of one request, for which POST is used."""


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
