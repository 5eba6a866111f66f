"""Names in a sentence: some, and how many more."""

from __future__ import annotations

import pytest

from ambry.ml.listed import listed


@pytest.mark.parametrize(
    ("count", "most", "told"),
    [(0, 3, ""), (1, 3, "0"), (3, 3, "0, 1, 2"), (4, 3, "0, 1, 2 and 1 more"), (2_000, 1, "0 and 1999 more")],
)
def test_a_sentence_has_an_end_however_many_names_there_are(count: int, most: int, told: str) -> None:
    assert listed((str(number) for number in range(count)), most) == told


def test_ten_are_named_where_nobody_says_how_many() -> None:
    assert listed(map(str, range(12))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
