"""An Arrow file in which the numbers of a batch begin at multiples of 64 bytes, so that every framework takes them as they lie.

Arrow's writer pads to 8 bytes. A message may carry metadata of its own, which readers skip: as much of it as it takes moves the
body of each batch, so that the first column after the key begins at such a multiple. So do the columns behind it while all have
a width and the number of rows is a multiple of 512 (eight booleans are a byte); texts and lists end it, and so they come last.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ambry.errors import InvariantBroken
from ambry.ml.snapshots.index import FILE_START
from ambry.tensors.frameworks import ALIGNMENT_BYTES

_PAD_KEY = "ambry.pad"
_STEP = 8
"""What Arrow pads to, bytes."""


class AlignedFile:
    """Batches of one schema, whose first column is the key, go into a sink of Arrow. Use it in a `with`."""

    def __init__(self, sink: Any, schema: Any) -> None:
        self._sink = sink
        self._writer = pa.ipc.new_file(sink, schema)
        self._end = FILE_START + schema.serialize().size
        self._heads: list[int] = []

    def __enter__(self) -> AlignedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, batch: Any) -> tuple[int, int]:
        """Where the message of the batch begins, and its size, in bytes."""
        if not self._heads:
            self._heads = _heads(batch)
            self._plain = _head_size(batch)
            self._plain_of_key = _head_size(batch.select([0]))
        body = pa.ipc.get_record_batch_size(batch) - self._plain
        before = pa.ipc.get_record_batch_size(batch.select([0])) - self._plain_of_key
        offset = self._end
        steps = next(
            (steps for steps, head in enumerate(self._heads) if (offset + head + before) % ALIGNMENT_BYTES == 0), 0
        )
        self._writer.write_batch(batch, custom_metadata=_padding(steps))
        self._end = self._sink.tell()
        if self._end != offset + self._heads[steps] + body:
            raise InvariantBroken(f"the record batch at {offset} ends at {self._end}, and not where it was told to")
        return offset, self._end - offset


def _padding(steps: int) -> dict[str, str]:
    return {_PAD_KEY: " " * steps * _STEP}


def _head_size(batch: Any) -> int:
    """Of the message without its body and without metadata of its own, which is the same for all batches of a schema."""
    message = batch.serialize()
    return int(message.size) - int(pa.ipc.read_message(message).body.size)


def _heads(batch: Any) -> list[int]:
    """The same with so many steps of padding."""
    counted = pa.MockOutputStream()
    sizes = []
    with pa.ipc.new_stream(counted, batch.schema) as writer:
        writer.write_batch(batch)
        for steps in range(ALIGNMENT_BYTES // _STEP):
            before = counted.size()
            writer.write_batch(batch, custom_metadata=_padding(steps))
            sizes.append(counted.size() - before)
    body = pa.ipc.get_record_batch_size(batch) - _head_size(batch)
    return [size - body for size in sizes]
