"""configs/*.toml show every key with its default; these tests keep them from drifting away from the code."""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ambry.config import load
from datanode.config import DataNodeConfig
from frontend.config import FrontendConfig

CONFIGS = Path(__file__).resolve().parents[3] / "configs"

CASES = [
    pytest.param("datanode.toml", DataNodeConfig, {"node": {"name", "layout", "data_dir"}}, id="datanode"),
    pytest.param("frontend.toml", FrontendConfig, {"frontend": {"name", "datacenter", "layout"}}, id="frontend"),
]


@pytest.mark.parametrize(("name", "shape", "required"), CASES)
def test_a_shipped_configuration_loads_as_the_defaults(
    name: str, shape: type[msgspec.Struct], required: dict[str, set[str]]
) -> None:
    assert load(shape, CONFIGS / name, env={}) == shape()


@pytest.mark.parametrize(("name", "shape", "required"), CASES)
def test_a_shipped_configuration_has_every_key_with_its_default_and_no_other(
    name: str, shape: type[msgspec.Struct], required: dict[str, set[str]]
) -> None:
    written: dict[str, Any] = tomllib.loads((CONFIGS / name).read_text("utf-8"))
    expected: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(shape()))
    for section, keys in required.items():
        for key in keys:
            assert expected[section].pop(key) == "", f"{section}.{key} has a default, so the file must show it"
    assert written == expected


@pytest.mark.parametrize(("name", "shape", "required"), CASES)
def test_a_shipped_configuration_shows_the_required_keys_commented_out_and_explains_every_key(
    name: str, shape: type[msgspec.Struct], required: dict[str, set[str]]
) -> None:
    lines = (CONFIGS / name).read_text("utf-8").splitlines()
    for keys in required.values():
        for key in keys:
            assert any(line.startswith(f'# {key} = "') for line in lines), f"{key} is not shown"
    for before, line in pairwise(lines):
        if " = " in line and not line.startswith("#") and line != "default = 1" and line != "id = 1":
            assert before.startswith("# "), f"no reason is given for {line}"
