"""The axes of a feature's tensor, and how what a user calls a place on one becomes its index and back.

A name that a vocabulary does not have is 0; for any other kind what does not fit is refused, as LinkedIn's Feathr does it
(DimensionType.java). Indices are never negative, but for entities, which are numbers of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import xxhash

from ambry.errors import InvalidRequest
from ambry.ml.features.definitions import (
    Availability,
    Categorical,
    DimensionKind,
    Discrete,
    EntityKey,
    FeatureValue,
    Hashed,
    ValueType,
)
from ambry.ml.features.urn import FeatureUrn, Reference
from ambry.ml.features.vocabulary import Vocabulary

AxisKey = str | bytes | int

_INDEX_MAX = (1 << 31) - 1
_ENTITY_LIMIT = 1 << 63


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: what lies on it, and how long it is."""

    name: str
    """Its local name."""
    dimension: Reference
    """With its namespace."""
    kind: DimensionKind
    vocabulary: Vocabulary | None = None
    """Of a categorical one."""

    @property
    def size(self) -> int | None:
        """How many indices there are; None if that is not known."""
        match self.kind:
            case Categorical():
                return None if self.vocabulary is None else self.vocabulary.size
            case Discrete(size):
                return size
            case Hashed(buckets):
                return buckets
            case EntityKey():
                return None

    @property
    def is_wide(self) -> bool:
        """Whether an index takes 64 bits; 32 are enough for the others."""
        return isinstance(self.kind, EntityKey)

    def encode(self, key: AxisKey) -> int:
        """The index of a name (categorical), a text or bytes (hashed) or a number. Raises InvalidRequest."""
        if isinstance(key, int) and not isinstance(key, bool):
            limit = _ENTITY_LIMIT if self.is_wide else min(self.size or _INDEX_MAX + 1, _INDEX_MAX + 1)
            if (-limit if self.is_wide else 0) <= key < limit:
                return int(key)
            bound = "" if self.is_wide else f"; its indices go from 0 to {limit - 1}"
            raise InvalidRequest(f"{key} does not lie on the axis {self.name!r}{bound}")
        if self.vocabulary is not None and isinstance(key, str):
            return self.vocabulary.encode(key)
        if isinstance(self.kind, Hashed) and isinstance(key, str | bytes):
            return bucket_of(key, self.kind.buckets)
        raise InvalidRequest(f"{key!r} is nothing on the axis {self.name!r}, which takes {self._takes()}")

    def encode_all(self, keys: Iterable[AxisKey]) -> list[int]:
        """`encode` of each; names are looked up in one go."""
        if self.vocabulary is not None:
            known = self.vocabulary.id_of
            return [known.get(key, 0) if isinstance(key, str) else self.encode(key) for key in keys]
        return [self.encode(key) for key in keys]

    def decode(self, index: int) -> str | int:
        """The name of an index where there is one, else the index."""
        return self.vocabulary.decode(index) if self.vocabulary is not None else index

    def _takes(self) -> str:
        match self.kind:
            case Categorical():
                return "names of its vocabulary and their ids"
            case Hashed():
                return "texts, bytes and numbers of buckets"
            case _:
                return "whole numbers"


@dataclass(frozen=True, slots=True)
class TensorType:
    """What is known of a feature's tensors: all that reading and writing them takes."""

    urn: FeatureUrn
    value_type: ValueType
    axes: tuple[Axis, ...]
    availability: Availability
    default: FeatureValue | None = None

    @property
    def shape(self) -> tuple[int | None, ...]:
        """How long each axis is; None where that is not known."""
        return tuple(axis.size for axis in self.axes)

    @property
    def is_dense(self) -> bool:
        """Whether every axis has a length, so that a tensor can hold every cell."""
        return None not in self.shape

    def encode(self, keys: tuple[AxisKey, ...]) -> tuple[int, ...]:
        """The cell that `keys` name, one for each axis. Raises InvalidRequest."""
        if len(keys) != len(self.axes):
            raise InvalidRequest(f"{self.urn} has {len(self.axes)} axes, and {len(keys)} keys were given")
        return tuple(axis.encode(key) for axis, key in zip(self.axes, keys, strict=True))


def bucket_of(key: str | bytes, buckets: int) -> int:
    """xxh3_64 of the UTF-8, modulo `buckets`: the same on every machine and in every release."""
    return xxhash.xxh3_64_intdigest(key.encode() if isinstance(key, str) else key) % buckets
