"""What a model of Photon's kind is trained on and scored for: rows of named features, sparse, with a response.

A feature is a name and a term. Features lie in shards (bags), each with an index of its own; a coordinate of a model reads one.
A row has a response, a weight, an offset that is added to its score, an id of its own, and ids of what it is about (a member, a
job), which random effects are by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.listed import listed

Feature = tuple[str, str]
"""Name and term; the term may be empty."""
WEIGHTS_MAX = 1e150
"""Of all rows together: their squares are numbers, too."""
INTERCEPT: Feature = ("(INTERCEPT)", "")
"""As Photon calls it. It is 1 in a row that has none, or 0; no row has another one."""
SHARD = "features"
"""What the only shard is called."""
ROWS_MAX = 1 << 31


@dataclass(frozen=True)
class FeatureIndex:
    """Which column a feature is."""

    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        """Raises InvalidRequest where a feature stands twice."""
        if len(self.places) != len(self.features):
            seen: set[Feature] = set()
            twice = next(each for each in self.features if each in seen or seen.add(each))  # type: ignore[func-returns-value]
            raise InvalidRequest(f"the feature {shown(twice)} stands twice in an index")

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def places(self) -> dict[Feature, int]:
        """The column of each feature."""
        return {feature: place for place, feature in enumerate(self.features)}


@dataclass(frozen=True)
class Shard:
    """Features of rows: a CSR matrix of scipy, (rows, features), float64, without an explicit zero."""

    index: FeatureIndex
    matrix: Any

    def take(self, rows: Any) -> Shard:
        """Some of the rows, in their order."""
        return Shard(self.index, self.matrix[rows])

    def over(self, index: FeatureIndex) -> Any:
        """The matrix with the columns of another index: what it has not is left out, and what is not here is 0."""
        if index.features == self.index.features:
            return self.matrix
        sparse = needed("scipy.sparse")
        target = np.array([index.places.get(feature, -1) for feature in self.index.features], dtype=np.int64)
        there = self.matrix.tocoo()
        columns = target[there.col] if len(target) else there.col
        kept = columns >= 0
        shape = (there.shape[0], len(index))
        return sparse.csr_matrix((there.data[kept], (there.row[kept], columns[kept])), shape=shape)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Rows. The response of one that is only scored is NaN."""

    shards: Mapping[str, Shard]
    response: Any
    weight: Any
    """Not negative."""
    offset: Any
    ids: Mapping[str, Any] = field(default_factory=dict)
    """Of each kind of entity, the text that each row has: an array of objects."""
    uids: tuple[str, ...] = ()
    """Of each row, or none."""

    def __post_init__(self) -> None:
        """Raises InvalidRequest for what is no number, and for columns of different lengths."""
        rows = len(self.response)
        lengths = {
            "weights": len(self.weight),
            "offsets": len(self.offset),
            **{f"rows of the shard {name!r}": shard.matrix.shape[0] for name, shard in self.shards.items()},
            **{f"ids of {name!r}": len(found) for name, found in self.ids.items()},
            **({"uids": len(self.uids)} if self.uids else {}),
        }
        wrong = next((f"{length} {what}" for what, length in lengths.items() if length != rows), None)
        if wrong is not None:
            raise InvalidRequest(f"there are {rows} responses and {wrong}; each row has one")
        for what, values in (("weight", self.weight), ("offset", self.offset)):
            if (bad := first_row(~np.isfinite(values))) is not None:
                raise InvalidRequest(f"the {what} of {self.row_name(bad)} is {values[bad]}, and no finite number")
        if (bad := first_row(self.weight < 0)) is not None:
            raise InvalidRequest(f"the weight of {self.row_name(bad)} is {self.weight[bad]}; a weight is not negative")
        if len(self.weight) and not float(self.weight.max()) * len(self.weight) < WEIGHTS_MAX:
            raise InvalidRequest(
                f"weights of up to {self.weight.max():g} are too large to be added up; divide all of them"
            )
        for name, shard in self.shards.items():
            if not np.isfinite(shard.matrix.data).all():
                there = shard.matrix.tocoo()
                place = int(np.flatnonzero(~np.isfinite(there.data))[0])
                feature = shard.index.features[there.col[place]]
                raise InvalidRequest(
                    f"the feature {shown(feature)} of {self.row_name(int(there.row[place]))} in {name!r} is "
                    f"{there.data[place]}, and no finite number; leave it out, or write what it is"
                )
            if (column := shard.index.places.get(INTERCEPT)) is not None:
                values = shard.matrix[:, [column]].toarray().ravel()
                if (bad := first_row((values != 0) & (values != 1))) is not None:
                    check_intercept(values[bad], f"{self.row_name(bad)} in {name!r}")

    def __len__(self) -> int:
        return len(self.response)

    def row_name(self, row: int) -> str:
        """How an error names a row."""
        return f"row {row}" + (f" (uid {self.uids[row]!r})" if self.uids else "")

    def shard(self, name: str) -> Shard:
        """Raises InvalidRequest."""
        found = self.shards.get(name)
        if found is None:
            raise InvalidRequest(f"there is no shard {name!r}; there are {listed(self.shards)}")
        return found

    def entities(self, name: str) -> Any:
        """Of each row. Raises InvalidRequest."""
        found = self.ids.get(name)
        if found is None:
            raise InvalidRequest(f"the rows have no ids {name!r}; they have {listed(self.ids) or 'none'}")
        return found

    def take(self, rows: Any) -> Examples:
        """Some of the rows: places, or a mask."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype.kind == "b" else np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            shards={name: shard.take(rows) for name, shard in self.shards.items()},
            response=self.response[rows],
            weight=self.weight[rows],
            offset=self.offset[rows],
            ids={name: found[rows] for name, found in self.ids.items()},
            uids=tuple(self.uids[row] for row in rows) if self.uids else (),
        )


def examples_of(
    features: Sequence[Mapping[Feature, float]] | Mapping[str, Sequence[Mapping[Feature, float]]],
    response: Sequence[float] | Any,
    *,
    weight: Any | None = None,
    offset: Any | None = None,
    ids: Mapping[str, Iterable[object]] | None = None,
    uids: Iterable[object] = (),
) -> Examples:
    """Rows out of mappings from (name, term) to value, of one shard or by shard. Raises InvalidRequest."""
    shards = features if isinstance(features, Mapping) else {SHARD: features}
    response = numbers_of(response, "response")
    ones, zeros = np.ones(len(response)), np.zeros(len(response))
    return Examples(
        shards={name: shard_of(rows) for name, rows in shards.items()},
        response=response,
        weight=ones if weight is None else numbers_of(weight, "weight"),
        offset=zeros if offset is None else numbers_of(offset, "offset"),
        ids={name: texts_of(found) for name, found in (ids or {}).items()},
        uids=tuple(str(uid) for uid in uids),
    )


class ShardBuilder:
    """A shard that grows by rows. With an `index` it has those features, and others are left out."""

    def __init__(self, index: FeatureIndex | None = None) -> None:
        self._fixed = index
        self._places: dict[Feature, int] = {} if index is None else index.places
        self._columns: list[int] = []
        self._values: list[float] = []
        self._ends: list[int] = [0]

    def add(self, row: Iterable[tuple[Feature, float]]) -> None:
        """One row. Raises InvalidRequest where a feature stands twice in it."""
        places, start = self._places, self._ends[-1]
        for feature, value in row:
            place = places.get(feature)
            if place is None:
                if self._fixed is not None:
                    continue
                place = places[_checked(feature)] = len(places)
            self._columns.append(place)
            self._values.append(value)
        seen = self._columns[start:]
        if len(set(seen)) != len(seen):
            feature = next(each for each, place in places.items() if seen.count(place) > 1)
            raise InvalidRequest(f"the feature {shown(feature)} stands twice in row {len(self._ends) - 1}")
        self._ends.append(len(self._columns))

    def build(self) -> Shard:
        """The shard; the features of one without a fixed index stand in the order of their names."""
        sparse = needed("scipy.sparse")
        columns = np.array(self._columns, dtype=np.int64)
        index = self._fixed
        if index is None:
            index = FeatureIndex(tuple(sorted(self._places)))
            moved = np.array([index.places[feature] for feature in self._places], dtype=np.int64)
            columns = moved[columns] if len(columns) else columns
        shape = (len(self._ends) - 1, len(index))
        values = np.array(self._values, dtype=np.float64)
        matrix = sparse.csr_matrix((values, columns, np.array(self._ends, dtype=np.int64)), shape=shape)
        matrix.sort_indices()
        matrix.eliminate_zeros()
        return Shard(index, matrix)


def _checked(feature: Feature) -> Feature:
    """Raises InvalidRequest for what is no pair of texts, such as a number as the term."""
    if not (isinstance(feature, tuple) and len(feature) == 2 and all(isinstance(text, str) for text in feature)):
        raise InvalidRequest(f"a feature is a name and a term, both texts, and not {feature!r}")
    return feature


def shard_of(rows: Iterable[Mapping[Feature, float]], index: FeatureIndex | None = None) -> Shard:
    """Raises InvalidRequest for features that are no (name, term), and values that are no numbers."""
    builder = ShardBuilder(index)
    try:
        for row in rows:
            builder.add(row.items())
        return builder.build()
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InvalidRequest):
            raise
        raise InvalidRequest(f"a row is {{(name, term): number}}, and this is something else: {error}") from None


def numbers_of(values: Any, what: str) -> Any:
    """float64, one dimension. Raises InvalidRequest."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"the {what} of a row is a number: {error}") from None
    if found.ndim != 1:
        raise InvalidRequest(f"there is one {what} for each row, and not an array of the shape {found.shape}")
    return found


def texts_of(values: Iterable[object]) -> Any:
    """An array of objects, all texts."""
    told = [str(value) for value in values]
    found = np.empty(len(told), dtype=object)
    found[:] = told
    return found


def grouped(ids: Any) -> tuple[tuple[str, ...], Any]:
    """The different texts of an array of objects, sorted, and of each element which of them it is.

    numpy's own way has texts of one width: it is that of the longest for all, and zero bytes at an end are lost.
    """
    places: dict[str, int] = {}
    codes = np.fromiter((places.setdefault(each, len(places)) for each in ids), np.int64, len(ids))
    names = tuple(sorted(places))
    order = np.empty(len(names), dtype=np.int64)
    order[[places[name] for name in names]] = np.arange(len(names))
    return names, order[codes] if len(codes) else codes


def rows_of_groups(codes: Any) -> list[Any]:
    """The rows of each group, in their order, where `grouped` gave the codes."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []


def check_intercept(value: float, where: str) -> None:
    """Raises InvalidRequest for a feature called as the intercept that is something else, and would multiply it."""
    if value not in (0, 1):
        raise InvalidRequest(
            f"the feature {shown(INTERCEPT)} of {where} is {value:g}, and that is what the intercept of a model is called, "
            "which is 1 in each row; give the feature another name, or leave it out"
        )


def first_row(wrong: Any) -> int | None:
    """The first row that a mask marks."""
    return int(np.argmax(wrong)) if wrong.any() else None


def shown(feature: Feature) -> str:
    """How a feature is told."""
    return repr(feature_text(feature))


def feature_text(feature: Feature) -> str:
    """Name and term in one."""
    name, term = feature
    return f"{name}/{term}" if term else name


def feature_of(record: Mapping[str, Any]) -> Feature:
    """Of a record of Avro with a name and a term, which may be missing or null. Raises TypeError for what is no text."""
    name, term = record["name"], record.get("term")
    if not isinstance(name, str):
        raise TypeError(f"the name of a feature is {name!r}, and no text")
    if term is None:
        return name, ""
    if not isinstance(term, str):
        raise TypeError(f"the term of the feature {name!r} is {term!r}, and no text")
    return name, term
