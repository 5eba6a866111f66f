"""One safetensors file in the store: its header is asked for once, then the bytes of tensors as they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ambry.checksum import new_digester
from ambry.client.model import BlobInfo
from ambry.client.refs import Ref
from ambry.client.sync.client import AmbryClient
from ambry.errors import ChecksumMismatch, InvalidRequest
from ambry.ids import BlobId
from ambry.rest.values import digest_text
from ambry.tensors.frameworks import Framework, array_of
from ambry.tensors.header import ELEMENT_BYTES, TensorHeader, TensorInfo, header_end, parse_header
from ambry.tensors.spans import Index, run_of

BEGIN_BYTES = 64 << 10
"""What is asked for first: the header of a model of a few hundred tensors."""
PART_BYTES = 8 << 20


class TensorFile:
    """Its header is here. Usable by threads."""

    def __init__(self, client: AmbryClient, ref: Ref) -> None:
        """One request for a header of at most 64 KiB, two for a larger one. Raises InvalidRequest for what is none."""
        self._client = client
        try:
            with client.get(ref, range=(0, BEGIN_BYTES)) as reader:
                self.info: BlobInfo = reader.info
                begin = reader.read()
            self.header: TensorHeader = self._header(begin)
        except InvalidRequest as error:
            error.message = f"{ref}: {error.message}"
            raise

    @property
    def blob(self) -> BlobId:
        return self.info.id

    def _header(self, begin: bytes) -> TensorHeader:
        end = header_end(begin, self.info.size)
        if end > len(begin):
            begin += self._client.get_bytes(self.blob, range=(len(begin), end))
        return parse_header(begin[:end], self.info.size)

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

    def _bytes(self, offset: int, size: int) -> bytearray:
        data = bytearray(size)
        if size and self._client.get_into(self.blob, data, offset=offset) != size:
            raise InvalidRequest(f"blob {self.blob} ends before its tensors do")
        return data

    def fill(self, memory: memoryview, pool: ThreadPoolExecutor) -> None:
        """All bytes of the file into this memory, which has its size: several parts at a time, verified by the blob's digest.

        Raises ChecksumMismatch; then nobody may use what is there.
        """
        starts = range(0, self.info.size, PART_BYTES)
        list(pool.map(lambda start: self._part(memory, start), starts))
        if self.info.checksum and _digest(memory) != self.info.checksum:
            raise ChecksumMismatch(f"the bytes of blob {self.blob} are not those of its digest; nothing was kept")

    def _part(self, memory: memoryview, start: int) -> None:
        part = memory[start : start + PART_BYTES]
        if self._client.get_into(self.blob, part, offset=start) != len(part):
            raise InvalidRequest(f"blob {self.blob} ends before its tensors do")

    def views(self, memory: memoryview, names: Sequence[str], framework: Framework) -> dict[str, Any]:
        """Tensors over memory that was filled, which they share."""
        return {
            name: array_of(framework, memory[tensor.begin : tensor.end], tensor.dtype, tensor.shape)
            for name in names
            for tensor in (self.header.tensors[name],)
        }


def _digest(memory: memoryview) -> str:
    running = new_digester()
    running.update(memory)
    return digest_text(running.digest())
