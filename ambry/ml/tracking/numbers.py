"""Versions of datasets as the whole numbers that versions of models are to MLflow, one for one and in the same order.

    MONOTONIC, TIMESTAMP      7          7
    SEMANTIC                  1.2.3      1002003
    SEMANTIC_LONG             1.2.3.4    1002003004

A part of a version goes up to 999 (ambry/rest/versions.py), so each has three digits of its own.
"""

from __future__ import annotations

from ambry.errors import InvalidRequest
from ambry.rest.versions import PART_MAX, VersionSchema, numbers_of, text_of

_STEP = PART_MAX + 1


def number_of(version: str) -> int:
    """The number of a version. Raises InvalidRequest."""
    number = 0
    for part in numbers_of(version):
        number = number * _STEP + part
    return number


def version_at(number: int | str, schema: str) -> str:
    """The version that has a number in a dataset of a schema; one with dots is itself. Raises InvalidRequest."""
    text = str(number)
    found = numbers_of(text)
    known = VersionSchema.__members__.get(schema)
    if len(found) > 1 or known is None or known.parts == 1:
        return text
    [left] = found
    parts = []
    for _ in range(known.parts):
        left, part = divmod(left, _STEP)
        parts.append(part)
    if left:
        raise InvalidRequest(f"{text} is not the number of a {schema} version, which is 1002003 for 1.2.3")
    return text_of(tuple(reversed(parts)))
