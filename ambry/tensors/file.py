"""One safetensors file in the store: its header is asked for once, then the bytes of tensors as they are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ambry.checksum import Buffer
from ambry.client.model import BlobInfo
from ambry.client.refs import Ref, found_as
from ambry.client.sync import waiting
from ambry.client.sync.client import AmbryClient
from ambry.client.whole_digest import WholeDigest
from ambry.errors import InvalidRequest, RangeNotSatisfiable
from ambry.ids import BlobId
from ambry.shown_urls import shown_place
from ambry.tensors.frameworks import Framework, array_of, room
from ambry.tensors.header import ELEMENT_BYTES, TensorHeader, TensorInfo, header_end, parse_header
from ambry.tensors.spans import Index, run_of

BEGIN_BYTES = 60 << 10
"""What is asked for first: the header of a model of a few hundred tensors."""
PART_BYTES = 8 << 20
SMALL_BYTES = 1 << 20
"""Tensors below this come several in a request."""


class Fill(NamedTuple):
    """Memory for the bytes from `offset` of the file on."""

    offset: int
    memory: memoryview


class TensorFile:
    """Its header is here. Usable by threads."""

    def __init__(self, client: AmbryClient, ref: Ref) -> None:
        """One request for a header of at most 64 KiB, two for a larger one. Raises InvalidRequest for what is none."""
        self._client = client
        try:
            with client.get(ref, range=(0, BEGIN_BYTES)) as reader:
                self.info: BlobInfo = reader.info
                self._found = found_as(self.info)
                begin = reader.read()
            self.header: TensorHeader = self._header(begin)
        except RangeNotSatisfiable as empty:
            raise InvalidRequest(f"{shown_place(ref)}: it is no safetensors file: it is empty") from empty
        except InvalidRequest as error:
            error.message = f"{shown_place(ref)}: {error.message}"
            raise

    @property
    def blob(self) -> BlobId:
        return self.info.id

    def _header(self, begin: bytes) -> TensorHeader:
        end = header_end(begin, self.info.size)
        if end > len(begin):
            begin += self._client.get_bytes(self._found, range=(len(begin), end))
        self._head = begin[:end]
        return parse_header(self._head, self.info.size)

    def get(self, tensor: TensorInfo, framework: Framework) -> Any:
        """All of one: one request."""
        return array_of(framework, self._bytes(tensor.begin, tensor.size), tensor.dtype, tensor.shape)

    def cut(self, tensor: TensorInfo, index: Index | tuple[Index, ...], framework: Framework) -> Any:
        """A part of one: one request for the run of bytes that has it."""
        element = ELEMENT_BYTES.get(tensor.dtype)
        if element is None:
            raise InvalidRequest(f"parts of {tensor.dtype} cannot be asked for; get the whole tensor")
        run = run_of(tensor.shape, index)
        data = self._bytes(tensor.begin + run.first * element, (run.end - run.first) * element)
        whole = array_of(framework, data, tensor.dtype, run.shape)
        return whole[run.rest] if run.rest else whole

    def _bytes(self, offset: int, size: int) -> memoryview:
        data = room(size)
        if size:
            self._into(offset, data)
        return data

    def load(self, at_once: int) -> memoryview:
        """All bytes of the file, whose tensors begin where every framework takes them as they are, if their sizes let them.

        Several parts come at a time, and they are verified by the blob's digest. Raises ChecksumMismatch.
        """
        memory = room(self.info.size, len(self._head))
        waiting.at_once(self._fill, list(_requests([Fill(0, memory)])), at_once, nothing)
        self._verify([memory])
        return memory

    def fill_arrays(self, arrays: Mapping[str, memoryview], at_once: int) -> None:
        """The bytes of tensors into memory of their sizes, by their names; small ones several at a time.

        Where these are all tensors of the file, they are verified by the blob's digest. Raises ChecksumMismatch; nobody may use
        what is there then.
        """
        tensors = self.header.tensors
        fills = [Fill(tensors[name].begin, memory) for name, memory in arrays.items() if len(memory)]
        fills.sort(key=lambda each: each.offset)
        waiting.at_once(self._fill, list(_requests(fills)), at_once, nothing)
        if arrays.keys() == tensors.keys():
            self._verify([self._head, *(each.memory for each in fills)])

    def _fill(self, fills: Sequence[Fill]) -> None:
        if len(fills) == 1:
            self._into(*fills[0])
            return
        ranges = [(each.offset, each.offset + len(each.memory)) for each in fills]
        for each, data in zip(fills, self._client.get_ranges(self._found, ranges, coalesce=0), strict=True):
            if len(data) != len(each.memory):
                raise InvalidRequest(f"blob {self.blob} ends before its tensors do")
            each.memory[:] = data

    def _verify(self, pieces: Sequence[Buffer]) -> None:
        if self._client._verify == "never":  # pyright: ignore[reportPrivateUsage]
            return
        seen = WholeDigest(self.info.size, self.info.checksum, self.info.etag)
        for each in pieces:
            seen.update(each)
        seen.check(f"blob {self.blob}")
        if seen.unsettled:
            self._client._read_again(self._found, seen.unsettled, None)  # pyright: ignore[reportPrivateUsage]

    def _into(self, offset: int, memory: memoryview) -> None:
        if self._client.get_into(self._found, memory, offset=offset) != len(memory):
            raise InvalidRequest(f"blob {self.blob} ends before its tensors do")

    def views(self, memory: memoryview, names: Sequence[str], framework: Framework) -> dict[str, Any]:
        """Tensors over memory that was filled, which they share."""
        return {
            name: array_of(framework, memory[tensor.begin : tensor.end], tensor.dtype, tensor.shape)
            for name in names
            for tensor in (self.header.tensors[name],)
        }


def nothing() -> None:
    """Of what must be done before threads that stop are waited for."""


def _requests(fills: Sequence[Fill]) -> Iterator[list[Fill]]:
    """What is asked for together: parts of large tensors by themselves, small tensors until they are a part."""
    small: list[Fill] = []
    for offset, memory in fills:
        if len(memory) >= SMALL_BYTES:
            for start in range(0, len(memory), PART_BYTES):
                yield [Fill(offset + start, memory[start : start + PART_BYTES])]
            continue
        if small and sum(len(each.memory) for each in small) + len(memory) > PART_BYTES:
            yield small
            small = []
        small.append(Fill(offset, memory))
    if small:
        yield small
