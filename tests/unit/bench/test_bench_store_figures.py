"""What is computed from the samples of the storage bench: medians, ratios round by round, and whether a bar was held."""

from __future__ import annotations

import math

import pytest

from tests.bench.store_figures import RowRun, Spec, figure, figures, held, joined, median

AT_LEAST = Spec(row="x", title="ours / theirs", ours="ours", baseline="theirs", bar=0.5)
AT_MOST = Spec(row="x", title="seconds", ours="ours", bar=5.0, of="value", at_least=False)


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # In the second round the machine was slow for both: a ratio of medians would be 100 / 100.
    found = figure(AT_LEAST, {"ours": [100.0, 10.0, 300.0], "theirs": [200.0, 20.0, 100.0]})
    assert (found.value, found.baseline, found.ratio) == (100.0, 100.0, 0.5)
    assert found.round_ratios == [0.5, 0.5, 3.0]
    assert found.held


def test_a_baseline_that_was_taken_once_serves_every_round() -> None:
    assert figure(AT_LEAST, {"ours": [1.0, 2.0, 3.0], "theirs": [4.0]}).round_ratios == [0.25, 0.5, 0.75]


def test_rounds_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError):
        figure(AT_LEAST, {"ours": [1.0, 2.0, 3.0], "theirs": [4.0, 5.0]})


def test_a_series_that_was_not_measured_is_an_error() -> None:
    with pytest.raises(KeyError):
        figure(AT_LEAST, {"ours": [1.0]})


@pytest.mark.parametrize(("value", "expected"), [(4.9, True), (5.0, True), (5.1, False)])
def test_a_bar_for_a_value_counts_the_value(value: float, expected: bool) -> None:
    found = figure(AT_MOST, {"ours": [value]})
    assert (found.reached, found.ratio, found.held) == (value, None, expected)


@pytest.mark.parametrize(("ours", "expected"), [(0.49, False), (0.5, True), (0.51, True)])
def test_a_bar_for_a_ratio_counts_the_ratio(ours: float, expected: bool) -> None:
    assert figure(AT_LEAST, {"ours": [ours], "theirs": [1.0]}).held is expected


def test_what_is_not_a_number_holds_no_bar() -> None:
    assert figure(AT_LEAST, {"ours": [1.0], "theirs": [0.0]}).held is False
    assert figure(AT_MOST, {"ours": []}).held is False
    assert math.isnan(median([]))


def test_without_a_bar_there_is_no_verdict() -> None:
    spec = Spec(row="x", title="for the eye", ours="ours")
    found = figure(spec, {"ours": [1.0]})
    assert found.held is None
    assert held([found, figure(AT_MOST, {"ours": [9.0]})]) == {"seconds": False}


def test_rows_that_did_not_run_have_no_figures() -> None:
    ran = {"x": RowRun(elapsed_s=1.0, others_cores=0.7, samples={"ours": [1.0], "theirs": [1.0]})}
    other = Spec(row="y", title="elsewhere", ours="ours")
    found = figures([AT_LEAST, other, AT_MOST], ran)
    assert [item.spec for item in found] == [AT_LEAST, AT_MOST]
    assert found[0].others_cores == 0.7


def test_rounds_are_put_together_by_name() -> None:
    assert joined([{"a": [1.0], "b": [2.0]}, {"a": [3.0]}]) == {"a": [1.0, 3.0], "b": [2.0]}
