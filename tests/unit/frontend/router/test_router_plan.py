from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ambry.blob import ChunkRef
from frontend.router.plan import ReadUnit, units_of_chunks, units_of_record
from frontend.router.values import Span

ID = bytes(36)


def test_a_record_is_cut_at_multiples_of_the_unit_not_of_the_range() -> None:
    assert list(units_of_record(ID, 10, 250, lambda: 100)) == [
        ReadUnit(ID, 10, 100),
        ReadUnit(ID, 100, 200),
        ReadUnit(ID, 200, 250),
    ]
    assert list(units_of_record(ID, 100, 200, lambda: 100)) == [ReadUnit(ID, 100, 200)]
    assert list(units_of_record(ID, 7, 7, lambda: 100)) == []


def test_a_range_over_a_chunk_border_reads_the_end_of_one_and_the_start_of_the_next() -> None:
    chunks = [ChunkRef(b"a" * 36, 100, b""), ChunkRef(b"b" * 36, 100, b""), ChunkRef(b"c" * 36, 30, b"")]
    assert list(units_of_chunks(chunks, [Span(95, 105)], lambda: 1000)) == [
        ReadUnit(b"a" * 36, 95, 100),
        ReadUnit(b"b" * 36, 0, 5),
    ]
    assert list(units_of_chunks(chunks, [Span(200, 230)], lambda: 1000)) == [ReadUnit(b"c" * 36, 0, 30)]
    assert list(units_of_chunks([], [], lambda: 1000)) == []


def test_a_unit_gets_smaller_as_soon_as_it_is_asked_to() -> None:
    sizes = iter([100, 20, 20, 100, 100])
    units = list(units_of_record(ID, 0, 250, lambda: next(sizes)))
    assert [(unit.first, unit.end) for unit in units] == [(0, 100), (100, 120), (120, 140), (140, 200), (200, 250)]


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=12),
    st.integers(1, 20),
    st.data(),
)
def test_units_give_exactly_the_ranges_in_order_and_cross_no_border(
    sizes: list[int], unit: int, data: st.DataObject
) -> None:
    """Every byte of the blob is named by its chunk and its place in it, and read once."""
    chunks = [ChunkRef(number.to_bytes(36, "big"), size, b"") for number, size in enumerate(sizes)]
    everything = [(chunk.id, place) for chunk in chunks for place in range(chunk.size)]
    spans = []
    for _ in range(data.draw(st.integers(0, 3))):
        first = data.draw(st.integers(0, len(everything)))
        spans.append(Span(first, data.draw(st.integers(first, len(everything)))))
    units = list(units_of_chunks(chunks, spans, lambda: unit))
    wanted = [each for span in spans for each in everything[span.first : span.end]]
    assert [(read.id, place) for read in units for place in range(read.first, read.end)] == wanted
    for read in units:
        assert 0 < read.size == read.end - read.first
        assert read.first // unit == (read.end - 1) // unit, "a unit's border was crossed"
    assert len(units) <= len(spans) * sum(size // unit + 2 for size in sizes)
