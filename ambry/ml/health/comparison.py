"""Two tables of the same columns: training beside serving, yesterday beside today; what moved, and by how much.

Numbers are compared by the two-sample Kolmogorov-Smirnov test, texts by chi-square and the total variation of their shares,
both by the population stability index over the tenths of the reference (a value that fills one is a bin of its own), or its
most frequent texts. The index of two samples of
the same is a chi-square over their sizes (Yurdakul, 2018, "Statistical properties of the population stability index"), so a
small table does not count as moved because it is small.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.health.summaries import ColumnSummary, TableSummary, quantiles
from ambry.ml.health.thresholds import ColumnThresholds, Thresholds

_TENTHS = np.linspace(0.1, 0.9, 9)
_TEXTS_MAX = 50
"""Texts that are compared one by one; the rest are one more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnComparison:
    """A column in both tables. What cannot be said is None."""

    name: str
    urn: str = ""
    reference_count: int
    count: int
    distance: float | None = None
    p: float | None = None
    psi: float | None = None
    psi_p: float | None = None
    reference_missing_rate: float = 0.0
    missing_rate: float = 0.0
    reference_out_of_vocabulary_rate: float | None = None
    out_of_vocabulary_rate: float | None = None
    """Of typed features their cells at 0; of other texts those that the reference does not have."""
    faults: tuple[str, ...] = ()
    """What is beyond a threshold, as sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """What a comparison of two tables has found."""

    reference: TableSummary
    current: TableSummary
    comparisons: tuple[ColumnComparison, ...]

    @property
    def faults(self) -> list[str]:
        """All of them, each with its column; and what there was nothing to compare in, which nothing speaks for."""
        tables = [f"{table.name} has no rows" for table in (self.reference, self.current) if not table.rows]
        if not self.comparisons:
            tables.append("there was no column to compare")
        return tables + [f"{each.name}: {fault}" for each in self.comparisons for fault in each.faults]

    @property
    def healthy(self) -> bool:
        return not self.faults

    def encode(self) -> bytes:
        """As JSON, for a blob."""
        tables = {
            name: {"name": table.name, "rows": table.rows, "columns": [each.plain() for each in table.columns]}
            for name, table in (("reference", self.reference), ("current", self.current))
        }
        told = {**tables, "healthy": self.healthy, "comparisons": [asdict(each) for each in self.comparisons]}
        # A name of a file need not be Unicode.
        return json.dumps(told, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def compare(reference: TableSummary, current: TableSummary, thresholds: Thresholds | None = None) -> HealthReport:
    """Compare each column of the reference; columns that only the current table has are none of it.

    Raises InvalidRequest for thresholds of a column that neither has.
    """
    thresholds = thresholds or Thresholds()
    _check_named(thresholds, reference, current)
    found = []
    for before in reference.columns:
        bounds = thresholds.of(before.name, before.urn)
        if not bounds.ignored:
            found.append(_compared(before, current.counterpart(before), bounds))
    return HealthReport(reference=reference, current=current, comparisons=tuple(found))


def _compared(before: ColumnSummary, after: ColumnSummary | None, bounds: ColumnThresholds) -> ColumnComparison:
    told: dict[str, Any] = {"name": before.name, "urn": before.urn, "reference_count": before.count}
    if after is None:
        return ColumnComparison(**told, count=0, faults=("it is not there any more",))
    told |= {
        "count": after.count,
        "reference_missing_rate": before.missing_rate,
        "missing_rate": after.missing_rate,
        "reference_out_of_vocabulary_rate": before.out_of_vocabulary_rate,
        "out_of_vocabulary_rate": after.out_of_vocabulary_rate,
    }
    if before.kind != after.kind and before.count and after.count:
        return ColumnComparison(**told, faults=(f"it has {after.kind} now, and had {before.kind}",))
    if before.texts is not None and after.texts is not None and not before.vocabulary_cells and not before.other_texts:
        told |= {"reference_out_of_vocabulary_rate": 0.0, "out_of_vocabulary_rate": _unseen(before, after)}
    if min(before.count, after.count) >= _least(bounds):
        told |= _texts(before, after) if before.texts is not None else _numbers(before, after)
    compared = ColumnComparison(**told)
    return ColumnComparison(**told, faults=tuple(_faults(compared, bounds)))


def _faults(found: ColumnComparison, bounds: ColumnThresholds) -> list[str]:
    faults = []
    if min(found.reference_count, found.count) < _least(bounds) and max(found.reference_count, found.count):
        faults.append(
            f"it has {found.count} values beside {found.reference_count}; {_least(bounds):g} are the least to compare"
        )
    if _beyond(found.distance, bounds.distance_max) and _rare(found.p, bounds.p_min):
        faults.append(
            f"its distribution moved by {found.distance:.3g}, more than {bounds.distance_max:g} (p {found.p:.2g})"
        )
    if _beyond(found.psi, bounds.psi_max) and _rare(found.psi_p, bounds.p_min):
        faults.append(f"its population stability index is {found.psi:.3g}, more than {bounds.psi_max:g}")
    for what, before, after, bound in (
        ("missing", found.reference_missing_rate, found.missing_rate, bounds.missing_rise_max),
        (
            "out of vocabulary",
            found.reference_out_of_vocabulary_rate or 0.0,
            found.out_of_vocabulary_rate or 0.0,
            bounds.out_of_vocabulary_rise_max,
        ),
    ):
        if after - before > bound:
            faults.append(f"{after:.1%} is {what} beside {before:.1%}, a rise of more than {bound:.1%}")
    return faults


def _least(bounds: ColumnThresholds) -> float:
    """How many values are compared."""
    return max(bounds.values_min, 2)


def _check_named(thresholds: Thresholds, reference: TableSummary, current: TableSummary) -> None:
    """Raises InvalidRequest: a name that is misspelt would leave its column to the bounds of all."""
    known = {name for table in (reference, current) for name in table.known}
    known |= {name for table in (reference, current) for each in table.columns for name in (each.name, each.urn)}
    for name in thresholds.columns:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known - {""}), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "take it out of the thresholds"
            raise InvalidRequest(f"no table has the column {name!r} that thresholds are said for; {hint}")


def _beyond(value: float | None, bound: float) -> bool:
    return value is not None and value > bound


def _rare(p: float | None, bound: float) -> bool:
    return p is not None and p < bound


def _numbers(before: ColumnSummary, after: ColumnSummary) -> dict[str, float]:
    if before.sample is None or after.sample is None or not len(before.sample) or not len(after.sample):
        return {}
    tested = needed("scipy.stats").ks_2samp(before.sample, after.sample, method="asymp")
    edges = _edges(before.sample)
    counts = [
        np.bincount(np.searchsorted(edges, each.sample, side="right"), minlength=len(edges) + 1)
        for each in (before, after)
    ]
    return {"distance": float(tested.statistic), "p": float(tested.pvalue), **stability(*counts)}


def _edges(sample: Any) -> Any:
    """Where bins begin: at the tenths, and right behind a value that is at two of them."""
    tenths = quantiles(sample, _TENTHS)
    tied = tenths[1:][tenths[1:] == tenths[:-1]]
    return np.unique(np.concatenate([tenths, np.nextafter(tied, np.inf)]))


def _texts(before: ColumnSummary, after: ColumnSummary) -> dict[str, float]:
    most = _counts(before)
    names = sorted(most, key=lambda name: (-most[name], name))[:_TEXTS_MAX]
    counts = []
    for each in (before, after):
        listed = [_counts(each)[name] for name in names]
        counts.append(np.array([*listed, each.count - sum(listed)]))
    shares = [each / each.sum() for each in counts]
    seen = (counts[0] + counts[1]) > 0
    table = np.array(counts)[:, seen]
    p = float(needed("scipy.stats").chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0
    return {"distance": float(np.abs(shares[0] - shares[1]).sum() / 2), "p": p, **stability(counts[0], counts[1])}


def stability(before: Sequence[int] | Any, after: Sequence[int] | Any) -> dict[str, float]:
    """The population stability index of counts in the same bins, and how often chance alone has more of it."""
    first, second = _used(before, after)
    if len(first) < 2:
        return {"psi": 0.0, "psi_p": 1.0}
    psi = psi_of(first, second)
    chance = float(needed("scipy.stats").chi2.sf(psi / (1 / first.sum() + 1 / second.sum()), len(first) - 1))
    return {"psi": psi, "psi_p": chance}


def psi_of(before: Sequence[int] | Any, after: Sequence[int] | Any) -> float:
    """The population stability index alone, of counts in the same bins."""
    both = _used(before, after)
    # Half of one more in each bin, so that an empty one is not infinitely far away.
    shares = [(counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in both]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _used(before: Sequence[int] | Any, after: Sequence[int] | Any) -> tuple[Any, Any]:
    """Without the bins that are empty in both."""
    first, second = (np.asarray(counts, dtype=np.float64) for counts in (before, after))
    used = (first + second) > 0
    return first[used], second[used]


def _unseen(before: ColumnSummary, after: ColumnSummary) -> float:
    """The part of texts that the reference does not have."""
    known = _counts(before)
    unseen = sum(count for text, count in _counts(after).items() if text not in known) + after.other_texts
    return unseen / after.count if after.count else 0.0


def _counts(summary: ColumnSummary) -> Counter[str]:
    return Counter() if summary.texts is None else summary.texts
