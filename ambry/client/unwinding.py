"""Whether an exception is just leaving a `with` block, as seen from a `close()` that the block calls.

`with fsspec.open(url, "wb") as f:` closes the file when its block ends, however it ends, and tells nobody which it was; so does
every wrapper for text or compression. A file of which half was written would be published. What tells is the frame that
holds the block: it stands at the instruction which hands the exception to `__exit__`. (Of CPython; elsewhere a file's own
`__exit__` knows it, and no other.)
"""

from __future__ import annotations

import dis
import sys
from types import FrameType

_LEAVING = dis.opmap.get("WITH_EXCEPT_START", -1)


def in_flight() -> int:
    """The exception that is being handled now, as a number; 0 for none."""
    error = sys.exc_info()[1]
    return 0 if error is None else id(error)


def leaves_with(before: int) -> bool:
    """Whether a block is being left because of an exception, other than the one that was `in_flight` before."""
    now = in_flight()
    return now not in (0, before) and any(_is_leaving(frame) for frame in _callers(sys._getframe(1)))


def _is_leaving(frame: FrameType) -> bool:
    return frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == _LEAVING


def _callers(frame: FrameType | None) -> list[FrameType]:
    found = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found
