"""What the reader of an Arrow file asks for is noted, and nothing else is read of it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from ambry.spark.arrow_ranges import ArrowRanges, NotedFile


def test_a_file_has_what_is_here_and_notes_the_rest() -> None:
    file = NotedFile(100, [(40, 50), (10, 20)], [b"b" * 10, b"a" * 10])
    file.within = (0, 60)
    file.seek(12)
    assert file.read(4) == b"aaaa" and file.tell() == 16 and file.asked == []
    assert file.read(8) == bytes(8) and file.asked == [(16, 24)]
    file.seek(0)
    assert file.read(3) == bytes(3) and file.asked[-1] == (0, 3)
    file.seek(-100, 2)
    assert file.seek(2, 1) == 2
    file.seek(98)
    with pytest.raises(OSError, match="bytes 98 to 100 are read"):
        file.read()
    assert file.read() == b"" and file.seekable() and file.readable()


def written(batches: int, options: Any = None) -> tuple[bytes, list[tuple[int, int]]]:
    """A file, and where its batches lie."""
    sink = pa.BufferOutputStream()
    schema = pa.schema([("a", pa.int64()), ("text", pa.string()), ("b", pa.float32())])
    places = []
    with pa.ipc.new_file(sink, schema, options=options) as writer:
        sink.flush()
        for number in range(batches):
            begin = sink.tell()
            writer.write_batch(pa.record_batch([list(range(99)), [f"t{number}"] * 99, [0.5] * 99], schema=schema))
            places.append((begin, sink.tell()))
    return sink.getvalue().to_pybytes(), places


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize("fields", [[0], [1], [0, 2]])
def test_a_batch_is_read_from_its_metadata_and_the_buffers_of_its_columns(
    fields: list[int], compression: str | None
) -> None:
    data, places = written(3, pa.ipc.IpcWriteOptions(compression=compression))
    ranges = ArrowRanges(len(data), data[places[-1][1] :])
    wanted = {1: places[1]}
    [head] = ranges.asked(wanted, fields)
    assert [start for start, _ in head] == [places[1][0]]
    [body] = ranges.asked(wanted, fields, head, [data[start:end] for start, end in head])
    assert body and all(places[1][0] < start < end <= places[1][1] for start, end in body)
    assert sum(end - start for start, end in [*head, *body]) < places[1][1] - places[1][0]
    spans = [*head, *body]
    batch = ranges.opened(fields, spans, [data[start:end] for start, end in spans])[1].get_batch(1)
    batch.validate(full=True)
    assert batch.equals(pa.ipc.open_file(data).get_batch(1).select(fields))


def test_what_is_no_footer_is_said() -> None:
    with pytest.raises(pa.ArrowInvalid):
        ArrowRanges(1_000, bytes(100)).asked({}, [0])
