"""What a compaction replaced by what: a small file beside the segments, while files of both may be there.

    00000009.replaces   {"segment": ["<check of its header>", 9], "inputs": [["<check>", 7], ["<check>", 8]], "check": "..."}

It is durable before the new segment counts, and goes after the old ones. Only by it an opening may delete a segment whose LSNs
another one covers: that alone proves nothing, since an operator may have put a file of another replica, or of an older day,
into the directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ambry.checksum import xxh64
from ambry.format import segment as segment_format
from ambry.service.logs import get_logger
from datanode.store.files import Files, read_whole
from datanode.store.segment import Segment, segment_name
from datanode.store.writing import write_atomically

log = get_logger()

SUFFIX = ".replaces"
UNFINISHED_RECEIPT_SUFFIX = ".replaces.tmp"
"""Of the name while it is written (datanode/store/files.py)."""


class Named(msgspec.Struct, frozen=True, array_like=True):
    """A segment by its header and its number."""

    check: str
    number: int


class Receipt(msgspec.Struct, frozen=True):
    segment: Named
    inputs: tuple[Named, ...]
    check: str = ""

    def sealed(self) -> Receipt:
        """With the check that belongs to the other fields."""
        return msgspec.structs.replace(self, check=_check(msgspec.msgpack.encode((self.segment, self.inputs))))

    def proves(self, kept: Segment, left: Segment) -> bool:
        """Whether this compaction wrote `kept` in the place of `left`."""
        return named(kept) == self.segment and named(left) in self.inputs


_receipt = msgspec.json.Decoder(Receipt)


def _check(data: bytes) -> str:
    return f"{xxh64(data):016x}"


def named(segment: Segment) -> Named:
    return Named(_check(segment_format.encode(segment.header)), segment.number)


def write(files: Files, directory: Path, output: Segment, inputs: Sequence[Segment]) -> None:
    """Durable on return. Blocking. Raises OSError."""
    receipt = Receipt(named(output), tuple(named(segment) for segment in inputs)).sealed()
    write_atomically(files, directory / f"{output.number:08d}{SUFFIX}", msgspec.json.encode(receipt))


def read_all(files: Files, directory: Path) -> dict[int, Receipt]:
    """Those of a directory, by the number of the new segment; damaged ones prove nothing. Blocking. Raises OSError."""
    found: dict[int, Receipt] = {}
    for name in files.list_directory(directory):
        if not name.endswith(SUFFIX):
            continue
        try:
            receipt = _receipt.decode(read_whole(files, directory / name))
        except msgspec.DecodeError:
            receipt = None
        if receipt is None or receipt.sealed() != receipt:
            log.error("receipt of a compaction damaged", file=str(directory / name))
        else:
            found[receipt.segment.number] = receipt
    return found


def drop_settled(files: Files, directory: Path) -> None:
    """Delete those whose old segments are all gone, or whose new one never counted. Blocking. Raises OSError."""
    for number, receipt in read_all(files, directory).items():
        left = any(files.exists(directory / segment_name(item.number)) for item in receipt.inputs)
        if not left or not files.exists(directory / segment_name(number)):
            files.unlink(directory / f"{number:08d}{SUFFIX}")
