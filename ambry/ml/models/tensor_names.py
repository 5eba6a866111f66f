"""The names of tensors in files of safetensors, of which a model has each once: of two, one would be lost without a word."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

from ambry.errors import InvalidRequest
from ambry.tensors.header import SIZE_BYTES, header_end, parse_header


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


def _names(part: str, source: Path | bytes) -> Iterable[str]:
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        begin = file.read(SIZE_BYTES + 1)
        try:
            end = header_end(begin, size)
            return parse_header(begin + file.read(end - len(begin)), size).tensors
        except InvalidRequest as error:
            raise InvalidRequest(f"{part!r} is no file of safetensors: {error.message}") from error
