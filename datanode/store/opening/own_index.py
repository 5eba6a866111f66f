"""The index of a replica that is being opened: the one of the last checkpoint, or a new one that the log is replayed into.

A delete stands in the log and in the index. Where the index is gone (missing, damaged, given up) and the log is not whole,
deletes may be lost that all peers have forgotten, and nobody would tell of them: such a replica counts as put back from a
backup (datanode/replication/recovery.py) until it has asked its peers. That is written into its identity before anything is
done that would hide the loss from the next opening: an index deleted, a log cut, a checkpoint written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from ambry.errors import IndexCorrupt
from ambry.service.logs import get_logger
from datanode.store.files import Files
from datanode.store.index import Checkpoint, Index
from datanode.store.index_file import FILE_NAMES, INDEX_NAME
from datanode.store.opening.identity import IdentityFile

log = get_logger()


class OwnIndex:
    """Opens it, or makes it anew."""

    def __init__(
        self,
        files: Files,
        directory: Path,
        partition: int,
        identity: IdentityFile,
        *,
        is_new: bool,
        on_corrupt: Callable[[str], None],
    ) -> None:
        self._files = files
        self._directory = directory
        self._partition = partition
        self._identity = identity
        self._is_new = is_new
        self._on_corrupt = on_corrupt
        self.gone = False
        """Whether the log alone is left to tell what the replica knew."""
        self.renewed = False
        """Whether it is that of a former incarnation: what it says of peers is void."""

    def open(self, *, distrust: bool) -> Index:
        """The one there is, or a new one. Blocking. Raises OSError, Overloaded, InsufficientStorage."""
        if distrust or not self._files.exists(self._directory / INDEX_NAME / FILE_NAMES[0]):
            self.gone = not self._is_new
            return self._fresh()
        try:
            index = self._index()
        except IndexCorrupt as error:
            log.warning("index damaged, rebuilding from the log", partition=self._partition, error=str(error))
            self.gone = True
            return self._fresh()
        incarnation = index.checkpoint.incarnation
        if self._identity.lineage.knows(incarnation):
            log.warning("replica renewed, it starts over with its peers", partition=self._partition)
            self.renewed = True
        elif incarnation.hex() != self._identity.incarnation:
            log.warning("index of another incarnation, rebuilding from the log", partition=self._partition)
            index.close()
            self.gone = True
            return self._fresh()
        self.gone = index.checkpoint.partial
        return index

    def give_up(self, index: Index, why: str) -> Index:
        """A new one in the place of one that cannot be trusted, though it knew more than what is left of the log."""
        self.gone = True
        self.note_loss(why)
        index.close()
        return self._fresh()

    def last_checkpoint(self, index: Index) -> Checkpoint:
        """What it says of the log. One of an earlier epoch is older than what was appended since, however clean that stop was.

        A transaction of the index is lost where a disk does not obey, or a bit of LMDB's newest meta page flips: then it takes
        the one before, and nothing shows.
        """
        checkpoint = index.checkpoint
        if not checkpoint.clean or checkpoint.epoch == self._identity.lineage.epoch:
            return checkpoint
        log.warning("index older than its log, replaying", partition=self._partition, lsn=checkpoint.lsn)
        return replace(checkpoint, clean=False)

    def note_loss(self, why: str) -> None:
        """Records of the log are gone: where the index is as well, that is durable on return. Blocking. Raises OSError."""
        if self.gone:
            self._identity.note_put_back(f"its index was lost, and of its log: {why}; so deletes may be")

    def _fresh(self) -> Index:
        directory = self._directory / INDEX_NAME
        for name in FILE_NAMES:
            if self._files.exists(directory / name):
                self._files.unlink(directory / name)
        self._files.make_directory(directory)
        self._files.sync_directory(self._directory)
        return self._index()

    def _index(self) -> Index:
        return Index(self._files, self._directory / INDEX_NAME, self._partition, on_corrupt=self._on_corrupt)
