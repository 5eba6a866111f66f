"""What an error says about a disk: the one place that decides, for reads, writes, the scrub, compaction, checkpoints, opening.

    SHORTAGE  this process, or the machine, is out of descriptors, memory, address space, threads, or at RLIMIT_FSIZE
    FULL      the disk has no room
    FAILED    the disk did not do what it was asked
    DAMAGE    bytes are not what they were

A shortage says nothing about the disk: nobody is condemned for it, and where no byte was written nothing is fenced for it.
The work ends, is tried again, and goes on when there is enough. So it is with a full disk, but that deletes may use a reserve.
"""

from __future__ import annotations

import errno
import os
from enum import Enum

import lmdb

from ambry.errors import AmbryError, DataCorrupt, IndexCorrupt, InsufficientStorage, Overloaded

_FULL = (errno.ENOSPC, errno.EDQUOT)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EFBIG)
"""EAGAIN: of threads and of locked memory; EFBIG: RLIMIT_FSIZE (setrlimit(2)). No disk says them."""
_NO_THREAD = "can't start new thread"
"""What CPython says in a RuntimeError (Modules/_threadmodule.c); it has no class of its own."""


class Trouble(Enum):
    """See above; BUG is everything else."""

    SHORTAGE = "shortage"
    FULL = "full"
    FAILED = "failed"
    DAMAGE = "damage"
    BUG = "bug"


def judge(error: BaseException) -> Trouble:
    """What `error` says about the disk that was used when it was raised."""
    match error:
        case MemoryError() | Overloaded():
            return Trouble.SHORTAGE
        case RuntimeError() if _NO_THREAD in str(error):
            return Trouble.SHORTAGE
        case InsufficientStorage():
            return Trouble.FULL
        case DataCorrupt() | IndexCorrupt():
            return Trouble.DAMAGE
        case lmdb.Error():
            return _judge_lmdb(error)
        case OSError():
            return _judge_errno(error.errno)
    return Trouble.BUG


def _judge_errno(number: int | None) -> Trouble:
    if number in _EXHAUSTED:
        return Trouble.SHORTAGE
    return Trouble.FULL if number in _FULL else Trouble.FAILED


def _judge_lmdb(error: lmdb.Error) -> Trouble:
    """LMDB's own codes are classes; what the system told it stands at the end of the message alone."""
    if isinstance(error, lmdb.MemoryError | lmdb.ReadersFullError | lmdb.TlsFullError | lmdb.DbsFullError):
        return Trouble.SHORTAGE
    if isinstance(error, lmdb.MapFullError):
        return Trouble.FULL
    for number in (*_EXHAUSTED, *_FULL):
        if str(error).endswith(os.strerror(number)):
            return _judge_errno(number)
    return Trouble.FAILED if isinstance(error, lmdb.DiskError) else Trouble.DAMAGE


def is_shortage(error: BaseException) -> bool:
    """Whether the process is at a limit of its own: that says nothing about the disk."""
    return judge(error) is Trouble.SHORTAGE


def is_full(error: BaseException) -> bool:
    """Whether the disk has no room: nothing is wrong with it otherwise."""
    return judge(error) is Trouble.FULL


_ADVICE = {
    errno.EROFS: "; mount the disk writable (a failing one is made read-only: look at it), then reopen the partition",
    errno.EACCES: "; give it to the user that runs this process, then reopen the partition",
    errno.EPERM: "; give it to the user that runs this process, then reopen the partition",
    errno.EIO: "; look at the disk, replace it where it fails, then reopen the partition",
}


def advice(error: BaseException) -> str:
    """What an operator can do where a replica cannot be opened; empty where the error says it, or nobody knows."""
    return _ADVICE.get(error.errno or 0, "") if isinstance(error, OSError) else ""


def put_off(error: BaseException, reason: str) -> AmbryError | None:
    """What to answer where the same may succeed later; None for what says that something must be mended."""
    match judge(error):
        case Trouble.SHORTAGE:
            return Overloaded(reason)
        case Trouble.FULL:
            return InsufficientStorage(reason)
    return None


def passes(error: BaseException) -> bool:
    """Whether the same may succeed later with nothing mended: a shortage, or a full disk."""
    return judge(error) in (Trouble.SHORTAGE, Trouble.FULL)
