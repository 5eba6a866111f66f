"""Which texts are numbers, whole arrays of them at once."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ambry.ml.experiments.numerals import numbers_among

TEXTS = st.text("0123456789", min_size=1, max_size=25) | st.text("01-a\0", min_size=1, max_size=5)


@given(st.lists(TEXTS | st.integers(-(10**20), 10**20).map(str)))
def test_numbers_are_told_from_other_texts(texts: list[str]) -> None:
    data, lengths = "".join(texts).encode(), np.array(list(map(len, texts)), dtype=np.int64)
    places, numbers, unsure = (each.tolist() for each in numbers_among(data, lengths))
    sure = [place for place, text in enumerate(texts) if re.fullmatch("0|[1-9][0-9]{0,17}", text)]
    assert places == sure
    assert numbers == [int(texts[place]) for place in sure]
    maybe = {place for place, text in enumerate(texts) if re.fullmatch("-[1-9][0-9]{0,18}|[1-9][0-9]{18}", text)}
    assert maybe <= set(unsure)
    assert not set(unsure) & set(sure)
