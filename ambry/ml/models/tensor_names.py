"""The names of tensors in files of safetensors, of which a model has each once: of two, one would be lost without a word.

    0   8          bytes of the header, little-endian
    8   as many    JSON: an object for each tensor, by its name, and perhaps texts as "__metadata__"

https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from ambry.errors import MALFORMED, InvalidRequest

HEADER_SIZE_MAX = 100_000_000
"""Bytes; safetensors itself reads no more."""
_SIZE_BYTES = 8
_METADATA = "__metadata__"


def check_tensor_names(files: Mapping[str, Path | bytes]) -> None:
    """Whether no two of the files that end in .safetensors have a tensor of one name. One file alone is not looked at.

    Raises InvalidRequest, also for a header that says nothing; OSError.
    """
    parts = sorted(path for path in files if path.endswith(".safetensors"))
    if len(parts) < 2:
        return
    known: dict[str, str] = {}
    for part in parts:
        for name in _names(part, files[part]):
            if name in known:
                raise InvalidRequest(
                    f"the tensor {name!r} is in {known[name]!r} and in {part!r}, and a model has each once; give them names of "
                    "their own, or publish the files as they are (kind 'files')"
                )
            known[name] = part


def _names(part: str, source: Path | bytes) -> list[str]:
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        size = int.from_bytes(file.read(_SIZE_BYTES), "little")
        if size > HEADER_SIZE_MAX:
            raise InvalidRequest(f"{part!r} is no file of safetensors: its header would have {size} bytes")
        header = file.read(size)
    try:
        names = json.loads(header)
        if not isinstance(names, dict):
            raise TypeError("its header is no object")
    except MALFORMED as error:
        raise InvalidRequest(f"{part!r} is no file of safetensors: {error}") from error
    return [name for name in names if name != _METADATA]
