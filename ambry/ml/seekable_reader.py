"""A file that is read where one likes, of which a subclass says only what the bytes are."""

from __future__ import annotations

import io


class SeekableReader(io.RawIOBase):
    """`size` bytes, of which `_position` is the next that is read. A subclass has `read` or `readinto`, and moves it on."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = max(0, (0, self._position, self._size)[whence] + offset)
        return self._position
