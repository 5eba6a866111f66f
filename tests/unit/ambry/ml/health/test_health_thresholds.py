"""Thresholds in text, with a sentence for what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.health import thresholds as module
from ambry.ml.health.thresholds import ColumnThresholds, parse_thresholds, read_thresholds


def test_what_the_documentation_shows_is_read_and_says_the_defaults() -> None:
    text = "\n".join(line for line in (module.__doc__ or "").split("\n") if line.startswith("    "))
    found = parse_thresholds("\n".join(line.strip() for line in text.splitlines()))
    assert found.all == ColumnThresholds()
    assert found.of("mean radius") == ColumnThresholds(psi_max=0.5)
    assert found.of("comment").ignored and not found.of("anything").ignored


def test_a_column_is_known_by_its_urn_too() -> None:
    found = parse_thresholds('p_min = 0.01\n[columns."urn:li:(n,age,1,0)"]\ndistance_max = 0.3')
    assert found.of("age", "urn:li:(n,age,1,0)") == ColumnThresholds(p_min=0.01, distance_max=0.3)
    assert found.of("age") == ColumnThresholds(p_min=0.01)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("psi_max = \n", "no TOML.*line 1"),
        ("psi_maxx = 1", "no threshold 'psi_maxx'; did you mean psi_max?"),
        ("[columns.age]\nzzz = 1", "no threshold 'zzz' of the column 'age'; there are p_min"),
        ("p_min = 2", "p_min is a number from 0 to 1, not 2"),
        ("psi_max = -1", "of at least 0, not -1"),
        ("psi_max = nan", "of at least 0, not nan"),
        ('psi_max = "0.2"', "not '0.2'"),
        ("distance_max = true", "not True"),
        ("ignored = 1", "ignored is true or false"),
        ("columns = 3", r"below \[columns.NAME\]"),
        ("[columns]\nage = 3", r"below \[columns.NAME\]"),
    ],
)
def test_what_is_wrong_is_told(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse_thresholds(text)


def test_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.toml"
    path.write_text("psi_max = 0.3")
    assert read_thresholds(path).all.psi_max == 0.3
    for data in (b"\xff", b"x"):
        path.write_bytes(data)
        with pytest.raises(InvalidRequest, match=r"thresholds\.toml"):
            read_thresholds(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 100_000, "are no TOML"),
        ("p_min = " + "9" * 5_000, "are no TOML"),
        ("psi_max = 1" + "0" * 400, "a number of at least 0"),
        ("psi_max = nan", "a number of at least 0"),
        ("p_min = \0", "line 1, column 9"),
    ],
)
def test_nonsense_is_told_as_such(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse_thresholds(text)
    assert parse_thresholds("psi_max = inf").all.psi_max == float("inf")


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most 1048576 bytes"):
        read_thresholds(Path("/dev/zero"))
