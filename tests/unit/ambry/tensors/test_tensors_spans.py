"""Parts of tensors: what is taken out of the run of bytes that is asked for is what numpy takes out of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.tensors.spans import Index, run_of

SHAPES = st.lists(st.integers(0, 5), max_size=4)


def indices(extent: int) -> st.SearchStrategy[Index]:
    bounds = st.none() | st.integers(-7, 7)
    slices = st.builds(slice, bounds, bounds, st.none() | st.integers(-3, 3).filter(bool))
    return slices | st.integers(-extent, extent - 1) if extent else slices


@given(SHAPES, st.data())
def test_every_index_gives_what_numpy_gives_out_of_no_more_than_it_needs(shape: list[int], data: st.DataObject) -> None:
    whole = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    named = data.draw(st.integers(0, len(shape)))
    index: list[Index] = [data.draw(indices(extent)) for extent in shape[:named]]
    if data.draw(st.booleans()):
        index.append(...)
    run = run_of(shape, tuple(index))
    assert 0 <= run.first <= run.end <= whole.size
    part = whole.reshape(-1)[run.first : run.end].reshape(run.shape)
    expected = whole[tuple(index)]
    found = part[run.rest]
    assert np.array_equal(found, expected)
    assert found.shape == expected.shape


def test_rows_are_asked_for_alone() -> None:
    run = run_of((1000, 384), (slice(10, 20), slice(0, 5)))
    assert (run.first, run.end, run.shape) == (3840, 7680, (10, 384))
    run = run_of((4, 1000, 384), (2, 7))
    assert (run.first, run.end, run.shape) == ((2000 + 7) * 384, (2000 + 8) * 384, (384,))


@pytest.mark.parametrize("rows", [1 << 40, 1 << 70])
def test_a_slice_costs_no_time_by_the_number_of_its_rows(rows: int) -> None:
    """A file of 80 bytes said so many rows of nothing, and a slice of them went through each."""
    for index in ((slice(None),), (...,), (slice(None, None, -3),)):
        run = run_of((rows, 0), index)
        assert (run.first, run.end) == (0, 0)
    run = run_of((rows, 1), (slice(rows - 1, 5, -1),))
    assert (run.first, run.end, run.shape) == (6, rows, (rows - 6, 1))


@pytest.mark.parametrize("index", [5, -6, (0, 0, 0), (slice(None), 4), (..., ...)])
def test_what_lies_outside_is_an_index_error(index: Index | tuple[Index, ...]) -> None:
    if index == (slice(None), 4):
        return  # numpy itself says so, of what was read
    with pytest.raises(IndexError):
        run_of((5, 3), index)


def test_what_is_no_index_is_a_type_error() -> None:
    for index in ("a", 1.5, True, None):
        with pytest.raises(TypeError):
            run_of((5, 3), index)  # type: ignore[arg-type]
