"""Whatever bears the name of a file of the replica and is none keeps no replica closed that has all it needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from datanode.store.files import OsFiles
from tests.support.samples import append, blob_id, checkpoint, content, open_replica, put_record

COUNT = 30


def _index_is_a_file(place: Path) -> None:
    shutil.rmtree(place / "index")
    (place / "index").write_text("x")


def _data_is_a_directory(place: Path) -> None:
    (place / "index" / "data.mdb").unlink()
    (place / "index" / "data.mdb").mkdir()


def _lock_is_a_directory(place: Path) -> None:
    (place / "lock").unlink()
    (place / "lock").mkdir()


def _nowhere_to_set_aside(place: Path) -> None:
    (place / "set-aside").write_text("x")
    (place / "00000099.segment").mkdir()


STRAYS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a directory called segment": (lambda place: (place / "00000099.segment").mkdir(), ["00000099.segment"]),
    "a pipe called segment": (lambda place: os.mkfifo(place / "00000098.segment"), ["00000098.segment"]),
    "a link to itself": (
        lambda place: (place / "00000097.segment").symlink_to("00000097.segment"),
        ["00000097.segment"],
    ),
    "an unfinished directory": (lambda place: (place / "00000009.segment.tmp").mkdir(), ["00000009.segment.tmp"]),
    "a receipt that is none": (lambda place: (place / "00000002.replaces").mkdir(), ["00000002.replaces"]),
    "a file called index": (_index_is_a_file, ["index"]),
    "a directory called data.mdb": (_data_is_a_directory, ["data.mdb"]),
    "a directory called lock": (_lock_is_a_directory, ["lock"]),
    "a file called quarantine": (lambda place: (place / "quarantine").write_text("x"), ["quarantine"]),
    "a file called set-aside": (_nowhere_to_set_aside, ["set-aside.was-no-directory", "00000099.segment"]),
    "an empty identity": (lambda place: (place / "identity.json").write_bytes(b""), []),
}


@pytest.mark.parametrize("name", STRAYS)
def test_it_is_set_aside_and_the_replica_opens_with_all_it_had(tmp_path: Path, name: str) -> None:
    place = tmp_path / "r"
    store = open_replica(OsFiles(), place)
    for number in range(COUNT):
        append(store, put_record(blob_id(number), content(number, 3000)))
    store.serving = True
    checkpoint(store, clean=True)
    store.close()
    plant, moved = STRAYS[name]
    plant(place)
    for opening in range(2):
        store = open_replica(OsFiles(), place, seed=2 + opening)
        assert store.set_aside == ([f"set-aside/{name}.1" for name in moved] if opening == 0 else [])
        assert all(
            (place / "set-aside" / f"{name}.1").is_symlink() or (place / f"set-aside/{name}.1").exists()
            for name in moved
        )
        assert all((entry := store.lookup(blob_id(number))) and entry.present for number in range(COUNT))
        assert not store.holes
        append(store, put_record(blob_id(COUNT + opening), b"more"))
        store.close()


def test_a_replica_whose_identity_is_empty_counts_as_put_back(tmp_path: Path) -> None:
    store = open_replica(OsFiles(), tmp_path / "r")
    append(store, put_record(blob_id(1), b"x"))
    store.close()
    (tmp_path / "r" / "identity.json").write_bytes(b"")
    store = open_replica(OsFiles(), tmp_path / "r", seed=2)
    assert (store.put_back, store.serving) == ("its identity was lost, and how far its log once went with it", False)
    store.close()


@pytest.mark.parametrize("what", ["a file", "a pipe", "a link that leads nowhere"])
@pytest.mark.parametrize("crashed", [False, True], ids=["", "after a crash"])
def test_a_replica_in_whose_place_something_else_stands_begins_as_on_an_empty_disk(
    tmp_path: Path, what: str, crashed: bool
) -> None:
    """It stayed closed: "File exists"."""
    place = tmp_path / "r"
    stray = tmp_path / "r.was-no-directory" if crashed else place
    match what:
        case "a file":
            stray.write_text("x")
        case "a pipe":
            os.mkfifo(stray)
        case _:
            stray.symlink_to("nowhere")
    store = open_replica(OsFiles(), place)
    assert store.set_aside == ["set-aside/r.was-no-directory.1"]
    assert (place / "set-aside" / "r.was-no-directory.1").lstat()
    assert not store.serving
    assert store.lineage.young
    append(store, put_record(blob_id(1), b"x"))
    store.close()
    store = open_replica(OsFiles(), place, seed=2)
    assert store.lookup(blob_id(1)) is not None
    assert store.set_aside == []
    store.close()
