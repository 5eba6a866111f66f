"""Versions of datasets as the whole numbers that versions of models are to MLflow, one for one and in the same order.

    MONOTONIC, TIMESTAMP      7          7
    SEMANTIC                  1.2.3      1002003
    SEMANTIC_LONG             1.2.3.4    1002003004

A part of a version goes up to 999, so each has three digits of its own.
"""

from __future__ import annotations

import re

from ambry.errors import InvalidRequest

_PARTS = {"SEMANTIC": 3, "SEMANTIC_LONG": 4}
_STEP = 1000


def number_of(version: str) -> int:
    """The number of a version. Raises InvalidRequest."""
    if not re.fullmatch(r"\d{1,19}|\d{1,3}(\.\d{1,3}){2,3}", version, re.ASCII):
        raise InvalidRequest(f"{version!r} is not a version of a dataset")
    number = 0
    for part in version.split("."):
        number = number * _STEP + int(part)
    return number


def version_at(number: int | str, schema: str) -> str:
    """The version that has a number in a dataset of a schema; one with dots is itself. Raises InvalidRequest."""
    text = str(number)
    if "." in text:
        number_of(text)
        return text
    if not re.fullmatch(r"\d{1,19}", text, re.ASCII):
        raise InvalidRequest(f"{text!r} is not the number of a version")
    count = _PARTS.get(schema)
    if count is None:
        return str(int(text))
    left, parts = int(text), []
    for _ in range(count):
        left, part = divmod(left, _STEP)
        parts.append(str(part))
    if left:
        raise InvalidRequest(f"{text} is not the number of a {schema} version, which is 1002003 for 1.2.3")
    return ".".join(reversed(parts))
