"""What can happen to the files of a data node: lost, cut, a bit flipped. Where nothing else is said it does not run then."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ambry.format import segment as segment_format
from ambry.format.segment import HEADER_SIZE
from deploy.local_cluster import LocalCluster
from deploy.local_layout import Member
from tests.support.rest import page


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The segment of one partition in which its log ends; `data_end` is the offset behind the last record."""

    partition: int
    path: Path
    data_end: int


def end_lsns(node: Member) -> dict[int, int]:
    """Per partition the LSN behind its last record, as the running node tells."""
    return {entry["partition"]: entry["end_lsn"] for entry in page(node.admin_url, "/partitions")}


def tails(node: Member, ends: Mapping[int, int]) -> list[Tail]:
    """Where the logs of a stopped node end, given what it told before."""
    found = []
    for partition, end_lsn in ends.items():
        for path in sorted((node.data_dir / f"partition-{partition:08d}").glob("*.segment"), reverse=True):
            with path.open("rb") as stream:
                header = segment_format.decode(stream.read(HEADER_SIZE))
            if header.base_lsn + HEADER_SIZE < end_lsn:
                found.append(Tail(partition=partition, path=path, data_end=end_lsn - header.base_lsn))
                break
    return found


def cut(path: Path, size: int) -> None:
    """Make a file `size` bytes long, as a crash of the file system would."""
    with path.open("r+b") as stream:
        stream.truncate(max(0, size))


def remove_indexes(node: Member) -> int:
    """Delete the index of every partition; how many there were."""
    found = list(node.data_dir.glob("partition-*/index"))
    for directory in found:
        shutil.rmtree(directory)
    return len(found)


def flip_bit(path: Path, place: int) -> None:
    """The lowest bit of the byte at this offset."""
    with path.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([byte ^ 1]))


def flip_bits(node: Member, source: random.Random, *, per_segment: int = 1) -> list[str]:
    """Flip bits in the written middle of every segment; says where."""
    said = []
    for path in sorted(node.data_dir.glob("partition-*/*.segment")):
        data = bytearray(path.read_bytes())
        written = len(bytes(data).rstrip(b"\0"))
        if written <= HEADER_SIZE + 16:
            continue
        for _ in range(per_segment):
            place, bit = source.randrange(HEADER_SIZE, written), source.randrange(8)
            data[place] ^= 1 << bit
            said.append(f"{path}: bit {bit} of byte {place} of {written}")
            with path.open("r+b") as stream:
                stream.seek(place)
                stream.write(data[place : place + 1])
    return said


def holding(node: Member, data: bytes) -> tuple[Path, int]:
    """The segment of a node, running or not, that holds these bytes, and the offset. AssertionError where none does."""
    for path in sorted(node.data_dir.glob("partition-*/*.segment")):
        with suppress(FileNotFoundError):  # compacted away meanwhile
            if (start := path.read_bytes().find(data[:4096])) >= 0:
                return path, start
    raise AssertionError(f"{node.name} does not hold it")


def damage_payload(node: Member, data: bytes, place: int) -> None:
    """Flip a bit of byte `place` of a payload in a segment of a running node; its pages stay in the page cache."""
    path, start = holding(node, data)
    flip_bit(path, start + place)


def incarnations(cluster: LocalCluster, node: str) -> dict[int, str]:
    """Per partition the identity of this node's replica."""
    partitions = page(cluster.member(node).admin_url, "/partitions")
    return {entry["partition"]: entry["incarnation"] for entry in partitions}
