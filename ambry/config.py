"""Configuration: a TOML file, then `AMBRY_SECTION__KEY` from the environment, then `--set section.key=value`.

The shape is a frozen msgspec Struct; every key has a default there, and `configs/*.toml` shows each with its unit and
reason. An unknown key is an error that suggests the nearest known one. This module and the command line are the only
readers of configuration files.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, cast

import msgspec

from ambry.errors import ConfigInvalid

T = TypeVar("T", bound=msgspec.Struct)

ENV_PREFIX = "AMBRY_"

# What a key may be, where nothing else about it is known: no negative size, no wait that is not a number.
Amount = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
Some = Annotated[int, msgspec.Meta(ge=1, le=1 << 62)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Millis = Annotated[int, msgspec.Meta(ge=0, le=86_400_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
"""In a second; 0 for no bound."""
Interval = Annotated[float, msgspec.Meta(ge=0.001, le=1e9)]
"""In seconds; a shorter one would spin."""
_PLACE = re.compile(r"(.*) - at `\$\.(.*)`")


def load(
    shape: type[T], path: Path | None, *, env: Mapping[str, str] | None = None, overrides: Sequence[str] = ()
) -> T:
    """Read the configuration of one process. Raises ConfigInvalid naming the key, and the file or whatever else said it."""
    tree: dict[str, Any] = {}
    told: dict[str, str] = {}
    """Who said what the file did not, by the key."""
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text("utf-8"))
        except OSError as cause:
            raise ConfigInvalid(f"cannot read the configuration {path}: {cause.strerror}") from cause
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
            raise ConfigInvalid(f"{path} is not valid TOML: {cause}") from cause
        _refuse_unknown(shape, tree, str(path), "")
    sections = {field.name for field in msgspec.structs.fields(shape)}
    for name, value in sorted((os.environ if env is None else env).items()):
        parts = name.removeprefix(ENV_PREFIX).lower().split("__")
        if name.startswith(ENV_PREFIX) and len(parts) == 2 and parts[0] in sections:
            _put(tree, parts, value)
            told[".".join(parts)] = name
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals or key.count(".") != 1:
            raise ConfigInvalid(f"--set takes section.key=value, not {item!r}")
        _put(tree, key.split("."), value)
        told[key] = "--set"
    return convert(shape, tree, source=str(path) if path else "configuration", told=told)


def convert(shape: type[T], tree: dict[str, Any], *, source: str, told: Mapping[str, str] = MappingProxyType({})) -> T:
    """Turn a plain tree into the Struct. Raises ConfigInvalid with the path of the offending key, and who said it: `source`,
    unless `told` knows better.
    """
    _refuse_unknown(shape, tree, source, "", told)
    try:
        # Not strict: values from the environment and --set arrive as text.
        return msgspec.convert(tree, shape, strict=False)
    except msgspec.ValidationError as cause:
        place = _PLACE.fullmatch(str(cause))
        what = f"{place[2]}: {place[1]}" if place else str(cause)
        raise ConfigInvalid(f"{told.get(place[2], source) if place else source}: {what}") from cause


def _put(tree: dict[str, Any], parts: Sequence[str], value: str) -> None:
    section = tree.setdefault(parts[0], {})
    if not isinstance(section, dict):
        raise ConfigInvalid(f"{parts[0]} is not a section")
    section[parts[1]] = value


def _refuse_unknown(
    shape: type[msgspec.Struct],
    tree: Mapping[str, Any],
    source: str,
    where: str,
    told: Mapping[str, str] = MappingProxyType({}),
) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(shape)}
    for key, value in tree.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {where}{near[0]}?" if near else f"; known keys: {', '.join(sorted(fields))}"
            full = f"{where}{key}"
            who = next((who for said, who in told.items() if said == full or said.startswith(f"{full}.")), source)
            raise ConfigInvalid(f"{who}: unknown key {full}{hint}")
        nested = fields[key]
        if isinstance(value, dict) and isinstance(nested, type) and issubclass(nested, msgspec.Struct):
            _refuse_unknown(nested, cast(dict[str, Any], value), source, f"{where}{key}.", told)
