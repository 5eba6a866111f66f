"""What was set aside or cut off, and stays on the disk until an operator drops it: what there is, how large, how old, and why.

    partition-N/quarantine/S.segment.OFFSET    bytes behind the last whole record of a segment, when a start cut them off
    partition-N/set-aside/NAME.COUNT           what does not belong to the replica (opening/strays.py, opening/inventory.py)
    partition-N.set-aside-INCARNATION          a whole replica, in whose place a fresh one was put (opening/start_over.py)
    partition-N.set-aside-fresh-INCARNATION    a fresh replica of nobody

Nothing of it is read by a node, and nothing drops it by itself: it may be the only copy of something. All of this blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ambry.errors import AmbryError, DataCorrupt, FormatUnknown, InvalidRequest
from ambry.format import segment as segment_format
from ambry.format.segment import HEADER_SIZE
from datanode.store.files import FileKind, Files
from datanode.store.opening.identity import identity_in
from datanode.store.opening.replay import QUARANTINE_NAME
from datanode.store.opening.start_over import SET_ASIDE_SUFFIX
from datanode.store.opening.strays import SET_ASIDE_NAME

PARTITION_PREFIX = "partition-"


class Aside(msgspec.Struct, frozen=True):
    """One file or directory that was set aside."""

    name: str
    """From the directory of the replica on, or from that of the node for a whole replica."""
    size_bytes: int
    age_s: int
    """Since it was changed last, by the wall clock; never below 0."""
    why: str
    whole_replica: bool = False


def of_node(files: Files, data_dir: Path, now_ms: int) -> list[Aside]:
    """All of it in a node's directory, by place. Raises OSError."""
    found: list[Aside] = []
    for name in files.list_directory(data_dir):
        place = data_dir / name
        if not name.startswith(PARTITION_PREFIX) or not files.is_directory(place):
            continue
        if SET_ASIDE_SUFFIX in name:
            found.append(_whole(files, place, now_ms))
        else:
            found += [
                msgspec.structs.replace(item, name=f"{name}/{item.name}") for item in _inside(files, place, now_ms)
            ]
    return found


def of_replica(files: Files, directory: Path, now_ms: int) -> list[Aside]:
    """What belongs to one replica: in its directory, and beside it. Raises OSError."""
    beside = [
        directory.with_name(name)
        for name in files.list_directory(directory.parent)
        if name.startswith(directory.name + SET_ASIDE_SUFFIX)
    ]
    return [*_inside(files, directory, now_ms), *(_whole(files, place, now_ms) for place in beside)]


def drop(files: Files, directory: Path, item: Aside) -> None:
    """Delete one of those that `of_replica` named. Raises OSError; InvalidRequest where it is gone."""
    place = directory.with_name(item.name) if item.whole_replica else directory / item.name
    if files.kind(place) is FileKind.NOTHING:
        raise InvalidRequest(f"{place} is gone")
    _delete(files, place)
    files.sync_directory(place.parent)


def _delete(files: Files, place: Path) -> None:
    if files.kind(place) is not FileKind.DIRECTORY:
        files.unlink(place)  # a link too: what it leads to is not ours
        return
    for name in files.list_directory(place):
        _delete(files, place / name)
    files.remove_directory(place)


def _inside(files: Files, directory: Path, now_ms: int) -> Iterator[Aside]:
    for folder, why in ((QUARANTINE_NAME, _why_cut), (SET_ASIDE_NAME, _why_aside)):
        place = directory / folder
        for name in files.list_directory(place) if files.is_directory(place) else ():
            size, changed_ms = _measure(files, place / name)
            age_s = max(0, now_ms - changed_ms) // 1000
            yield Aside(f"{folder}/{name}", size, age_s, why(files, directory, place / name))


def _whole(files: Files, place: Path, now_ms: int) -> Aside:
    size, changed_ms = _measure(files, place)
    fresh = f"{SET_ASIDE_SUFFIX}fresh-" in place.name
    why = (
        "a fresh replica that was made for none" if fresh else "the replica as it was before a fresh one took its place"
    )
    return Aside(place.name, size, max(0, now_ms - changed_ms) // 1000, why, whole_replica=True)


def _measure(files: Files, place: Path) -> tuple[int, int]:
    """Bytes of a file or of all below a directory, and when the newest of it was changed, in milliseconds."""
    kind = files.kind(place)
    if kind is FileKind.DIRECTORY:
        inside = [_measure(files, place / name) for name in files.list_directory(place)]
        newest = max((changed_ms for _, changed_ms in inside), default=files.changed_ms(place))
        return sum(size for size, _ in inside), newest
    return files.size(place) if kind is FileKind.FILE else 0, files.changed_ms(place)


def _why_cut(_files: Files, _directory: Path, place: Path) -> str:
    segment, _, offset = place.name.rpartition(".")
    return f"bytes behind the last whole record of {segment}, from {offset} on, cut off at a start"


def _why_aside(files: Files, directory: Path, place: Path) -> str:
    kind = files.kind(place)
    if kind is not FileKind.FILE:
        return f"{kind} under a name of the replica that it cannot have"
    original = place.name.rpartition(".")[0]
    if not original.endswith(".segment"):
        return f"a file called {original}, where a directory must be"
    file = files.open(place)
    try:
        buffer = bytearray(HEADER_SIZE)
        header = segment_format.decode(buffer[: file.pread(buffer, 0)])
    except (DataCorrupt, FormatUnknown):
        return "a segment whose header this release cannot read"
    finally:
        file.close()
    lsns = f"LSN {header.base_lsn} to {header.end_lsn}"
    try:
        identity = identity_in(files, directory)
    except AmbryError:
        identity = None
    if identity is None or header.partition != identity.partition:
        return f"a segment of partition {header.partition}, {lsns}"
    own = identity.incarnations
    if own is not None and header.incarnation not in own:
        return f"a segment of another replica, {header.incarnation.hex()}, {lsns}"
    return f"a segment of this replica, {lsns}, which other segments cover"
