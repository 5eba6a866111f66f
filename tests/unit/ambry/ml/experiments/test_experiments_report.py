"""An evaluation as one file of HTML, which strangers' names cannot break out of."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from ambry.ml.experiments.document import Arm, Experiment
from ambry.ml.experiments.evaluation import Evaluation, evaluate
from ambry.ml.experiments.report import _ticks, forest, render_report, sentence_of

NASTY = "<script>alert('1')</script>"
EXPERIMENT = Experiment(
    name="ranker-2",
    arms=(Arm("control", 0.5, "ranker@1.4.0"), Arm(NASTY, 0.5, '"><b>')),
    targeting={"country": ("de", NASTY)},
    metrics=("clicks",),
    note=NASTY,
)


class Tags(HTMLParser):
    """Which elements there are, that each is closed, and what stands in them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def evaluated(lift: float = 1.0) -> Evaluation:
    chance = np.random.default_rng(1)
    units = np.arange(2_000)
    clicks = chance.normal(10 + lift * (EXPERIMENT.arms_of(units) == 1), 3)
    country = np.where(units % 3 == 0, "de", NASTY)
    return evaluate(EXPERIMENT, {"unit": units, "clicks": clicks, "country": country}, segments=["country"])


def parsed(html: bytes) -> Tags:
    tags = Tags()
    tags.feed(html.decode())
    assert tags.open == []
    return tags


def test_a_report_is_one_file_without_a_script() -> None:
    html = render_report(evaluated(), EXPERIMENT)
    tags = parsed(html)
    assert not {"script", "b", "link", "img", "iframe"} & set(tags.seen)
    assert b"default-src 'none'" in html and not re.search(rb"(?:src|href)=|https?://|url\(", html)
    assert tags.text.count(NASTY) >= 4
    assert render_report(evaluated(), EXPERIMENT) == html


def test_it_says_what_the_numbers_are() -> None:
    found = evaluated()
    text = parsed(render_report(found, EXPERIMENT)).text
    one = found.comparisons[0]
    assert sentence_of(one, 0.05) in text and "shown" in sentence_of(one, 0.05)
    assert f"{found.counts['control']:,}" in text and "The split is what it should be" in text
    assert "country=de" in text
    lost = replace(found, sample_ratio_p=1e-9)
    assert "The split is not what it should be: sample ratio p 1e-09" in parsed(render_report(lost, EXPERIMENT)).text


def test_each_comparison_is_drawn_within_the_picture() -> None:
    found = evaluated()
    svg = forest(found.comparisons, 0.05)
    assert svg.count("<circle") == len(found.comparisons) == 3
    places = [float(place) for place in re.findall(r'\b(?:x1|x2|cx)="([\d.]+)"', svg)]
    assert min(places) >= 230 and max(places) <= 900
    assert "#1a7f37" in svg and "#b42318" not in svg
    assert "#b42318" in forest(evaluated(-1.0).comparisons, 0.05)


def test_effects_of_nothing_at_all_are_drawn() -> None:
    units = np.arange(100)
    found = evaluate(EXPERIMENT, {"unit": units, "clicks": np.ones(100), "country": np.full(100, "de")})
    assert "nan" not in forest(found.comparisons, 0.05)


@pytest.mark.parametrize("bounds", [(0.0, 0.0), (-1e-9, 3e-9), (-5.0, 1e6), (0.0, 0.9), (-0.31, 0.42)])
def test_ticks_are_round_and_around_everything(bounds: tuple[float, float]) -> None:
    ticks = _ticks(*bounds)
    assert 2 <= len(ticks) <= 11 and ticks[0] <= bounds[0] and ticks[-1] >= bounds[1] and 0.0 in ticks
    assert sorted(set(ticks)) == ticks


def test_how_many_comparisons_there_are_is_told_and_each_p_is_adjusted() -> None:
    found = evaluated()
    text = parsed(render_report(found, EXPERIMENT)).text
    assert "There are 3 comparisons" in text and "adjusted p" in text
    doubtful = replace(found.comparisons[0], adjusted_p=0.2)
    assert "not shown yet" in sentence_of(doubtful, 0.05) and "#1a7f37" not in forest([doubtful], 0.05)
    assert "comparisons;" not in parsed(render_report(replace(found, comparisons=(doubtful,)), EXPERIMENT)).text


def test_names_that_no_file_can_hold_are_drawn_too() -> None:
    """An attribute of a request may be half a pair of surrogates; a page with it could not be written."""
    units = np.arange(2_000)
    rows = {"unit": units, "clicks": units % 7, "country": ["\ud800" if unit % 2 else "de" for unit in units.tolist()]}
    found = evaluate(replace(EXPERIMENT, targeting={}), rows, segments=["country"])
    assert b"country=\\ud800" in render_report(found, EXPERIMENT) and b"ud800" in found.encode()


def test_a_page_has_a_bound() -> None:
    """A segment with a value of each unit was a comparison, a line and a row of each."""
    units = np.arange(20_000)
    rows = {"unit": units, "clicks": units % 7, "member": [f"{unit % 5_000:0200d}" for unit in units.tolist()]}
    html = render_report(evaluate(replace(EXPERIMENT, targeting={}), rows, segments=["member"]), EXPERIMENT)
    assert len(html) < 200_000 and "4,900 others" in parsed(html).text
