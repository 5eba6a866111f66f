"""Files of a checkpoint of torch, read by one copy: from the page cache into the parameters.

`FileSystemReader` has `torch.load` read each tensor into new memory, whose pages the kernel fills with zeros first, and copies
it from there: 1 GB from the page cache takes it 0.9 s, and a mapped file 0.3 s (one core). Here the large ones are copied out
of the mapped file. What a tensor is like is still said by `torch.load`; what is not plain is left to torch as a whole.
"""

from __future__ import annotations

import mmap
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from ambry.ml.extras import needed
from ambry.ml.seekable_reader import SeekableReader
from ambry.ml.training.unpacking import NO_ARCHIVE

MAPPED_MIN = 1 << 20
"""Bytes: what is smaller costs more to look into than to copy."""
_LOCAL_HEADER = 30
_STORED = zipfile.ZIP_STORED


class _Window(SeekableReader):
    """A part of a mapped file as a file."""

    def __init__(self, data: memoryview) -> None:
        super().__init__(len(data))
        self._data = data

    def readinto(self, buffer: Any, /) -> int:
        found = self._data[self._position : self._position + len(buffer)]
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)


def mapped_reader(directory: Path) -> Any:
    """A `FileSystemReader` of a directory whose files nobody writes. Raises ModuleNotFoundError without torch."""
    torch, dcp = needed("torch"), needed("torch.distributed.checkpoint")
    planner_types = needed("torch.distributed.checkpoint.planner")

    class MappedReader(dcp.FileSystemReader):  # type: ignore[misc, name-defined]  # Of torch, which is not always there.
        def read_data(self, plan: Any, planner: Any) -> Any:
            rest, files = [], dict[str, mmap.mmap]()
            for item in plan.items:
                about = self.storage_data[item.storage_index]
                source = None
                if item.type == planner_types.LoadItemType.TENSOR and is_mapped(about):
                    path = about.relative_path
                    if path not in files:
                        files[path] = mapped(directory / path)
                    source = tensor_in(torch, files[path], about.offset, about.length)
                if source is None:
                    rest.append(item)
                    continue
                for dimension, (first, size) in enumerate(zip(item.storage_offsets, item.lengths, strict=True)):
                    source = source.narrow(dimension, first, size)
                target = planner.resolve_tensor(item).detach()
                if target.size() != source.size():
                    rest.append(item)  # torch has the words for it
                    continue
                target.copy_(source)
                planner.commit_tensor(item, target)
            return super().read_data(replace(plan, items=rest), planner)

    return MappedReader(directory)


def is_mapped(about: Any) -> bool:
    """Whether what `.metadata` says of a tensor is worth it."""
    return bool(about.length >= MAPPED_MIN and not getattr(about, "transform_descriptors", None))


def mapped(path: Path) -> mmap.mmap:
    """Unmapped with the last tensor that is of it. Private: what were written to it would not get into the file."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def tensor_in(torch: Any, file: Any, offset: int, size: int) -> Any:
    """The tensor that `torch.save` wrote there, of the file's own memory; None for one that is not plain."""
    part = memoryview(file)[offset : offset + size]
    if not hasattr(torch.serialization, "skip_data"):  # torch 2.6
        return None
    try:
        archive = zipfile.ZipFile(_Window(part))
        members = {each.filename.partition("/")[2]: each for each in archive.infolist()}
        stored, order = members["data/0"], members["byteorder"]
        if archive.read(order).decode() != sys.byteorder or any(each.startswith("data/1") for each in members):
            return None
    except (*NO_ARCHIVE, KeyError):
        return None
    header = bytes(part[stored.header_offset : stored.header_offset + _LOCAL_HEADER])
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    first = stored.header_offset + _LOCAL_HEADER + names
    if stored.compress_type != _STORED or first + stored.file_size > len(part):
        return None
    with torch.serialization.skip_data():
        like = torch.load(_Window(part), map_location="cpu", weights_only=True)
    if (
        type(like) is not torch.Tensor
        or like.layout != torch.strided
        or like.is_quantized
        or like.is_conj()
        or like.is_neg()
    ):
        return None
    if like.untyped_storage().nbytes() != stored.file_size or not stored.file_size:
        return None
    flat = torch.frombuffer(file, dtype=torch.uint8, offset=offset + first, count=stored.file_size)
    try:
        return flat.view(like.dtype).as_strided(like.size(), like.stride(), like.storage_offset())
    except RuntimeError:  # Of a type or a shape that its bytes have no place for.
        return None
