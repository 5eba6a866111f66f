"""Which experiment has which stretch of a layer: one small document for each layer, written by compare and set.

    layers/<layer>.json     {"stretches": {"ranker-2": [0.0, 0.5], "ranker-3": [0.5, 1.0]}}

A stretch is taken before the experiment is there and let go after it has ended, so two experiments never share a part of a
layer, whoever starts them at the same time. While it runs its stretch may grow and does not shrink.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

from ambry.client.refs import NameRef, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import MALFORMED, AlreadyExists, BlobNotFound, DataCorrupt, PreconditionFailed, UpdateConflict
from ambry.ml.experiments.document import LayerRange

CONTENT_TYPE = "application/json"
SIZE_MAX = 1 << 20
_TRIES_MAX = 20

Stretches = dict[str, tuple[float, float]]
"""From where to where, by dataset of the same container."""


class StretchTaken(UpdateConflict):
    """Another experiment has a part of that stretch of the layer."""

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


def take_stretch(client: AmbryClient, place: VersionRef, layer: LayerRange) -> None:
    """Give an experiment a stretch, and keep what it has of the layer; durable on return.

    Raises StretchTaken, UpdateConflict where others change the layer all the time.
    """
    own = place.dataset

    def taken(stretches: Stretches) -> Stretches:
        begin, end = stretches.get(own, (layer.begin, layer.end))
        begin, end = min(begin, layer.begin), max(end, layer.end)
        for holder, (other_begin, other_end) in sorted(stretches.items()):
            if holder != own and begin < other_end and other_begin < end:
                raise StretchTaken(
                    f"{holder} has the layer {layer.name!r} from {other_begin:g} to {other_end:g}, so {own} cannot have "
                    f"it from {begin:g} to {end:g}; take another stretch, or stop {holder}",
                    holder,
                )
        return {**stretches, own: (begin, end)}

    _change(client, _name(place, layer.name), taken)


def let_go(client: AmbryClient, place: VersionRef, layer: str) -> None:
    """Let others have the stretch of an experiment; nothing happens where it has none."""
    own = place.dataset
    _change(
        client,
        _name(place, layer),
        lambda stretches: {holder: stretch for holder, stretch in stretches.items() if holder != own},
    )


def stretches_of(client: AmbryClient, place: VersionRef, layer: str) -> Stretches:
    """Who has what of a layer, of the container of `place`."""
    return _read(client, _name(place, layer))[0]


def changed_at(client: AmbryClient, place: VersionRef, layer: str) -> datetime | None:
    """When a stretch of the layer was taken or let go last, by the store's clock; None where none ever was."""
    try:
        return client.head(_name(place, layer)).created
    except BlobNotFound:
        return None


def _change(client: AmbryClient, name: NameRef, change: Callable[[Stretches], Stretches]) -> None:
    for _ in range(_TRIES_MAX):
        before, etag = _read(client, name)
        after = change(before)
        if after == before:
            return
        data = json.dumps({"stretches": after}, sort_keys=True, ensure_ascii=False).encode()
        try:
            client.put(data, name=name, content_type=CONTENT_TYPE, if_absent=etag is None, if_match=etag)
        except (AlreadyExists, PreconditionFailed, UpdateConflict):
            continue
        return
    raise UpdateConflict(f"others change {name} all the time; try again")


def _read(client: AmbryClient, name: NameRef) -> tuple[Stretches, str | None]:
    """What stands there, and its etag; None where nothing does. Raises DataCorrupt."""
    try:
        with client.get(name) as reader:
            if reader.info.size > SIZE_MAX:
                raise DataCorrupt(f"{name} says nothing of a layer: it has {reader.info.size} bytes")
            etag, data = reader.info.etag, reader.read()
    except BlobNotFound:
        return {}, None
    try:
        said = json.loads(data)["stretches"]
        return {str(holder): (float(begin), float(end)) for holder, (begin, end) in said.items()}, etag
    except MALFORMED as error:
        raise DataCorrupt(f"{name} says nothing of a layer: {error!r}") from error


def _name(place: VersionRef, layer: str) -> NameRef:
    return NameRef(f"layers/{layer}.json", place.account, place.container)
