"""Versions are refused where they are said as the store refuses them, before anything is stored for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.datasets import check_version_for
from frontend.datasets.versions import VersionSchema, VersionToken, parse

WORDS = [*VersionToken.__members__, "latest", "Minor", "nonsense", "", "@champion", "v1", "1.2.3", "1.2.3.4", "1.2"]
NUMBERS = [
    "0",
    "01",
    "999",
    "1000",
    "-1",
    "+1",
    " 1",
    "1\n",
    "1_0",
    "\u0661",
    str((1 << 63) - 1),
    str(1 << 63),
    "1" * 20,
]
TEXTS = st.one_of(
    st.sampled_from(WORDS + NUMBERS),
    st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=5).map(".".join),
    st.text(max_size=8),
)


@given(st.sampled_from(VersionSchema), TEXTS)
def test_a_version_is_refused_where_the_store_refuses_it(schema: VersionSchema, text: str) -> None:
    try:
        parse(schema, text)
    except InvalidRequest:
        with pytest.raises(InvalidRequest, match="is no version of a dataset"):
            check_version_for(schema.value, text)
    else:
        check_version_for(schema.value, text)
