"""What stands in front of the tensors of a safetensors file (https://github.com/huggingface/safetensors). Pure.

offset  size  field   meaning
0       8     size    of the header, little-endian
8       size  header  JSON: {name: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {text: text}}
then the bytes of the tensors, without gaps; offsets count from here, and values are little-endian, in the order of C
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from ambry.checksum import Buffer
from ambry.errors import InvalidRequest

SIZE_BYTES = 8
HEADER_BYTES_MAX = 100_000_000
"""As safetensors itself has it."""
METADATA = "__metadata__"
DIMENSIONS_MAX = 64
"""As numpy has it, and torch."""
ELEMENTS_MAX = 1 << 59
"""Of a tensor, counted without its empty dimensions: of 16 bytes each they are what an array can have at most."""
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What JSON gives that is none, or is nested too deep to be read."""

ELEMENT_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4,
    "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip

_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor. `begin` and `end` count from the first byte of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """All of a file, by name."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data_begin: int


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


_indices = msgspec.json.Decoder(_Index)
_headers = msgspec.json.Decoder(dict[str, msgspec.Raw])
_entries = msgspec.json.Decoder(_Entry)
_metadata = msgspec.json.Decoder(dict[str, str])


def header_end(begin: Buffer, size: int) -> int:
    """Where the header ends, of a file of `size` bytes that begins so (9 bytes at least, or all). Raises InvalidRequest."""
    start = bytes(begin[: SIZE_BYTES + 1])
    length = int.from_bytes(start[:SIZE_BYTES], "little")
    if start[SIZE_BYTES:] == b"{" and 0 < length <= HEADER_BYTES_MAX and SIZE_BYTES + length <= size:
        return SIZE_BYTES + length
    if start.startswith(_PICKLE):
        raise InvalidRequest(
            "it is a pickle, or a zip file of pickles, which may run code when it is read: save the model as safetensors"
        )
    if start[:1] in (b"{", b"["):
        raise InvalidRequest(
            "it is JSON: the index of a sharded model is opened by its name, which ends in .index.json"
        )
    raise InvalidRequest("it is no safetensors file: it begins with no header")


def parse_header(header: Buffer, size: int) -> TensorHeader:
    """What the first bytes of a file of `size` bytes say, up to `header_end`. Raises InvalidRequest for what cannot be so."""
    data_begin = len(header)
    try:
        told = _headers.decode(bytes(header[SIZE_BYTES:]).rstrip(b" "))
        metadata = _metadata.decode(told.pop(METADATA, msgspec.Raw(b"{}")))
        tensors = {name: _tensor(name, _entries.decode(raw), data_begin) for name, raw in told.items()}
    except UNREADABLE as cause:
        raise InvalidRequest(f"it is no safetensors file: its header cannot be read: {cause}") from cause
    end = data_begin
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != end:
            raise InvalidRequest(f"the tensor {name!r} does not begin where the one before it ends")
        end = tensor.end
    if end != size:
        raise InvalidRequest(f"its tensors end at byte {end}, and the file at {size}")
    return TensorHeader(tensors, metadata, data_begin)


def _tensor(name: str, entry: _Entry, data_begin: int) -> TensorInfo:
    begin, end = entry.data_offsets
    if not 0 <= begin <= end or any(extent < 0 for extent in entry.shape):
        raise InvalidRequest(f"the tensor {name!r} has a shape or a place that none can have")
    if len(entry.shape) > DIMENSIONS_MAX or math.prod(max(1, each) for each in entry.shape) >= ELEMENTS_MAX:
        raise InvalidRequest(f"the tensor {name!r} has a shape that no array can have")
    element = ELEMENT_BYTES.get(entry.dtype)
    if element is not None and math.prod(entry.shape) * element != end - begin:
        raise InvalidRequest(f"the tensor {name!r} of {entry.dtype} {entry.shape} has {end - begin} bytes")
    return TensorInfo(entry.dtype, tuple(entry.shape), data_begin + begin, data_begin + end)


def parse_index(index: bytes) -> dict[str, str]:
    """Which file each tensor of a sharded model is in, from its index. Raises InvalidRequest."""
    try:
        weights = _indices.decode(index).weight_map
    except UNREADABLE as cause:
        raise InvalidRequest(f"it is no index of a sharded model: {cause}") from cause
    for file in set(weights.values()):
        if not file or file.startswith("/") or ".." in file.split("/"):
            raise InvalidRequest(f"the index names the file {file!r}, which is not beside it")
    return weights
