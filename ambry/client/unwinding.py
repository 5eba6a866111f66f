"""Why a file is being closed, as seen from a `close()` that says nothing of it.

`with fsspec.open(url, "wb") as f:` closes the file when its block ends, however it ends, and tells nobody which it was; so does
every wrapper for text or compression, and a `finally`. A file of which half was written would be published. What tells is
the frame that holds the block: it stands at the instruction which hands the exception to `__exit__`, or in the copy of the
`finally` that exceptions go through. And a wrapper that nobody closed closes what it wraps when it is collected: those of
`io` say so before (`_dealloc_warn`), those with a `__del__` have a frame of that name. (Of CPython; elsewhere a file's own
`__exit__` knows its block, and no other.)

A `finally` counts where it closes the file itself, or by way of another `close`, the standard library or fsspec; one further
out may close files of others, which are whole. An `except` that closes a file has decided to.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

_LEAVING = dis.opmap.get("WITH_EXCEPT_START", -1)
_HANDLER = dis.opmap.get("PUSH_EXC_INFO", -1)
_STATEMENT_ENDS = frozenset(("POP_TOP", "PUSH_EXC_INFO", "RERAISE", "RETURN_VALUE", "RETURN_CONST"))
_BETWEEN = frozenset(("ambry", "fsspec")) | sys.stdlib_module_names
_CLOSING = frozenset(("close", "__exit__", "__aexit__"))
_MATCHES = frozenset(("CHECK_EXC_MATCH", "CHECK_EG_MATCH"))


class PublishedOnClose:
    """What a file that is published when it is closed knows of whoever closes it."""

    _before = 0
    _is_dropped = False

    def _note_opener(self) -> None:
        self._before = in_flight()

    def _dealloc_warn(self, source: object) -> None:
        """Called by the wrappers of `io` that are collected open, right before they close what they wrap."""
        self._is_dropped = True

    def _is_given_up(self) -> bool:
        """Whether `close` is called for a reason that leaves half of a file."""
        return self._is_dropped or is_collecting() or leaves_block(self._before)


def in_flight() -> int:
    """The exception that is being handled now, as a number; 0 for none."""
    error = sys.exc_info()[1]
    return 0 if error is None else id(error)


def leaves_block(before: int) -> bool:
    """Whether a block is being left because of an exception, other than the one that was `in_flight` before."""
    if in_flight() in (0, before):
        return False
    nearest = True
    for frame in _callers(sys._getframe(1)):  # pyright: ignore[reportPrivateUsage]
        if _leaves_with(frame) or (nearest and _leaves_try(frame)):
            return True
        nearest = nearest and _is_between(frame)
    return False


def is_collecting() -> bool:
    """Whether this happens because something is collected that nobody closed."""
    callers = _callers(sys._getframe(1))  # pyright: ignore[reportPrivateUsage]
    return any(frame.f_code.co_name == "__del__" for frame in callers)


def _is_between(frame: FrameType) -> bool:
    """Whether it stands for whoever called it."""
    module: str = frame.f_globals.get("__name__", "")
    return frame.f_code.co_name in _CLOSING or module.partition(".")[0] in _BETWEEN


def _leaves_with(frame: FrameType) -> bool:
    return frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == _LEAVING


def _leaves_try(frame: FrameType) -> bool:
    """Whether it stands where a `finally` is gone through, or an `async with` is left, with an exception."""
    code, offset = frame.f_code, frame.f_lasti
    entries: list[Any] = getattr(dis.Bytecode(code), "exception_entries", [])

    def cover(offset: int) -> Any:
        return next((each for each in entries if each.start <= offset < each.end), None)

    while (found := cover(offset)) is not None:
        if code.co_code[found.target] == _HANDLER:
            # In the block itself, whose handler is no place where this is. What is around both is around its end, too.
            found = cover(found.target)
        elif _is_of_all(code, min(each.start for each in entries if each.target == found.target)):
            # All that stands in one handler is covered by one entry, or several where blocks are in it, with one target.
            return True
        if found is None:
            return False
        offset = found.target
    return False


def _is_of_all(code: CodeType, start: int) -> bool:
    """Whether what begins there is a handler that every exception goes through, unlike an `except`: that one compares the
    exception first, or takes it off the stack."""
    names = [each.opname for each in dis.get_instructions(code) if each.offset >= start]
    if names[0] != "PUSH_EXC_INFO" or names[1] == "POP_TOP":
        return False
    for name in names[1:]:
        if name in _MATCHES:
            return False
        if name in _STATEMENT_ENDS or name.startswith(("STORE_", "POP_JUMP")):
            return True
    return True


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
