"""Every bit of a footer of Parquet flipped, one at a time, and all asked of it that is told of columns.

    python -m tests.support.flipped_footers [OFTEN]

Prints what it was told of them, each once, and the digest of all in their order. What pyarrow has no way to tell ends this
process. OFTEN is after how many chunks alike those are recognised by a shape (ambry/ml/alike_structs.py).
"""

from __future__ import annotations

import hashlib
import io
import sys
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from ambry.ml import alike_structs
from ambry.ml.parquet_footer import bounds_of, read_footer


def valid() -> bytes:
    table = pa.table({
        "n": pa.array([3, 1, None], pa.int64()),
        "s": ["b", "c", "a"],
        "l": [[1.5], [], None],
        "x": pa.array([b"ab", b"cd", b"ef"], pa.binary(2)),
    })  # fmt: skip
    sink = io.BytesIO()
    parquet.write_table(table, sink, store_schema=False, row_group_size=2, use_dictionary=False)
    return sink.getvalue()


def with_wrong_levels(column: str = "n") -> bytes:
    """A file of one column, 7 and a null, whose chunk says sizes for one level; pyarrow ends the process that asks of it."""
    sink = io.BytesIO()
    table = pa.table({column: pa.array([7, None])})
    parquet.write_table(table, sink, store_schema=False, use_dictionary=False)
    data = sink.getvalue()
    begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    footer = data[begin:-8].replace(b"<)\x06\x19&\x02\x02\x00", b"<)\x06\x19\x16\x02\x00")
    return data[:begin] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def ask(data: bytes) -> list[Any]:
    """Raises what `read_footer` raises."""
    footer = read_footer(io.BytesIO(data))
    told = []
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for place in range(group.num_columns):
            chunk = group.column(place)
            told.append((chunk.file_path, chunk.path_in_schema, bounds_of(chunk), chunk.total_compressed_size))
    return told


def main() -> None:
    alike_structs.OFTEN = int(sys.argv[1]) if len(sys.argv) > 1 else alike_structs.OFTEN
    data = valid()
    length = int.from_bytes(data[-8:-4], "little")
    said = [str(ask(data))]
    for place in range(len(data) - 8 - length, len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            try:
                said.append(str(ask(bytes(flipped))))
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                said.append(str(error))
    print("\n".join(sorted({repr(each) for each in said})))
    print(hashlib.sha256("\0".join(said).encode()).hexdigest())


if __name__ == "__main__":
    main()
