"""docs/limits.md says what the code does: every bound that it names has the value that it tells."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import msgspec
import pytest

from datanode.config import DataNodeConfig
from frontend.config import FrontendConfig

ROOT = Path(__file__).parent.parent
_CONSTANT = re.compile(r"`([a-z_/]+)\.py:([A-Z_]+)` \|$")
_KEY = re.compile(r"`([a-z]+)\.([a-z_]+)` \|$")
ROWS = [
    line
    for line in (ROOT / "docs" / "limits.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| what |", "| of |"))
]


def spellings(value: float) -> set[str]:
    """How a document may write a number."""
    found = {f"{value:,}", f"{value:g}"}
    for size, unit in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= size and value % size == 0:
            found.add(f"{int(value) // size:,} {unit}")
    return found


def said(row: str, value: float) -> bool:
    return any(re.search(rf"(?<![\d,.]){re.escape(text)}(?!\d|[,.]\d)", row) for text in spellings(value))


def keys() -> dict[str, float]:
    found: dict[str, float] = {}
    for config in (DataNodeConfig(), FrontendConfig()):
        for section, values in msgspec.structs.asdict(config).items():
            if isinstance(values, msgspec.Struct):
                found |= {f"{section}.{key}": value for key, value in msgspec.structs.asdict(values).items()}
    return found


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip()[:40] for row in ROWS])
def test_a_bound_is_what_the_document_says(row: str) -> None:
    if match := _CONSTANT.search(row):
        module, name = match.groups()
        value = getattr(importlib.import_module(module.replace("/", ".")), name)
        assert said(row, value), f"{name} is {value}"
    elif match := _KEY.search(row):
        key = ".".join(match.groups())
        assert key in keys(), f"there is no key {key}"
        assert "default" not in row or said(row, keys()[key]), f"{key} is {keys()[key]} by default"
    else:
        assert "](" in row or "/partitions" in row, "it names no place"


def test_the_table_is_read_at_all() -> None:
    assert len(ROWS) > 40
