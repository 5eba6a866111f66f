"""Packages of skops that become more than they are, each within two gigabytes of a process of its own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest

from ambry import AmbryClient, DataCorrupt
from ambry.ml import models
from ambry.ml.models.skops_package import check_package

CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from pathlib import Path
from types import SimpleNamespace
from ambry.errors import InvalidRequest
from ambry.ml.models.reading import LOADERS

path = Path(sys.argv[1])
try:
    LOADERS["sklearn"](path.parent, SimpleNamespace(parts=[SimpleNamespace(path=path.name)]), "numpy", True)
except InvalidRequest as error:
    print(f"refused: {error}")
"""


def array(file: str) -> dict[str, Any]:
    return {
        "__class__": "ndarray",
        "__module__": "numpy",
        "__loader__": "NdArrayNode",
        "type": "numpy",
        "file": file,
        "__id__": 1,
    }


def schema(content: Any) -> bytes:
    return json.dumps({**content, "protocol": 2, "_skops_version": "0.16.0"}).encode()


def many(count: int, file: str) -> bytes:
    arrays = [{**array(file), "__id__": number} for number in range(count)]
    nodes = {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": arrays, "__id__": 0}
    return schema(nodes)


def package(files: Mapping[str, bytes], method: int = ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with ZipFile(out, "w", method) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return out.getvalue()


def blanks() -> bytes:
    """As many as a GiB, of which no more than a piece is in memory."""
    out = io.BytesIO()
    with ZipFile(out, "w", ZIP_DEFLATED) as made, made.open("schema.json", "w", force_zip64=True) as file:
        for _ in range(1 << 6):
            file.write(b" " * (1 << 24))
    return out.getvalue()


def twice() -> bytes:
    out = io.BytesIO()
    with ZipFile(out, "w") as made, pytest.warns(UserWarning, match="Duplicate name"):
        made.writestr("schema.json", schema(array("a.npy")))
        made.writestr("schema.json", b"{}")
    return out.getvalue()


def numbers(count: int) -> bytes:
    out = io.BytesIO()
    np.save(out, np.zeros(count))
    return out.getvalue()


BOMBS: list[tuple[str, Callable[[], bytes], str]] = [
    ("blanks", blanks, "becomes 1073741824 bytes"),
    (
        "a large array",
        lambda: package({"schema.json": schema(array("a.npy")), "a.npy": numbers(40 << 20)}),
        "become 335",
    ),
    ("one array often", lambda: package({"schema.json": many(300, "a.npy"), "a.npy": numbers(1 << 17)}), "or more"),
    (
        "a zip in it",
        lambda: package({"schema.json": many(1, "a.npz"), "a.npz": package({"data.npy": numbers(40 << 20)})}),
        "or more",
    ),
    ("two schemas", twice, "two files of one name"),
    ("no schema", lambda: package({"a.npy": b""}), "has no schema.json"),
    ("files", lambda: package({f"{number}": b"" for number in range(100_001)}), "has 100001 files"),
]


@pytest.mark.parametrize(("made", "told"), [each[1:] for each in BOMBS], ids=[each[0] for each in BOMBS])
def test_a_bomb_is_a_sentence_within_two_gigabytes(tmp_path: Path, made: Callable[[], bytes], told: str) -> None:
    path = tmp_path / "x.skops"
    path.write_bytes(made())
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("refused: ")
    assert told in run.stdout


def test_an_array_that_says_it_is_large_is_a_sentence(client: AmbryClient, name: str) -> None:
    """It was a MemoryError of numpy."""
    lying = numbers(1).replace(b"'shape': (1,), }" + b" " * 12, b"'shape': (1099511627776,), }")
    assert b"1099511627776" in lying
    data = package({"schema.json": schema(array("a.npy")), "a.npy": lying}, ZIP_STORED)
    models.publish(client, name, {"m.skops": data})
    with pytest.raises(DataCorrupt, match=r"asks for more memory than there is .*8\.00 TiB"):
        models.open(client, name).load()


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"PK",
        package({"schema.json": b"[" * 100_000}),
        package({"schema.json": b"\xff"}),
        package({"schema.json": b"7"}),
    ],
)
def test_what_is_no_package_is_a_sentence(client: AmbryClient, name: str, bad: bytes) -> None:
    models.publish(client, name, {"m.skops": bad})
    with pytest.raises(DataCorrupt, match="cannot be read as sklearn"):
        models.open(client, name).load()


def test_what_skops_writes_is_read(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    from scipy.sparse import csr_matrix

    path = tmp_path / "x.skops"
    skops.dump({"a": np.arange(1_000), "b": csr_matrix(np.eye(100))}, path)
    check_package(path)
