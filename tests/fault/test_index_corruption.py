"""LMDB files with flipped bits and cut ends: a process may die of them, but no blob is ever read wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ambry.errors import AmbryError
from datanode.store.files import OsFiles
from tests.support.samples import append, blob_id, content, open_replica, put_record, read_all, stop_cleanly

BLOBS = 150
WRONG = 3
REFUSED = 4


def make(directory: Path) -> None:
    store = open_replica(OsFiles(), directory)
    append(store, *(put_record(blob_id(number), content(number, 200)) for number in range(BLOBS)))
    stop_cleanly(store)


def damage(path: Path, source: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if source.random() < 0.2:
        del data[source.randrange(len(data)) :]
    else:
        for _ in range(source.choice((1, 1, 3, 20))):
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    path.write_bytes(data)


def read_everything(directory: Path) -> int:
    """In a process of its own. A blob that is not found is no wrong answer, wrong bytes are."""
    code = 0
    try:
        store = open_replica(OsFiles(), directory, segment_size_bytes=64 << 10)
        for number in range(BLOBS):
            try:
                if read_all(store, blob_id(number)) != content(number, 200):
                    return WRONG
            except (AmbryError, LookupError):
                code = REFUSED
    except (AmbryError, OSError):
        return REFUSED
    return code


def in_child(directory: Path) -> int:
    """The exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        os._exit(read_everything(directory))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def rounds(root: Path, seeds: range) -> dict[int, int]:
    make(root / "whole")
    counts: dict[int, int] = {}
    for seed in seeds:
        target = root / "damaged"
        shutil.copytree(root / "whole", target)
        damage(target / "index" / "data.mdb", random.Random(seed))
        code = in_child(target)
        counts[code] = counts.get(code, 0) + 1
        store = open_replica(OsFiles(), target, rebuild=True)
        if any(read_all(store, blob_id(number)) != content(number, 200) for number in range(BLOBS)):
            raise AssertionError(f"seed {seed}: wrong after the rebuild")
        store.close()
        shutil.rmtree(target)
    return counts


def run(root: Path, first: int, end: int) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.fault.test_index_corruption", str(root), str(first), str(end)]
    done = subprocess.run(command, capture_output=True, timeout=600, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return counts


def check(counts: dict[str, int], total: int) -> None:
    assert sum(counts.values()) == total
    assert set(counts) <= {"0", str(REFUSED), "-6", "-7", "-11"}, counts


def test_some_damage_never_gives_wrong_bytes(tmp_path: Path) -> None:
    check(run(tmp_path, 0, 40), 40)


@pytest.mark.fault
def test_much_damage_never_gives_wrong_bytes(tmp_path: Path) -> None:
    check(run(tmp_path, 1000, 2000), 1000)


if __name__ == "__main__":
    print(json.dumps(rounds(Path(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3])))))
