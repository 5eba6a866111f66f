"""What an error says about the disk: every kind there is, none taken for another."""

from __future__ import annotations

import errno
import os

import lmdb
import pytest

from ambry.errors import DataCorrupt, IndexCorrupt, InsufficientStorage, Overloaded, ReplicaUnavailable
from datanode.store.trouble import Trouble, advice, is_full, is_shortage, judge, passes


def system(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def through_lmdb(number: int) -> lmdb.Error:
    """As py-lmdb raises what the system said: the path, and its words."""
    return lmdb.Error(f"/data/partition-00000007/index: {os.strerror(number)}")


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (system(errno.EMFILE), Trouble.SHORTAGE),
        (system(errno.ENFILE), Trouble.SHORTAGE),
        (system(errno.ENOMEM), Trouble.SHORTAGE),
        (system(errno.EAGAIN), Trouble.SHORTAGE),
        (system(errno.EFBIG), Trouble.SHORTAGE),
        (through_lmdb(errno.EFBIG), Trouble.SHORTAGE),
        (MemoryError(), Trouble.SHORTAGE),
        (RuntimeError("can't start new thread"), Trouble.SHORTAGE),
        (Overloaded("no descriptors"), Trouble.SHORTAGE),
        (lmdb.MemoryError("mdb_put: Cannot allocate memory"), Trouble.SHORTAGE),
        (lmdb.ReadersFullError("mdb_txn_begin"), Trouble.SHORTAGE),
        (lmdb.TlsFullError("mdb_env_open"), Trouble.SHORTAGE),
        (through_lmdb(errno.EMFILE), Trouble.SHORTAGE),
        (through_lmdb(errno.ENFILE), Trouble.SHORTAGE),
        (through_lmdb(errno.ENOMEM), Trouble.SHORTAGE),
        (system(errno.ENOSPC), Trouble.FULL),
        (system(errno.EDQUOT), Trouble.FULL),
        (InsufficientStorage("full"), Trouble.FULL),
        (lmdb.MapFullError("mdb_put: MDB_MAP_FULL"), Trouble.FULL),
        (through_lmdb(errno.ENOSPC), Trouble.FULL),
        (lmdb.DiskError(f"mdb_txn_commit: {os.strerror(errno.ENOSPC)}"), Trouble.FULL),
        (system(errno.EIO), Trouble.FAILED),
        (system(errno.EROFS), Trouble.FAILED),
        (system(errno.ENOENT), Trouble.FAILED),
        (lmdb.DiskError(f"mdb_txn_commit: {os.strerror(errno.EIO)}"), Trouble.FAILED),
        (DataCorrupt("a block"), Trouble.DAMAGE),
        (IndexCorrupt("an entry"), Trouble.DAMAGE),
        (lmdb.CorruptedError("mdb_get"), Trouble.DAMAGE),
        (lmdb.PanicError("mdb_txn_begin"), Trouble.DAMAGE),
        (lmdb.InvalidError("mdb_env_open: not an LMDB file"), Trouble.DAMAGE),
        (RuntimeError("another"), Trouble.BUG),
        (ValueError(), Trouble.BUG),
        (ReplicaUnavailable("closed"), Trouble.BUG),
    ],
    ids=repr,
)
def test_what_an_error_says(error: BaseException, trouble: Trouble) -> None:
    assert judge(error) is trouble
    assert is_shortage(error) == (trouble is Trouble.SHORTAGE)
    assert is_full(error) == (trouble is Trouble.FULL)
    assert passes(error) == (trouble in (Trouble.SHORTAGE, Trouble.FULL))


def test_what_an_operator_can_do_is_said_where_the_disk_says_no_more_than_a_word() -> None:
    for number, words in (
        (errno.EROFS, "mount the disk writable"),
        (errno.EACCES, "give it to the user"),
        (errno.EIO, "replace it"),
    ):
        assert words in advice(OSError(number, "word"))
    assert advice(OSError(errno.ENOENT, "word")) == advice(ValueError()) == ""
