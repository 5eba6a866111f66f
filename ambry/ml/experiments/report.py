"""An evaluation to look at: is the split right, and what does each arm do to each metric, with both intervals drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ambry.ml.experiments.document import Experiment
from ambry.ml.experiments.evaluation import ALL, SAMPLE_RATIO_P_MIN, ArmComparison, Evaluation
from ambry.ml.pages import number, page, paragraph, table, text

_LABELS = 230
_WIDTH = 900
_ROW = 30
_VALUES_MAX = 20
"""Of an attribute that an experiment is for; the page tells how many there are."""
_COLOURS = {"good": "#1a7f37", "bad": "#b42318", "": "#57606a"}


def render_report(evaluation: Evaluation, experiment: Experiment) -> bytes:
    """One file of HTML, the same for the same evaluation."""
    metrics = list(dict.fromkeys(each.metric for each in evaluation.comparisons))
    parts = [_about(experiment), _ratio(evaluation, experiment), _counted(evaluation)]
    for metric in metrics:
        found = [each for each in evaluation.comparisons if each.metric == metric]
        parts += [
            f"<h2>{text(metric)}</h2>\n",
            *_said(found, evaluation),
            forest(found, evaluation.alpha),
            _numbers(found),
        ]
    parts.append(
        paragraph(
            f"Thick: the interval of {1 - evaluation.alpha:.0%} for one look that was planned. Thin: the always-valid one, "
            "which holds however often the experiment is looked at. Neither is adjusted for how many comparisons there are; "
            "the adjusted p is (Holm), and it decides. Green is more of the metric and red is less, where that is shown.",
            "note",
        )
    )
    return page(f"Experiment {experiment.name}", *parts)


def sentence_of(found: ArmComparison, alpha: float) -> str:
    """What a comparison says, for people."""
    effect = found.effect
    relative = "" if effect.relative is None else f" ({effect.relative:+.2%})"
    who = "" if found.segment == ALL else f" of {found.segment}"
    verdict = "shown" if found.adjusted_p < alpha else "not shown yet"
    return (
        f"{found.arm}{who}: {effect.difference:+.4g}{relative} of {found.metric}, always-valid p {found.adjusted_p:.2g}, "
        f"interval {effect.always_low:+.4g} to {effect.always_high:+.4g}: {verdict}"
    )


def forest(found: Sequence[ArmComparison], alpha: float) -> str:
    """The effects below each other, around nothing, as SVG."""
    bounds = [
        bound
        for each in found
        for bound in (each.effect.always_low, each.effect.low, each.effect.high, each.effect.always_high)
        if math.isfinite(bound)
    ]
    low, high = min(0.0, *bounds), max(0.0, *bounds)
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    height = _ROW * len(found) + 40

    def x(value: float) -> str:
        """Where a value lies; at the edge of what is drawn for one beyond it."""
        value = min(max(value, low), high)
        return f"{_LABELS + (value - low) / (high - low) * (_WIDTH - _LABELS - 30):.1f}"

    lines = [f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img">']
    bottom = height - 30
    for tick in ticks:
        colour = "#1f2328" if tick == 0 else "#d0d7de"
        lines.append(f'<line x1="{x(tick)}" y1="5" x2="{x(tick)}" y2="{bottom}" stroke="{colour}"/>')
        lines.append(f'<text x="{x(tick)}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    for place, each in enumerate(found):
        effect, y = each.effect, 5 + _ROW * place + _ROW // 2
        is_shown = each.adjusted_p < alpha
        colour = _COLOURS[("good" if effect.difference > 0 else "bad") if is_shown else ""]
        label = each.arm if each.segment == ALL else f"{each.arm}, {each.segment}"
        label = label if len(label) <= 32 else f"{label[:31]}…"
        lines += [
            f'<text x="0" y="{y + 4}">{text(label)}</text>',
            f'<line x1="{x(effect.always_low)}" y1="{y}" x2="{x(effect.always_high)}" y2="{y}" stroke="{colour}"/>',
            f'<line x1="{x(effect.low)}" y1="{y}" x2="{x(effect.high)}" y2="{y}" stroke="{colour}" stroke-width="5"/>',
            f'<circle cx="{x(effect.difference)}" cy="{y}" r="6" fill="{colour}"/>',
        ]
    return "\n".join([*lines, "</svg>\n"])


def _about(experiment: Experiment) -> str:
    told = [
        f"Exposed to {experiment.exposed:.0%} of each arm",
        *(f"{name} in {_few(values)}" for name, values in sorted(experiment.targeting.items())),
        *([experiment.note] if experiment.note else []),
    ]
    return paragraph("; ".join(told) + ".")


def _few(values: Sequence[object]) -> str:
    more = f" and {len(values) - _VALUES_MAX:,} more" if len(values) > _VALUES_MAX else ""
    return ", ".join(map(str, values[:_VALUES_MAX])) + more


def _counted(evaluation: Evaluation) -> str:
    """How many comparisons there are, and how many would be found of nothing."""
    count = len(evaluation.comparisons)
    if count < 2:
        return ""
    return paragraph(
        f"There are {count:,} comparisons; of as many without an effect, {count * evaluation.alpha:.2g} would be below "
        f"{evaluation.alpha:g} by chance at one look. The adjusted p is that of the first metric for everybody among the "
        "arms, and of anything else among all.",
        "note",
    )


def _ratio(evaluation: Evaluation, experiment: Experiment) -> str:
    total = sum(evaluation.counts.values())
    rows = [
        [
            arm.name,
            arm.model,
            evaluation.counts.get(arm.name, 0),
            f"{arm.share:.2%}",
            f"{evaluation.counts.get(arm.name, 0) / total:.2%}" if total else "–",
        ]
        for arm in experiment.arms
    ]
    verdict = (
        paragraph(f"The split is what it should be: sample ratio p {number(evaluation.sample_ratio_p)}.", "good")
        if evaluation.trustworthy
        else paragraph(
            f"The split is not what it should be: sample ratio p {number(evaluation.sample_ratio_p)}, below "
            f"{SAMPLE_RATIO_P_MIN:g}. Who is missing is not missing by chance; find out why before you read on.",
            "bad",
        )
    )
    return "<h2>Units</h2>\n" + table(["arm", "model", "units", "share", "seen"], rows) + verdict


def _said(found: Sequence[ArmComparison], evaluation: Evaluation) -> list[str]:
    return [paragraph(sentence_of(each, evaluation.alpha) + ".") for each in found if each.segment == ALL]


def _numbers(found: Sequence[ArmComparison]) -> str:
    rows = [
        [
            each.arm,
            each.segment,
            each.units,
            each.control_units,
            each.effect.mean,
            each.effect.control_mean,
            each.effect.difference,
            f"{each.effect.low:.4g} to {each.effect.high:.4g}",
            f"{each.effect.always_low:.4g} to {each.effect.always_high:.4g}",
            each.effect.p,
            each.effect.always_p,
            each.adjusted_p,
        ]
        for each in found
    ]
    header = ["arm", "segment", "units", "of control", "mean", "of control", "effect", "interval", "always valid", "p"]
    return table([*header, "always-valid p", "adjusted p"], rows)


def _ticks(low: float, high: float) -> list[float]:
    """Four to ten round numbers around both, 0 among them."""
    span = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(span / 4))
    step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 8)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(place * step, 12) + 0.0 for place in range(first, max(last, first + 1) + 1)]
