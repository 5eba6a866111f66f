"""A change as a message: its key, its value, and headers by which whoever reads it knows it again.

    key      the name; of a dataset, its versions and aliases the dataset; of a blob its id. UTF-8
    value    the JSON of `change_fields`, UTF-8: a line of `ambry changes --output json`
    headers
      ambry-change    32 hexadecimal digits: the same whenever the same change is told, whoever tells it
      ambry-sequence  a whole number: the place among what was published; what comes again has one that was there before
      ambry-epoch     a whole number: which run published it; each takes over from the one before

Invariant: `ambry-change` depends on nothing that two tellings of one change may say differently: the time of a put, which
a name tells where the replica of its blob does not yet, and whether it was late.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ambry.client.changes import RESTARTED, change_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from ambry.client.changes import ToldChange

CHANGE_HEADER = "ambry-change"
SEQUENCE_HEADER = "ambry-sequence"
EPOCH_HEADER = "ambry-epoch"


@dataclass(frozen=True, slots=True)
class ChangeMessage:
    """What is produced, but for the place among others. `change` is the text of its header."""

    key: bytes
    value: bytes
    change: bytes


def message_of(change: ToldChange) -> ChangeMessage | None:
    """The message of a change; None for RESTARTED, which is about no blob and no name."""
    if change.type == RESTARTED:
        return None
    value = json.dumps(change_fields(change), ensure_ascii=False, separators=(",", ":"))
    return ChangeMessage(key_of(change).encode(), value.encode(), change_id(change).encode())


def key_of(change: ToldChange) -> str:
    """What orders it: changes of one key are in one partition, as they were told."""
    return change.name or change.dataset or str(change.id)


def change_id(change: ToldChange) -> str:
    """The same text for the same change, and another one for any other: 128 bits of SHA-256."""
    if change.type == "blob.put":
        told: list[object] = [change.type, str(change.id)]
    elif change.type.startswith("blob."):
        expires = "" if change.expires is None or change.type != "blob.extend" else change.expires.isoformat()
        told = [change.type, str(change.id), change.life_version, expires]
    else:
        made = "" if change.time is None else change.time.isoformat()
        id = "" if change.id is None else str(change.id)
        told = [change.type, change.name, change.dataset, change.version, change.alias, id, made, change.datacenter]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def without_own(changes: Iterable[ToldChange], state: str | None, blobs: Set[str]) -> list[ToldChange]:
    """Changes but for those of the publisher's own state, which would have it publish for ever that it has published.

    `state` is the name of the state, if it is in this container; `blobs` are the ids of all that it has pointed to.
    """
    if state is None:
        return list(changes)
    return [
        each
        for each in changes
        if not (each.name == state or (each.type.startswith("blob.") and str(each.id) in blobs))
    ]
