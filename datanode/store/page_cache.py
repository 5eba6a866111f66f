"""What of a file is in the page cache, without touching any of it.

The kernel tells it of mapped memory alone (mincore(2)), so the bytes are mapped for as long as that takes, and never
accessed: a page of a map that the disk cannot read would be a signal, not an error. A page that is being read is missing.
"""

from __future__ import annotations

import ctypes
import mmap

_libc = ctypes.CDLL(None)
_map = _libc.mmap
_map.restype = ctypes.c_void_p
_map.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_unmap = _libc.munmap
_unmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_tell = _libc.mincore
_tell.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
_FAILED = ctypes.c_void_p(-1).value
_NO_ACCESS = 0
_PRESENT = bytes(value & 1 for value in range(256))
"""Of what is told of a page only the lowest bit has a meaning."""


def is_cached(fd: int, offset: int, size: int) -> bool:
    """Whether all of `size` bytes of the file can be read without waiting for the disk. False where nobody can tell.

    The file must be open for writing, or our own: of others the kernel says that all is there.
    """
    before = offset % mmap.PAGESIZE
    size += before
    place = _map(None, size, _NO_ACCESS, mmap.MAP_SHARED, fd, offset - before)
    if place == _FAILED:
        return False
    try:
        pages = -(-size // mmap.PAGESIZE)
        told = ctypes.create_string_buffer(pages)
        return _tell(place, size, told) == 0 and told.raw.translate(_PRESENT).count(1) == pages
    finally:
        _unmap(place, size)
