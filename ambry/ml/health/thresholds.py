"""From when on a column counts as moved: a small text of TOML, or the defaults.

    p_min = 0.001                       # what chance does more seldom than this is no chance
    distance_max = 0.1                  # between the distribution functions (Kolmogorov-Smirnov), or the shares of texts
    psi_max = 0.2                       # population stability index
    missing_rise_max = 0.05             # parts of the values
    out_of_vocabulary_rise_max = 0.02   # parts of the cells, or of texts that were never seen before
    values_min = 100                    # fewer are not compared, and told

    [columns."mean radius"]             # by name or URN, in place of those above, and for all cells of a feature
    psi_max = 0.5

    [columns.comment]
    ignored = true

A distribution counts as moved where it is apart by more than the bound and chance would do that less often than p_min: of large
tables the first decides, of small ones the second.
"""

from __future__ import annotations

import difflib
import math
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ambry.errors import MALFORMED, InvalidRequest

FILE_SIZE_MAX = 1 << 20
"""Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnThresholds:
    """Of one column. Values at a bound are well."""

    p_min: float = 0.001
    distance_max: float = 0.1
    psi_max: float = 0.2
    missing_rise_max: float = 0.05
    out_of_vocabulary_rise_max: float = 0.02
    values_min: float = 100
    ignored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Of all columns, and of those that have their own."""

    all: ColumnThresholds = ColumnThresholds()
    columns: Mapping[str, ColumnThresholds] = field(default_factory=dict)

    def of(self, column: str, urn: str = "", feature: str = "") -> ColumnThresholds:
        """Of a part of a feature its own, or else those of the feature."""
        said = (self.columns.get(name) for name in (column, feature, urn) if name)
        return next((each for each in said if each is not None), self.all)


def parse_thresholds(text: str) -> Thresholds:
    """Raises InvalidRequest, with the line where it is no TOML."""
    try:
        said = tomllib.loads(text)
    except MALFORMED as error:
        # A number of thousands of digits is a ValueError of its own.
        raise InvalidRequest(f"the thresholds are no TOML: {error}") from error
    columns = said.pop("columns", {})
    if not isinstance(columns, dict) or not all(isinstance(each, dict) for each in columns.values()):
        raise InvalidRequest("thresholds of a column stand below [columns.NAME]")
    general = _changed(ColumnThresholds(), said, "")
    return Thresholds(
        all=general, columns={name: _changed(general, own, f" of the column {name!r}") for name, own in columns.items()}
    )


def read_thresholds(path: Path) -> Thresholds:
    """Of a file. Raises InvalidRequest, OSError."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_SIZE_MAX + 1)
        if len(text) > FILE_SIZE_MAX:
            raise InvalidRequest(f"thresholds have at most {FILE_SIZE_MAX} bytes")
        return parse_thresholds(text.decode())
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is no text in UTF-8: {error}") from error
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error}") from error


def _changed(base: ColumnThresholds, said: Mapping[str, Any], whose: str) -> ColumnThresholds:
    known = [each.name for each in fields(ColumnThresholds)]
    for name, value in said.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise InvalidRequest(f"there is no threshold {name!r}{whose}; {hint}")
        if name == "ignored":
            if not isinstance(value, bool):
                raise InvalidRequest(f"ignored{whose} is true or false, not {value!r}")
            continue
        top = 1 if name not in ("psi_max", "values_min") else sys.float_info.max
        is_never = top != 1 and value == math.inf
        if isinstance(value, bool) or not isinstance(value, int | float) or not (is_never or 0 <= value <= top):
            bounds = "from 0 to 1" if top == 1 else "of at least 0"
            raise InvalidRequest(f"{name}{whose} is a number {bounds}, not {value!r}")
    return replace(base, **said)
