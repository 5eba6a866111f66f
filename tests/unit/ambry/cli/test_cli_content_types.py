from __future__ import annotations

import pytest

from ambry.cli.content_types import guessed


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.json", "application/json"),
        ("A.PNG", "image/png"),
        ("x.parquet", "application/vnd.apache.parquet"),
        ("data.csv", "text/csv"),
        ("weights.tar.gz", "application/gzip"),
        ("model.safetensors", None),
        ("model.bin", None),
        (".json", None),
        ("noend", None),
        ("", None),
    ],
)
def test_the_end_of_a_name_says_what_it_is_the_same_on_every_machine(name: str, kind: str | None) -> None:
    assert guessed(name) == kind
