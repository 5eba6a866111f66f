"""Why a JSON body is not what it should be, in words for whoever sent it."""

from __future__ import annotations

from enum import Enum
from typing import get_args

import msgspec


def why_not(cause: msgspec.ValidationError, shape: type[msgspec.Struct]) -> str:
    """What is wrong with a field of `shape`, and which values it has where it has few."""
    said, at, place = str(cause).partition(" - at ")
    if said.startswith("Invalid enum value"):
        for field in msgspec.structs.fields(shape):
            if place == f"`$.{field.encode_name}`":
                kinds = (field.type, *get_args(field.type))
                values = [
                    str(each.value)
                    for kind in kinds
                    if isinstance(kind, type) and issubclass(kind, Enum)
                    for each in kind
                ]
                said = f"{said}; there are {', '.join(values)}"
    return f"{said}{at}{place}"
