from __future__ import annotations

import pytest

from ambry.errors import RangeNotSatisfiable
from frontend.router.values import RangeSpec, Span


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        (RangeSpec(0, 499), Span(0, 500)),
        (RangeSpec(500, 5000), Span(500, 1000)),
        (RangeSpec(999, None), Span(999, 1000)),
        (RangeSpec(None, 1), Span(999, 1000)),
        (RangeSpec(None, 5000), Span(0, 1000)),
    ],
)
def test_a_range_is_cut_to_the_blob(wanted: RangeSpec, span: Span) -> None:
    assert wanted.resolve(1000) == span
    assert span.size == span.end - span.first


@pytest.mark.parametrize("wanted", [RangeSpec(1000, None), RangeSpec(1000, 1001), RangeSpec(None, 0)])
def test_a_range_outside_the_blob_is_refused_with_its_size(wanted: RangeSpec) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        wanted.resolve(1000)
    assert caught.value.size == 1000
