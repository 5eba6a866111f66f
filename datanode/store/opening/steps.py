"""Opening a replica: lock, identity, index, replay, cut.

    1  set aside what cannot be a file of ours (strays.py), and lock the directory: a second process is refused
    2  read the identity: another cluster's or partition's directory is refused; an empty one is a lost one
    3  open the index; one that is missing, damaged, of another incarnation, or tells of more than the log has (shortfall.py) is
       deleted, and everything is replayed
    4  open the segments (inventory.py), and bring the index in line with them (reconcile.py). A segment that is missing or
       has a damaged header is named with its LSNs: what the index has there is forgotten, and fetched again. Where a
       compaction was interrupted the higher generation counts, the index is pointed to it, and the old files are deleted
       after step 6
    5  replay the log from the checkpoint on (replay.py); the bytes behind the last whole record go to a quarantine file and
       are cut
    6  begin an epoch of the log (datanode/store/lineage.py), and write a checkpoint that says "not cleanly stopped", both
       before the first append

A crash at any of these steps leaves what the step found: each can be repeated. After an unclean stop appends go on in a new
segment, so no LSN is given twice (datanode/store/log.py).

Authority: no replica says "not found" before its peers were asked whether its directory was put back from a backup
(datanode/replication/authority.py). And one that may have lost something it acknowledged (new, rebuilt, a gap in its log, a
cut tail, a segment that is gone) must not until it has caught up with its peers; `Opened.serving` says so. Where the loss may
lie before the checkpoint its tokens are forgotten too, so that catching up starts from the beginning. Tokens of the checkpoint
never cover what came into the log after it, so a cut tail needs no more than going on from them. One that lost its index as
well counts as put back from a backup (own_index.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from ambry.clock import Clock
from ambry.errors import IndexCorrupt, StoreMismatch
from ambry.service.logs import get_logger
from datanode.store.blob_store import BlobStore, Opened
from datanode.store.compaction.receipt import drop_settled
from datanode.store.files import Files, Lock
from datanode.store.index import Checkpoint, FindToken, Index
from datanode.store.log import Log
from datanode.store.opening import identity as identity_file
from datanode.store.opening.identity import IdentityFile
from datanode.store.opening.inventory import LOST_SEGMENT_LSNS, Inventory, name_holes, take_inventory
from datanode.store.opening.own_index import OwnIndex
from datanode.store.opening.progress import Progress
from datanode.store.opening.reconcile import forget_missing, relocate, require_compactions
from datanode.store.opening.replay import Replay, ReplayFindings
from datanode.store.opening.shortfall import shortfall
from datanode.store.opening.start_over import finish
from datanode.store.opening.strays import LOCK_NAME, clear_the_way, set_strays_aside

log = get_logger()

PROGRESS_RECORDS = 200_000
NO_IDENTITY = "its identity was lost, and how far its log once went with it"
TWO_LOGS = "segments that no compaction explains cover the same LSNs"


def open_store(
    files: Files,
    directory: Path,
    *,
    cluster: str,
    partition: int,
    segment_size_bytes: int,
    clock: Clock,
    random_source: random.Random,
    on_index_corrupt: Callable[[str], None] = lambda _reason: None,
    progress: Progress | None = None,
    rebuild: bool = False,
) -> BlobStore:
    """Open or create the replica in `directory`; `rebuild` distrusts the index. Blocking.

    `on_index_corrupt` will hear, on any thread, why the index turned out damaged; `progress` is kept up.

    Raises StoreMismatch (another process, cluster or partition), DataCorrupt (the identity), FormatUnknown, OSError,
    ReplicaUnavailable when `progress` was stopped.
    """
    progress = progress or Progress()
    progress.begin("reading what there is")
    clear_the_way(files, directory)
    finish(files, directory)
    files.make_directory(directory)
    # The replica's own name must outlast a power cut as well.
    files.sync_directory(directory.parent)
    set_aside = set_strays_aside(files, directory, partition)
    lock = _lock(files, directory)

    def opening() -> _Opening:
        return _Opening(
            files,
            directory,
            clock,
            lock,
            cluster,
            partition,
            segment_size_bytes,
            random_source,
            on_index_corrupt,
            progress,
            set_aside,
        )

    try:
        try:
            return opening().run(rebuild=rebuild)
        except IndexCorrupt as error:
            if rebuild:
                raise
            log.warning("index damaged, rebuilding from the log", partition=partition, error=str(error))
            return opening().run(rebuild=True)
    except BaseException:
        lock.release()
        raise


def _lock(files: Files, directory: Path) -> Lock:
    try:
        return files.lock(directory / LOCK_NAME)
    except BlockingIOError as cause:
        raise StoreMismatch(f"{directory} is in use by another process; stop it first") from cause


class _Opening:
    """The steps of one opening, in the order of the module's list."""

    def __init__(
        self,
        files: Files,
        directory: Path,
        clock: Clock,
        lock: Lock,
        cluster: str,
        partition: int,
        segment_size_bytes: int,
        random_source: random.Random,
        on_index_corrupt: Callable[[str], None],
        progress: Progress,
        set_aside: list[str],
    ) -> None:
        self._set_aside = set_aside
        self._files = files
        self._directory = directory
        self._clock = clock
        self._lock = lock
        self._partition = partition
        self._progress = progress
        self._findings = ReplayFindings()
        self._inventory = Inventory()
        own = identity_file.load_or_create(
            files, directory, cluster=cluster, partition=partition, random_source=random_source
        )
        self._identity = IdentityFile(files, directory, own.identity)
        self._epoch = f"{random_source.getrandbits(64):016x}"
        self._own_index = OwnIndex(
            files, directory, partition, self._identity, is_new=own.is_new, on_corrupt=on_index_corrupt
        )
        self._log = Log(
            files,
            directory,
            partition=partition,
            incarnation=own.identity.incarnation_bytes,
            segment_size_bytes=segment_size_bytes,
        )

    def run(self, *, rebuild: bool) -> BlobStore:
        index = self._own_index.open(distrust=rebuild)
        try:
            self._inventory = take_inventory(
                self._files,
                self._directory,
                self._log,
                self._partition,
                incarnations=self._identity.incarnations,
                before_doubt=lambda: self._identity.note_put_back(TWO_LOGS),
            )
            self._findings.damaged |= self._inventory.damaged
            if self._identity.incarnations is None and self._log.segments:
                self._identity.note_put_back(NO_IDENTITY)
            if self._inventory.ambiguous:
                # It may be about a file that is set aside; peers have what was in it.
                index = self._own_index.give_up(index, TWO_LOGS)
                self._findings.lost = True
            index = self._checked_against_log(index)
            store = self._store(index)
            checkpoint = self._own_index.last_checkpoint(index)
            if checkpoint.segment:
                pending = self._inventory.into if self._inventory.replaced else ()
                require_compactions(self._log, checkpoint.compacted, pending)
            if self._inventory.replaced and index.checkpoint.segment:
                into = [segment for segment in self._log.in_order() if segment.number in self._inventory.into]
                relocate(self._inventory.replaced, into, index, store.compaction)
            self._note_missing(store, index)
            self._replay(store, checkpoint)
            self._finish(store, checkpoint)
            self._delete_replaced(store)
            return store
        except BaseException:
            self._log.close()
            index.close()
            raise

    def _delete_replaced(self, store: BlobStore) -> None:
        replaced = list(self._inventory.replaced.values())
        if replaced:
            for segment in replaced:
                segment.close()
            store.compaction.delete_files(replaced)
        else:
            drop_settled(self._files, self._directory)

    def _note_missing(self, store: BlobStore, index: Index) -> None:
        """Segments that are gone since the last checkpoint are said, and what the index has in them is forgotten."""
        store.holes = self._log.holes()
        store.unreadable = self._inventory.unreadable
        store.set_aside = [*self._set_aside, *self._inventory.set_aside]
        news = set(store.holes) - set(index.checkpoint.holes)
        if not news and self._inventory.beyond is None:
            return
        self._findings.lost = True
        if news:
            log.error("segments are missing", partition=self._partition, lsns=name_holes(self._log))
        forget_missing(self._log, index, store.compaction)

    def _checked_against_log(self, index: Index) -> Index:
        """Refuse an index that covers more log than there is."""
        checkpoint, short = index.checkpoint, shortfall(self._log, index)
        if short is None:
            return index
        log.error("log shorter than its index, rebuilding", partition=self._partition, missing=short.what)
        self._findings.lost = True
        if short.segment_gone:
            self._log.skip(short.segment_gone, 0)
            if all(other.base_lsn < checkpoint.lsn for other in self._log.segments.values()):
                self._inventory.beyond = max(self._inventory.beyond or 0, checkpoint.lsn)
        return self._own_index.give_up(index, short.what)

    def _store(self, index: Index) -> BlobStore:
        self._identity.adopt(segment.header.incarnation for segment in self._log.in_order())
        return BlobStore(
            partition=self._partition,
            incarnation=bytes.fromhex(self._identity.incarnation),
            directory=self._directory,
            files=self._files,
            clock=self._clock,
            lock=self._lock,
            log=self._log,
            index=index,
            identity=self._identity,
            opened=Opened(),
        )

    def _replay(self, store: BlobStore, checkpoint: Checkpoint) -> None:
        replay = Replay(
            self._files, self._directory, store, self._findings, self._progress, before_cut=self._own_index.note_loss
        )
        segments = self._log.in_order()
        covered = self._log.segments.get(checkpoint.segment)
        starts: dict[int, int] = {}
        for segment in segments:
            if covered is not None and segment.base_lsn < covered.base_lsn:
                segment.end = segment.data_size()
            elif checkpoint.clean and segment is covered:
                segment.end = checkpoint.offset
            else:
                starts[segment.number] = checkpoint.offset if segment is covered else 0
                self._progress.to_replay_bytes += max(0, segment.data_size() - starts[segment.number])
        self._progress.begin("replaying the log")
        for segment in segments:
            if segment.number in starts:
                replay.run(segment, starts[segment.number], last=segment is segments[-1])
                store.end_lsn = segment.end_lsn
                self._save_progress(store, checkpoint)
        self._progress.begin("writing a checkpoint")

    def _save_progress(self, store: BlobStore, checkpoint: Checkpoint) -> None:
        """Bound what a long replay holds in memory, and what a crash during it repeats; tell that it goes on."""
        if store.recent_count < PROGRESS_RECORDS:
            return
        log.info("replaying", partition=self._partition, records=self._findings.replayed, lsn=store.end_lsn)
        self._note_loss()
        _checkpoint(store, self._tokens(checkpoint), partial=self._own_index.gone)

    def _note_loss(self) -> None:
        """Before a checkpoint says that the log was replayed, and the next opening does not look there any more."""
        if self._findings.lost or self._findings.gaps:
            holes = name_holes(self._log)
            self._own_index.note_loss(f"LSNs {holes}" if holes else f"{self._findings.gaps} damaged places")

    def _tokens(self, checkpoint: Checkpoint) -> dict[str, FindToken]:
        return {} if self._findings.lost or self._own_index.renewed else checkpoint.tokens

    def _finish(self, store: BlobStore, checkpoint: Checkpoint) -> None:
        findings = self._findings
        resume = checkpoint.clean and checkpoint.resume
        segments = self._log.in_order()
        if resume and segments and checkpoint.segment == segments[-1].number:
            self._log.active = segments[-1]
        self._inventory.note_end(self._log, known_lsn=self._identity.lineage.begin_lsn)
        if self._inventory.beyond is not None:
            # Peers may have seen LSNs behind the end of what is left: only the base of a new segment keeps them from
            # being given again, whatever becomes of a file that cannot be read.
            self._log.skip(0, LOST_SEGMENT_LSNS, beyond=max(self._inventory.beyond, checkpoint.lsn))
            self._log.start_segment(self._clock.wall_ms())
            findings.lost = True
            store.holes = self._log.holes()
            log.error("the end of the log is missing", partition=self._partition, lsns=name_holes(self._log))
        store.end_lsn = max((segment.end_lsn for segment in self._log.in_order()), default=checkpoint.lsn)
        self._note_loss()
        kept = checkpoint.serving and not self._own_index.renewed
        findings.rebuilt = self._own_index.gone
        store.serving = kept and not (findings.lost or findings.gaps or findings.rebuilt)
        store.opened = Opened(findings.replayed, findings.cut_bytes, findings.gaps, findings.rebuilt, store.serving)
        store.compaction.damaged |= findings.damaged
        # Before any peer can name it, and before the first record of it.
        store.identity.begin(self._epoch, store.end_lsn, served=kept, filled=bool(segments))
        store.put_back = store.lineage.put_back
        _checkpoint(store, self._tokens(checkpoint))
        log.info(
            "replica open",
            partition=self._partition,
            incarnation=self._identity.incarnation,
            end_lsn=store.end_lsn,
            replayed=findings.replayed,
            cut_bytes=findings.cut_bytes,
            gaps=findings.gaps,
            rebuilt=findings.rebuilt,
            serving=store.serving,
        )


def _checkpoint(store: BlobStore, tokens: dict[str, FindToken], *, partial: bool = False) -> None:
    """One that says "not cleanly stopped". Nothing waits for a sync: what was replayed was synced before it was read."""
    pending = store.begin_checkpoint(clean=False, tokens=tokens)
    if partial:
        pending = replace(pending, checkpoint=replace(pending.checkpoint, partial=True))
    store.write_checkpoint(pending)
    store.end_checkpoint(pending)
