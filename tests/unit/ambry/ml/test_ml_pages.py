"""Reports as pages: nothing that somebody called something gets out of its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry import AmbryClient
from ambry.client.refs import VersionRef
from ambry.ml.pages import keep, number, page, paragraph, table
from tests.support.named_frontend import named_frontend


def test_names_are_escaped_and_numbers_stand_to_the_right() -> None:
    html = page("<b>", table(["<i>", "n"], [['"&', 0.12345], ["x", 12_000]]), paragraph("<u>", "good")).decode()
    assert "<b>" not in html and "<i>" not in html and "<u>" not in html
    assert "<td>&quot;&amp;</td>" in html and '<p class="good">&lt;u&gt;</p>' in html
    assert '<td class="number">0.1235</td>' in html and '<td class="number">12,000</td>' in html
    assert html.startswith("<!doctype html>") and "script" not in html


@pytest.mark.parametrize(
    ("value", "shown"),
    [(3, "3"), (3.0, "3"), (1e-9, "1e-09"), (float("inf"), "inf"), (float("nan"), "–"), (None, "–"), (1e300, "1e+300")],
)
def test_numbers_are_short(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_a_report_is_kept_once(tmp_path: Path) -> None:
    with named_frontend(tmp_path / "meta.sqlite") as url, AmbryClient([url]) as client:
        names = [keep(client, VersionRef("ranker"), "evaluations", b'{"a": 1}', html) for html in (b"<p>", b"<q>")]
        assert names[0] == names[1] and names[0].name == "ranker.evaluations/f9d86028c6e0d64e.html"
        assert client.get_bytes(names[0]) == b"<p>"
        assert client.get_bytes(names[0].name.replace(".html", ".json")) == b'{"a": 1}'
