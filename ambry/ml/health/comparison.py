"""Two tables of the same columns: training beside serving, yesterday beside today; what moved, and by how much.

Numbers are compared by the two-sample Kolmogorov-Smirnov test, texts by chi-square and the total variation of their shares,
both by the population stability index over the tenths of the reference (a value that fills one is a bin of its own), or its
most frequent texts. The index of two samples of
the same is a chi-square over their sizes (Yurdakul, 2018, "Statistical properties of the population stability index"), so a
small table does not count as moved because it is small.

The cells of a dense feature are compared one by one, and each p is adjusted (Holm) for how many there are: of 500 cells chance
moves some. So is what of a cell is missing. Of texts that the reference lacks as many are expected as it has once (Good, 1953,
"The population frequencies of species and the estimation of population parameters").
"""

from __future__ import annotations

import difflib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.experiments.statistics import adjusted
from ambry.ml.extras import needed
from ambry.ml.health.summaries import ColumnSummary, TableSummary, quantiles
from ambry.ml.health.thresholds import ColumnThresholds, Thresholds
from ambry.ml.models.inputs import counted

_TENTHS = np.linspace(0.1, 0.9, 9)
_TEXTS_MAX = 50
"""Texts that are compared one by one; the rest are one more."""
FAULTS_MAX = 5
"""Faults of the cells of a feature that are told one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnComparison:
    """A column in both tables. What cannot be said is None. Each p of a cell is adjusted for how many cells there are."""

    name: str
    urn: str = ""
    part: str = ""
    """As of its summary: `[3]` of a cell of a dense feature."""
    reference_count: int
    count: int
    distance: float | None = None
    p: float | None = None
    psi: float | None = None
    psi_p: float | None = None
    reference_missing_rate: float = 0.0
    missing_rate: float = 0.0
    missing_p: float | None = None
    reference_out_of_vocabulary_rate: float | None = None
    out_of_vocabulary_rate: float | None = None
    """Of typed features their cells at 0; of other texts those that the reference does not have, or is expected to lack."""
    out_of_vocabulary_p: float | None = None
    faults: tuple[str, ...] = ()
    """What is beyond a threshold, as sentences."""

    @property
    def column(self) -> str:
        """The one that it is, or is a part of."""
        return self.name.removesuffix(self.part)

    @property
    def is_cell(self) -> bool:
        return self.part.startswith("[")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """What a comparison of two tables has found."""

    reference: TableSummary
    current: TableSummary
    comparisons: tuple[ColumnComparison, ...]
    """Cells after their feature, those that moved furthest first."""

    @property
    def faults(self) -> list[str]:
        """Each with its column; of the cells of a feature FAULTS_MAX, and how many more of them have some. And what there was
        nothing to compare in, which nothing speaks for."""
        tables = [f"{table.name} has no rows" for table in (self.reference, self.current) if not table.rows]
        if not self.comparisons:
            tables.append("there was no column to compare")
        for (column, is_cell), found in groupby(self.comparisons, lambda each: (each.column, each.is_cell)):
            faulty = [each for each in found if each.faults]
            listed = faulty[:FAULTS_MAX] if is_cell else faulty
            tables += [f"{each.name}: {fault}" for each in listed for fault in each.faults]
            if len(faulty) > len(listed):
                tables.append(f"{column}: {len(faulty) - len(listed)} more of its cells are not what they were")
        return tables

    @property
    def notes(self) -> list[str]:
        """What was not looked at one by one."""
        return [
            f"{each.name}: its {each.width:,} cells are compared together, and one that moves alone may not be seen"
            for each in self.reference.columns
            if each.width and not each.has_cells and any(found.name == each.name for found in self.comparisons)
        ]

    @property
    def healthy(self) -> bool:
        return not self.faults

    def encode(self) -> bytes:
        """As JSON, for a blob."""
        tables = {
            name: {"name": table.name, "rows": table.rows, "columns": [each.plain() for each in table.columns]}
            for name, table in (("reference", self.reference), ("current", self.current))
        }
        about = {"healthy": self.healthy, "notes": self.notes}
        told = {**tables, **about, "comparisons": [asdict(each) for each in self.comparisons]}
        # A name of a file need not be Unicode.
        return json.dumps(told, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def compare(reference: TableSummary, current: TableSummary, thresholds: Thresholds | None = None) -> HealthReport:
    """Compare each column of the reference; columns that only the current table has are none of it.

    Raises InvalidRequest for thresholds of a column that neither has.
    """
    thresholds = thresholds or Thresholds()
    _check_named(thresholds, reference, current)
    pairs = []
    for before, after in zip(reference.columns, current.counterparts(reference.columns), strict=True):
        bounds = thresholds.of(before.name, before.urn, before.column)
        if not bounds.ignored:
            pairs.append((_compared(before, after, bounds), bounds))
    found: list[ColumnComparison] = []
    for (_, is_cell), group in groupby(pairs, lambda each: (each[0].column, each[0].is_cell)):
        own = list(group)
        own = list(_of_many(own)) if is_cell else own
        judged = [each if each.faults else replace(each, faults=tuple(_faults(each, bounds))) for each, bounds in own]
        found += sorted(judged, key=_worst_first) if is_cell else judged
    return HealthReport(reference=reference, current=current, comparisons=tuple(found))


def _worst_first(found: ColumnComparison) -> tuple[bool, float]:
    return not found.faults, -(found.distance or 0.0)


def _of_many(
    cells: list[tuple[ColumnComparison, ColumnThresholds]],
) -> Iterator[tuple[ColumnComparison, ColumnThresholds]]:
    """Each p for how many there are of its kind."""
    changes: list[dict[str, Any]] = [{} for _ in cells]
    for name in ("p", "psi_p", "missing_p"):
        said = [(place, p) for place, (each, _) in enumerate(cells) if (p := getattr(each, name)) is not None]
        for (place, _), p in zip(said, adjusted([p for _, p in said]), strict=True):
            changes[place][name] = p
    for (each, bounds), own in zip(cells, changes, strict=True):
        yield replace(each, **own), bounds


def _compared(before: ColumnSummary, after: ColumnSummary | None, bounds: ColumnThresholds) -> ColumnComparison:
    """Without what is beyond a threshold."""
    told: dict[str, Any] = {
        "name": before.name,
        "urn": before.urn,
        "part": before.part,
        "reference_count": before.count,
    }
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
        told |= _unseen(before, after)
    if before.is_cell:
        rows = (before.missing + before.count, after.missing + after.count)
        told["missing_p"] = _rise_p(before.missing, rows[0], after.missing, rows[1])
    if min(before.count, after.count) >= _least(bounds) and not before.has_cells:
        told |= _texts(before, after) if before.texts is not None else _numbers(before, after)
    return ColumnComparison(**told)


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
    for what, before, after, bound, p in (
        ("missing", found.reference_missing_rate, found.missing_rate, bounds.missing_rise_max, found.missing_p),
        (
            "out of vocabulary",
            found.reference_out_of_vocabulary_rate or 0.0,
            found.out_of_vocabulary_rate or 0.0,
            bounds.out_of_vocabulary_rise_max,
            found.out_of_vocabulary_p,
        ),
    ):
        if after - before > bound and (p is None or p < bounds.p_min):
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
    distance, p = _apart(before.sample, after.sample) if before.is_cell else _tested(before.sample, after.sample)
    edges = _edges(before.sample)
    counts = [counted(edges, each.sample) for each in (before, after)]
    return {"distance": distance, "p": p, **stability(*counts)}


def _tested(before: Any, after: Any) -> tuple[float, float]:
    tested = needed("scipy.stats").ks_2samp(before, after, method="asymp")
    return float(tested.statistic), float(tested.pvalue)


def _apart(before: Any, after: Any) -> tuple[float, float]:
    """The same with the p of Kolmogorov's limit, which takes no milliseconds: there may be a thousand cells."""
    both = np.concatenate([before, after])
    shares = [np.searchsorted(each, both, side="right") / len(each) for each in (before, after)]
    distance = float(np.abs(shares[0] - shares[1]).max())
    reach = distance * math.sqrt(len(before) * len(after) / len(both))
    return distance, float(needed("scipy.special").kolmogorov(reach))


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
    chance = float(needed("scipy.special").chdtrc(len(first) - 1, psi / (1 / first.sum() + 1 / second.sum())))
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


def _unseen(before: ColumnSummary, after: ColumnSummary) -> dict[str, float]:
    """The part of texts that the reference does not have, beside the part that it is expected to lack."""
    known = _counts(before)
    once = sum(count == 1 for count in known.values())
    unseen = sum(count for text, count in _counts(after).items() if text not in known) + after.other_texts
    return {
        "reference_out_of_vocabulary_rate": once / before.count if before.count else 0.0,
        "out_of_vocabulary_rate": unseen / after.count if after.count else 0.0,
        "out_of_vocabulary_p": _rise_p(once, before.count, unseen, after.count),
    }


def _rise_p(before: int, of_before: int, after: int, of_after: int) -> float:
    """How often chance alone has a part rise so far: the normal test of two parts, with Yates's correction."""
    if not of_before or not of_after:
        return 1.0
    whole = (before + after) / (of_before + of_after)
    spread = whole * (1 - whole) * (1 / of_before + 1 / of_after)
    rise = after / of_after - before / of_before - (1 / of_before + 1 / of_after) / 2
    return math.erfc(rise / math.sqrt(2 * spread)) / 2 if spread > 0 else 1.0


def _counts(summary: ColumnSummary) -> Counter[str]:
    return Counter() if summary.texts is None else summary.texts
