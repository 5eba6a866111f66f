"""What a feature is: its name and version, over which dimensions it lies, and of which type its values are.

Frozen values; where they come from is reading.py, where they go writing.py. `hashed` and `entity` dimensions are ours, not of
LinkedIn's article.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from types import MappingProxyType

from ambry.errors import InvalidRequest
from ambry.ml.features.text import TextPlace
from ambry.ml.features.urn import FeatureUrn, FeatureVersion, Reference, check_name
from ambry.ml.features.vocabulary import Vocabulary

FeatureValue = bool | int | float | str | bytes

FIRST = FeatureVersion(1, 0)
"""What stands where no version is said."""

BUCKETS_MAX = 1 << 31
DIMS_MAX = 8
_BITS = {"INT": 32, "LONG": 64}


class ValueType(Enum):
    """Of a feature's values, as its definition names it."""

    INT = "INT"
    LONG = "LONG"
    FLOAT = "FLOAT"
    DOUBLE = "DOUBLE"
    STRING = "STRING"
    BOOLEAN = "BOOLEAN"
    BYTES = "BYTES"

    def check(self, value: FeatureValue) -> FeatureValue:
        """`value` as this type has it; a whole number may stand for a float. Raises InvalidRequest."""
        fits: bool
        match self:
            case ValueType.BOOLEAN:
                fits = isinstance(value, bool)
            case ValueType.INT | ValueType.LONG:
                limit = 1 << (_BITS[self.value] - 1)
                fits = isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit
            case ValueType.FLOAT | ValueType.DOUBLE:
                fits = isinstance(value, int | float) and not isinstance(value, bool) and _is_held(value, self)
                if fits:
                    return float(value)
            case ValueType.STRING:
                fits = isinstance(value, str)
            case ValueType.BYTES:
                fits = isinstance(value, bytes)
        if not fits:
            raise InvalidRequest(f"{value!r} is not a value of the type {self.value}")
        return value


def _is_held(value: float, value_type: ValueType) -> bool:
    """Whether a number is within FLOAT or DOUBLE, and not rounded where it is whole; a FLOAT takes the nearest of others."""
    try:
        nearest = struct.unpack("<f", struct.pack("<f", value))[0] if value_type is ValueType.FLOAT else float(value)
    except OverflowError:
        return False
    return math.isfinite(nearest) and (isinstance(value, float) or int(nearest) == value)


class Availability(Enum):
    """Where a feature can be read: at serving, from snapshots, or both."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    BOTH = "BOTH"

    @property
    def online(self) -> bool:
        return self is not Availability.OFFLINE

    @property
    def offline(self) -> bool:
        return self is not Availability.ONLINE


@dataclass(frozen=True, slots=True)
class Categorical:
    """Ids of names, from a vocabulary; a name that is not in it is 0."""

    id_mapping_file: str


@dataclass(frozen=True, slots=True)
class Discrete:
    """Whole numbers from 0; below `size` if that is known."""

    size: int | None = None

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        if self.size is not None and not 1 <= self.size <= BUCKETS_MAX:
            raise InvalidRequest(f"the size of a discrete dimension is a number from 1 to {BUCKETS_MAX}")


@dataclass(frozen=True, slots=True)
class Hashed:
    """Texts or bytes without a vocabulary: the xxh3_64 of their UTF-8, modulo `buckets`."""

    buckets: int

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        if not 1 <= self.buckets <= BUCKETS_MAX:
            raise InvalidRequest(f"the buckets of a hashed dimension are a number from 1 to {BUCKETS_MAX}")


@dataclass(frozen=True, slots=True)
class EntityKey:
    """The number of a member, job or other thing: 64 bits with a sign."""


DimensionKind = Categorical | Discrete | Hashed | EntityKey


@dataclass(frozen=True, slots=True)
class Dimension:
    """One axis, which features share."""

    name: str
    kind: DimensionKind
    version: FeatureVersion = FIRST
    doc: str = ""
    place: TextPlace | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        check_name(self.name)

    @property
    def reference(self) -> Reference:
        return Reference(self.name, self.version)


@dataclass(frozen=True, slots=True)
class FeatureDim:
    """A dimension of a feature, under a local name where one lies on two axes (`viewer`, `viewee`)."""

    dimension: Reference
    local_name: str = ""

    @property
    def name(self) -> str:
        """What the axis is called in a tensor."""
        return self.local_name or self.dimension.name


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature. Its dims and its type never change: other ones are another version."""

    name: str
    value_type: ValueType
    dims: tuple[FeatureDim, ...] = ()
    """None is a scalar."""
    version: FeatureVersion = FIRST
    availability: Availability = Availability.BOTH
    default: FeatureValue | None = None
    """What an entity without a value has; None is no value."""
    doc: str = ""
    place: TextPlace | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        check_name(self.name)
        if len(self.dims) > DIMS_MAX:
            raise InvalidRequest(f"feature {self.name!r} has {len(self.dims)} dims; at most {DIMS_MAX} are possible")
        names = [dim.name for dim in self.dims]
        for name in names:
            check_name(name)
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InvalidRequest(
                f"feature {self.name!r} has two dims named {twice!r}; give each a name of its own: "
                f"{{name: viewer, dim: {twice}-1-0}}"
            )
        if self.default is not None:
            object.__setattr__(self, "default", self.value_type.check(self.default))

    def urn(self, namespace: str) -> FeatureUrn:
        """Its name in the whole world. Raises InvalidRequest."""
        return FeatureUrn(namespace, self.name, self.version)


@dataclass(frozen=True)
class Definitions:
    """The features, dimensions and vocabularies of one namespace."""

    namespace: str
    features: tuple[Feature, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=lambda: MappingProxyType({}))
    """By the name of their file."""

    def feature(self, name: str, version: FeatureVersion) -> Feature | None:
        """None if it is not defined here."""
        return self._by_name[0].get((name, version))

    def dimension(self, name: str, version: FeatureVersion) -> Dimension | None:
        """None if it is not defined here."""
        return self._by_name[1].get((name, version))

    @cached_property
    def _by_name(
        self,
    ) -> tuple[dict[tuple[str, FeatureVersion], Feature], dict[tuple[str, FeatureVersion], Dimension]]:
        """Features, and dimensions."""
        features = {(one.name, one.version): one for one in reversed(self.features)}
        dimensions = {(one.name, one.version): one for one in reversed(self.dimensions)}
        return features, dimensions
