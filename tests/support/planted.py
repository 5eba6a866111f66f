"""Faults planted on purpose, one at a time: a suite that does not notice them is not to be trusted.

A pytest plugin: `AMBRY_PLANTED_FAULT=name pytest -p tests.support.planted ...` runs the tests against a product that has the
fault. Each is a mistake that somebody once shipped. docs/testing.md says which test sees it, and tests/fault/test_planted.py
holds it to that. The product itself has no switch for any of them.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from ambry import blob
from ambry.blob import NEVER_MS, BlobState, DatedState
from ambry.checksum import xxh64
from ambry.clustermap.model import Partition
from ambry.clustermap.skew import AgreedClock
from ambry.errors import BlobNotFound, ProtocolViolation
from ambry.format import record as record_format
from ambry.format.record import Record
from ambry.network import pool, tcp
from ambry.network.ages import Ages
from ambry.network.connection import RpcConnection
from ambry.network.serving import ServingConnection
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages.replication import Change, ChangesCursor, ChangesRequest, PartitionChanges
from ambry.service.log_file import LogFile
from datanode.committer import Committer
from datanode.disk import Disk
from datanode.handlers.blobs import BlobHandlers
from datanode.parts import Parts
from datanode.replicas import Replica, Replicas
from datanode.replication import comparison, merger
from datanode.replication import decide as deciding
from datanode.replication.bootstrap import Bootstrapper
from datanode.replication.bootstrap_copy import PeerCopy
from datanode.replication.bootstrap_source import BootstrapSource
from datanode.replication.comparison import PairComparer
from datanode.replication.cursor import Cursor, Cursors
from datanode.replication.decide import Action
from datanode.replication.feed import ChangeFeed
from datanode.replication.losses import Losses
from datanode.replication.replicator import Pull, Replicator
from datanode.replication.shares import Shares
from datanode.replication.silence import Silence
from datanode.replication.standing import Told
from datanode.replication.subscriptions import Follower
from datanode.store import batch, bounded_files, entry, index, index_file, log, ranges, record_reader, trouble
from datanode.store.age import LogAge
from datanode.store.batch import Batch
from datanode.store.blob_store import BlobStore
from datanode.store.changes import Past
from datanode.store.compaction import copy as copying
from datanode.store.compaction import plan
from datanode.store.compaction.plan import Usage
from datanode.store.compaction.switch import Compaction
from datanode.store.copies import Copies
from datanode.store.entry import IndexEntry
from datanode.store.images import ImageBatch
from datanode.store.index import FindToken
from datanode.store.lineage import Lineage, Seen
from datanode.store.opening import inventory, reconcile, replay, shortfall
from datanode.store.opening import steps as opening_steps
from datanode.store.opening.identity import IdentityFile
from datanode.store.opening.own_index import OwnIndex
from datanode.store.pieces import Pieces
from datanode.store.retention import Retention
from datanode.store.segment import Segment
from datanode.store.trouble import Trouble
from datanode.upkeep import fates
from datanode.upkeep.fates import KnownFate
from datanode.upkeep.skew import ClockJudge
from datanode.upkeep.sweeper import ChunkSweeper
from datanode.write_queue import Done
from deploy.local_directory import LocalDirectory
from frontend.router import placement
from frontend.router.discards import Discards
from frontend.router.upload_age import UploadAge
from tests.support.fake_files import FakeFiles
from tests.support.planted_process import planted_in_children

VARIABLE = "AMBRY_PLANTED_FAULT"
Patch = pytest.MonkeyPatch


def acknowledge_before_sync(patch: Patch) -> None:
    """A write is answered from the page cache (NATS, and Ambry by design)."""
    real = Batch.write

    def write(self: Batch, *, reserve_bytes: int = 0) -> None:
        sync, self.sync = self.sync, False
        real(self, reserve_bytes=reserve_bytes)
        self.sync = sync

    patch.setattr(Batch, "write", write)


def retry_a_failed_sync(patch: Patch) -> None:
    """The second fsync succeeds, and what the first one lost stays lost (PostgreSQL before 2018)."""
    real = Batch.write

    def write(self: Batch, *, reserve_bytes: int = 0) -> None:
        try:
            real(self, reserve_bytes=reserve_bytes)
        except OSError:
            for segment in self.written:
                segment.file.fdatasync()

    patch.setattr(Batch, "write", write)


def go_on_after_a_failed_write(patch: Patch) -> None:
    """The replica takes further writes after one failed."""
    patch.setattr(BlobStore, "fence", lambda _store, _reason: None)


def skip_the_directory_sync(patch: Patch) -> None:
    """A new file's name is not durable, though its bytes are."""
    patch.setattr(FakeFiles, "sync_directory", lambda _self, _path: None)


def compact_without_sync(patch: Patch) -> None:
    """The old files go while the new one is in the page cache only."""

    class Unsynced:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return (lambda: None) if name in ("fsync", "fdatasync") else getattr(self._file, name)

    real = copying.Copier.__init__

    def init(self: Any, files: Any, *args: Any, **kwargs: Any) -> None:
        class Files:
            def __getattr__(self, name: str) -> Any:
                return (lambda path: Unsynced(files.create(path))) if name == "create" else getattr(files, name)

        real(self, Files(), *args, **kwargs)

    patch.setattr(copying.Copier, "__init__", init)


def delete_before_the_checkpoint(patch: Patch) -> None:
    """The compacted file is not renamed into place durably before the old ones go."""
    real = Compaction.put_in_place

    def put_in_place(self: Compaction, copied: copying.Copied) -> None:
        self.delete_files(copied.inputs)
        real(self, copied)

    patch.setattr(Compaction, "put_in_place", put_in_place)


def trust_an_index_entry(patch: Patch) -> None:
    """An entry's checksum is not looked at, and LMDB notices no bit rot."""
    real = entry.decode

    def decode(key: bytes, value: bytes, partition: int) -> entry.IndexEntry:
        return real(key, value[:-4] + struct.pack(">I", xxh64(key + value[:-4]) & 0xFFFFFFFF), partition)

    patch.setattr(entry, "decode", decode)


def skip_the_id_check(patch: Patch) -> None:
    """A right checksum on the wrong record is served (SeaweedFS)."""

    def verified_head(
        self: record_reader.RecordReader, raw: bytes, segment: Segment, _entry: entry.IndexEntry
    ) -> record_format.Head:
        return record_format.decode_head(raw, segment.salt)

    patch.setattr(record_reader.RecordReader, "_verified_head", verified_head)


def skip_the_block_check(patch: Patch) -> None:
    """Bytes are served although their checksum fails (Ambry)."""
    patch.setattr(record_reader, "blocks_intact", lambda _data, _checks: True)


def ignore_what_is_not_known(patch: Patch) -> None:
    """A flag of a later release is not looked at: what it encrypted is served as plain."""
    patch.setattr(record_format, "require_readable", lambda _header: None)


def drop_tombstones_early(patch: Patch) -> None:
    """A deletion is forgotten before every peer has seen it (Cassandra's zombies)."""
    patch.setattr(Retention, "entry_dead", lambda _self, _entry: True)


def drop_bytes_early(patch: Patch) -> None:
    """The bytes of a deleted blob go before its retention is over."""
    patch.setattr(Retention, "state_dead", lambda _self, state, _changed_at_ms: state.deleted)


def switch_without_looking_again(patch: Patch) -> None:
    """A blob that was undeleted during the copy is dropped all the same."""
    patch.setattr(Compaction, "may_switch", lambda _self, _copied, _retention: True)


def believe_the_page_cache(patch: Patch) -> None:
    """After a failed sync a restart replays what the page cache shows."""
    real = replay.Replay.run

    def run(self: replay.Replay, segment: Segment, start: int, *, last: bool) -> None:
        patch.setattr(segment.file, "drop_cache", lambda: None, raising=False)
        real(self, segment, start, last=last)

    patch.setattr(replay.Replay, "run", run)


def give_lsns_again(patch: Patch) -> None:
    """After a crash appends go on where the log ends now, though a peer saw more."""
    real = replay.Replay.run

    def run(self: replay.Replay, segment: Segment, start: int, *, last: bool) -> None:
        real(self, segment, start, last=last)
        if last:
            self._store._log.active = segment

    patch.setattr(replay.Replay, "run", run)


def answer_not_found_when_empty(patch: Patch) -> None:
    """A replica that lost its disk says "not found" (Garage, Ambry)."""
    patch.setattr(BlobStore, "serving", property(lambda _self: True, lambda _self, _value: None), raising=False)


def follow_another_log_with_the_old_token(patch: Patch) -> None:
    """A token is taken for a peer's new log, too."""

    def follow(self: Cursor, incarnation: bytes) -> None:
        self.incarnation = incarnation

    patch.setattr(Cursor, "follow", follow)


def move_the_token_past_a_bad_record(patch: Patch) -> None:
    """What could not be fetched is never asked for again (Ambry)."""

    def token(self: Cursor) -> FindToken:
        return FindToken(self.incarnation, self.next_lsn, self.epoch, complete=self.complete)

    patch.setattr(Cursor, "token", token)


def lose_the_ttl_of_deleted_blobs(patch: Patch) -> None:
    """The merge is no join: a time to live that meets a tombstone is dropped (Ambry)."""

    def join(a: BlobState, b: BlobState) -> BlobState:
        life = max((a.life_version, a.deleted), (b.life_version, b.deleted))
        return BlobState(life[0], life[1], a.expires_at_ms if life[1] else max(a.expires_at_ms, b.expires_at_ms))

    patch.setattr(blob, "join", join)
    patch.setattr(index, "join", join)
    patch.setattr(batch, "join", join)


def close_a_descriptor_with_unsynced_bytes(patch: Patch) -> None:
    """Nobody hears of a failed write-back of a file that was closed for room."""
    idle = property(lambda self: not (self.users or self.unlinked))
    patch.setattr(bounded_files.BoundedFile, "idle", idle)


def trust_any_clock(patch: Patch) -> None:
    """What frees something asks nobody whether the time is right."""
    patch.setattr(ClockJudge, "doubt", lambda _self: "")


def sweep_chunks_of_any_age(patch: Patch) -> None:
    """Chunks of an upload that is under way are taken for abandoned, as a frontend's clock days behind made them."""
    patch.setattr(LogAge, "older_than", lambda _self, _seconds: 1 << 60)


def pass_over_what_may_have_expired(patch: Patch) -> None:
    """A replica skips blobs that its clock calls expired, and denies them once it is right."""
    real = deciding.decide

    def decide(known: entry.IndexEntry | None, change: Change, retention: Retention) -> Action:
        mortal = change.state.expires_at_ms != NEVER_MS
        return Action.NOTHING if known is None and mortal else real(known, change, retention)

    patch.setattr(merger, "decide", decide)


def date_changes_where_they_arrive(patch: Patch) -> None:
    """Each replica gives a replicated change a time of its own."""
    real = DatedState.joined
    count = iter(range(1 << 30))

    def joined(self: DatedState, other: DatedState) -> DatedState:
        return DatedState(real(self, other).state, self.changed_at_ms + next(count))

    patch.setattr(DatedState, "joined", joined)


def go_by_the_own_clock(patch: Patch) -> None:
    """A frontend a day behind acknowledges a blob of twenty hours that is over already."""
    patch.setattr(AgreedClock, "wall_ms", lambda self: self._clock.wall_ms())


def take_uploads_of_any_length(patch: Patch) -> None:
    """A blob is acknowledged whose first chunks were given up while it came."""
    patch.setattr(UploadAge, "refuse_old", lambda _self: None)


def take_a_shortage_for_a_failed_disk(patch: Patch) -> None:
    """A process without descriptors fences its replicas, and its scrub condemns what it cannot open."""
    real = trouble.judge

    def judge(error: BaseException) -> Trouble:
        found = real(error)
        return Trouble.FAILED if found is Trouble.SHORTAGE else found

    patch.setattr(trouble, "judge", judge)


def answer_not_found_while_opening(patch: Patch) -> None:
    """A replica that is not open yet says that it does not hold a blob."""

    def missing(self: Replicas, partition_id: int) -> Replica:
        raise BlobNotFound(f"partition {partition_id} does not hold this blob")

    patch.setattr(Replicas, "__missing__", missing)


def walk_through_the_index_on_the_event_loop(patch: Patch) -> None:
    """Housekeeping after a start takes more than half of a node's speed."""

    async def next_page(self: ChunkSweeper, replica: Replica, entries: Iterator[IndexEntry]) -> list[IndexEntry]:
        return list(entries)

    patch.setattr(ChunkSweeper, "_next_page", next_page)


def believe_a_directory(patch: Patch) -> None:
    """A directory that was put back from a backup is taken for what the node wrote last."""
    patch.setattr(Lineage, "judge", lambda _self, _incarnation, _token, _end_lsn: Seen.HERE)


def say_not_found_before_peers_were_asked(patch: Patch) -> None:
    """A replica serves from its first moment on."""
    patch.setattr(BlobStore, "vouched", property(lambda _self: True, lambda _self, _value: None), raising=False)


def tell_a_log_that_was_put_back(patch: Patch) -> None:
    """It takes its new incarnation before it knows what was deleted since the backup."""
    patch.setattr(Cursors, "must_rebuild", lambda _self, _partition, *, put_back, waited: False)
    patch.setattr(Cursors, "witnessed", lambda _self, _partition, *, waited: True)


def count_on_tokens_that_are_not_durable(patch: Patch) -> None:
    """Tombstones go when a peer has seen them, though it may come back with an older token."""
    real = ChangeFeed._note_seen

    def note_seen(self: ChangeFeed, name: str, cursor: ChangesCursor) -> None:
        real(self, name, msgspec.structs.replace(cursor, durable_lsn=cursor.lsn))

    patch.setattr(ChangeFeed, "_note_seen", note_seen)


def forget_what_was_purged(patch: Patch) -> None:
    """Nobody is told that tombstones are gone (Cassandra's gc_grace_seconds)."""
    patch.setattr(IdentityFile, "note_purged", lambda _self, _lsn: None)


def delete_what_others_cover(patch: Patch) -> None:
    """A segment goes because another one covers its LSNs with a higher generation."""

    def settle(
        files: Any, directory: Any, log: Any, found: inventory.Inventory, before_doubt: Callable[[], None]
    ) -> None:
        patch.setattr(inventory, "read_all", lambda _files, _directory: dict.fromkeys(log.segments, Anything()))
        real(files, directory, log, found, before_doubt)

    class Anything:
        def proves(self, _kept: Segment, _left: Segment) -> bool:
            return True

    real = inventory._settle_overlaps
    patch.setattr(inventory, "_settle_overlaps", settle)


def take_in_foreign_segments(patch: Patch) -> None:
    """What lies in a replica's directory is taken for its own."""
    patch.setattr(inventory, "_foreign", lambda _segment, _partition, _incarnations: "")


def join_segments_across_a_hole(patch: Patch) -> None:
    """A compacted segment covers LSNs that are gone, and nothing tells any more that they are."""
    real = plan.usages

    def usages(*args: Any, **kwargs: Any) -> Pieces[list[Usage]]:
        found = yield from real(*args, **kwargs)
        return [dataclasses.replace(usage, behind_hole=False) for usage in found]

    patch.setattr(plan, "usages", usages)
    patch.setattr(log, "pairwise", lambda _inputs: ())


def believe_a_clean_stop_of_long_ago(patch: Patch) -> None:
    """What a checkpoint says of the end of the log holds, whichever opening wrote it."""
    patch.setattr(OwnIndex, "last_checkpoint", lambda _self, index: index.checkpoint)


def rebuild_an_index_from_what_is_left(patch: Patch) -> None:
    """A replica that lost its index and a part of its log takes what is left for all: deletes may be gone with both."""
    patch.setattr(OwnIndex, "note_loss", lambda _self, _why: None)


def follow_on_while_put_back(patch: Patch) -> None:
    """The tokens of a replica that was put back move: after a crash it goes by what it heard, and not by what it has."""
    patch.setattr(Cursors, "hold", lambda _self, _partition: None)


def append_while_closing(patch: Patch) -> None:
    """A replica takes appends until it is closed."""
    patch.setattr(BlobStore, "leave", lambda _self: None)


def read_old_changes_on_the_event_loop(patch: Patch) -> None:
    """A peer that is far behind costs everybody up to half a second."""

    async def entries(_self: ChangeFeed, store: BlobStore, lsn: int, limit: int, _past: Past) -> list[IndexEntry]:
        return store.changes_since(lsn, limit)

    patch.setattr(ChangeFeed, "_stored_entries", entries)


def map_an_index_unread(patch: Patch) -> None:
    """A page that the disk cannot read ends the process with SIGBUS, at every start."""
    patch.setattr(index_file, "_read_through", lambda _path: None)


def begin_what_nobody_waits_for(patch: Patch) -> None:
    """However long a request was under way, it counts from when it was read (N7)."""
    patch.setattr(Ages, "age_s", lambda _self, _sent_ms, _now: 0.0)


def write_what_nobody_waits_for(patch: Patch) -> None:
    append = Committer.append

    def late(self: Committer, record: Record, *, sync: bool, done: Done, deadline: float = 0.0) -> None:
        append(self, record, sync=sync, done=done)

    patch.setattr(Committer, "append", late)


def forget_the_bytes_of_calls_whose_time_is_up(patch: Patch) -> None:
    """They stand in the buffers still."""
    expire = RpcConnection._expire

    def forget(self: RpcConnection) -> None:
        expire(self)
        self.in_flight_bytes -= sum(self._given_up.values())
        self._given_up.clear()

    patch.setattr(RpcConnection, "_expire", forget)


def make_answers_that_nobody_reads(patch: Patch) -> None:
    patch.setattr(ServingConnection, "_may_make", lambda _self, _size: True)


def stay_with_a_silent_link(patch: Patch) -> None:
    patch.setattr(pool, "SILENT_PINGS_MAX", 1 << 60)
    patch.setattr(pool, "MISSED_PINGS_MAX", 1 << 60)


def end_the_connection_at_an_unknown_message(patch: Patch) -> None:
    serve = ServingConnection._serve

    def known_only(self: ServingConnection, frame: Frame) -> None:
        if frame.type in set(MessageType):
            serve(self, frame)
        else:
            self._violation(ProtocolViolation("a type of message that is not known"))

    patch.setattr(ServingConnection, "_serve", known_only)


def let_one_partition_fill_an_answer(patch: Patch) -> None:
    patch.setattr(Shares, "changes", property(lambda self: self._changes))
    patch.setattr(ChangeFeed, "_lag_bytes", lambda _self, _cursor: 1)


def count_tombstones(patch: Patch) -> None:
    """Digests count what retention drops at another moment on every replica, so equal replicas differ for ever."""
    real = ranges.window_of
    patch.setattr(ranges, "window_of", lambda item: ranges.FOREVER if item.state.deleted else real(item))


def let_digests_drift(patch: Patch) -> None:
    """The new entry of a blob is counted, and the old one stays in the sum."""
    real = ranges.RangeChange.note
    patch.setattr(ranges.RangeChange, "note", lambda self, key, _old, new: real(self, key, None, new))


def call_what_is_on_its_way_missing(patch: Patch) -> None:
    """A difference counts at once, before the peer's log was taken in up to its answer."""

    async def passed(*_: object) -> bool:
        return True

    patch.setattr(PairComparer, "_passed", passed)


def keep_the_authority_that_digests_refute(patch: Patch) -> None:
    """A replica that was found to lack blobs goes on saying that they do not exist, since its cursors are at the end."""
    patch.setattr(Cursor, "lack", lambda _self, _blobs: None)


def bring_back_what_was_forgotten(patch: Patch) -> None:
    """A blob that one replica holds and no other knows is taken, though it may have been deleted long ago."""
    patch.setattr(comparison, "may_be_forgotten", lambda *_args, **_more: False)


def never_look_into_a_difference(patch: Patch) -> None:
    """Digests that differ are taken for equal: nothing is under the tokens any more."""
    patch.setattr(comparison, "differing", lambda *_args: [])


def acknowledge_a_blob_whose_chunks_are_gone(patch: Patch) -> None:
    """A composite is acknowledged, and nobody asked whether its chunks were given up while it came."""
    patch.setattr(UploadAge, "took_its_time", lambda _self: False)


def leave_half_open_sockets(patch: Patch) -> None:
    """A socket whose other end is gone stays open for ever, and one that sends goes by TCP's own back-off."""
    patch.setattr(tcp, "KEEPALIVE_IDLE_S", 7_200)
    patch.setattr(tcp, "USER_TIMEOUT_MS", 0)


def read_whatever_was_ever_compacted(patch: Patch) -> None:
    """After an interrupted compaction a start reads the whole log but what nobody compacted yet."""
    real = reconcile.relocate

    def relocate(replaced: Any, _into: Any, of: index.Index, compaction: Compaction) -> None:
        everything = [segment for segment in compaction._log.in_order() if segment.header.generation > 0]
        real(replaced, everything, of, compaction)

    patch.setattr(opening_steps, "relocate", relocate)


def name_every_cursor_in_every_request(patch: Patch) -> None:
    """With 1,000 partitions each wake-up sends 1,000 cursors."""
    real = Replicator._look

    def look(self: Replicator, pull: Pull) -> Told:
        pull.moved = set(pull.partitions)
        return real(self, pull)

    patch.setattr(Replicator, "_look", look)


def look_at_every_partition_at_every_wake_up(patch: Patch) -> None:
    """A change in one partition costs a look at all that the asker follows."""
    real = Follower.take

    def take(self: Follower, request: ChangesRequest) -> None:
        real(self, request)
        self.marked.update(self.cursors)

    patch.setattr(Follower, "take", take)


def map_what_an_index_may_ever_need(patch: Patch) -> None:
    """64 GiB of address space for each partition: there is no more at the 2,047th."""
    patch.setattr(index_file, "MAP_SIZE_MIN", index_file.MAP_SIZE_MAX)


def call_a_silent_peer_up_to_date(patch: Patch) -> None:
    """The lag of a peer that is unreachable stays what it was."""
    patch.setattr(Silence, "seconds", lambda _self, _peer: 0.0)


def scrub_by_the_wall_clock(patch: Patch) -> None:
    """A round that ends on a clock a year ahead is the last one."""
    patch.setattr(LogAge, "open_s", property(lambda self: self._clock.wall_ms() / 1000))


def place_blobs_on_full_disks(patch: Patch) -> None:
    """Nobody looks at the room of a disk before it refuses."""
    patch.setattr(placement, "_room", lambda _replicas: placement.ROOM_UNKNOWN_BYTES)


def let_a_log_file_grow(patch: Patch) -> None:
    """It is never turned over."""
    patch.setattr(LogFile, "wrote", lambda _self, _size: None)


def keep_a_state_file_that_is_empty(patch: Patch) -> None:
    """A local cluster that a power cut left with an empty layout never starts again."""
    patch.setattr(LocalDirectory, "_has_layout", lambda self: self._layout_path.exists())


def begin_housekeeping_at_once(patch: Patch) -> None:
    """A node that comes back sweeps, compares and scrubs first."""
    patch.setattr(Parts, "starts_after_s", lambda self: dict.fromkeys(self.ticks(), 0.0))


def give_up_blobs_that_may_be_there(patch: Patch) -> None:
    """An operator's word is taken though a replica could not be asked."""
    patch.setattr(Losses, "_require_answers", lambda _self, _lost, _without: None)


def offer_whatever_stands_in_a_segment(patch: Patch) -> None:
    """A peer that copies is offered records that the index does not point to, of blobs that were deleted."""
    patch.setattr(Copies, "_counts", staticmethod(lambda *_: True))


def give_copies_of_what_was_put_back(patch: Patch) -> None:
    """A replica that does not know yet what was deleted since gives its segments away."""
    patch.setattr(BootstrapSource, "_replica", lambda self, partition: self._replicas[partition])
    patch.setattr(BootstrapSource, "_stays", lambda *_: True)


def compact_what_is_being_copied(patch: Patch) -> None:
    patch.setattr(Copies, "pinned", lambda _self: set())


def take_copies_unverified(patch: Patch) -> None:
    """A copied record is taken if its head is well."""
    patch.setattr(record_format, "verify", record_format.decode_head)


def copy_over_what_was_learned_meanwhile(patch: Patch) -> None:
    """A record that was copied counts as it came, whatever was deleted while it was under way."""
    patch.setattr(ImageBatch, "_take_on_known_states", lambda _self: None)


def take_a_copy_for_everything(patch: Patch) -> None:
    """What was copied is not walked over again: cursors move to the end of it."""
    real = Bootstrapper._run

    async def run(self: Bootstrapper, job: Any) -> None:
        await real(self, job)
        for copy in job.copies:
            cursor = self._cursors.get(copy.peer.node.name, job.replica.partition.id)
            if cursor is not None:
                cursor.advance(cursor.end_lsn, cursor.end_lsn, {})

    patch.setattr(Bootstrapper, "_run", run)


def copy_again_what_no_copy_brings(patch: Patch) -> None:
    """What stands in a segment that takes appends is still to be copied after a whole copy."""
    real = PeerCopy.run

    async def run(self: PeerCopy) -> None:
        self._end_lsn = 0
        await real(self)

    patch.setattr(PeerCopy, "run", run)


def take_no_notice_of_a_disk_that_hangs(patch: Patch) -> None:
    patch.setattr(Disk, "hang", lambda _self, _after_s=None, *, impatiently=False: None)


def take_tombstones_that_go_later_for_missed(patch: Patch) -> None:
    """A replica is rebuilt when its peers drop what it has heard long ago."""
    real = Cursor.hear

    def hear(self: Cursor, answer: PartitionChanges, seen: Seen) -> bool:
        before, news = self.untold, real(self, answer, seen)
        self.untold = self.opened.lsn < answer.purged_lsn
        return news or self.untold != before

    patch.setattr(Cursor, "hear", hear)


def undelete_without_the_time_of_the_delete(patch: Patch) -> None:
    """A replica that knows of no delete takes an undelete that is days too late."""
    original = BlobHandlers._joined

    def joined(self: BlobHandlers, replica: Replica, entry: IndexEntry | None, record: Record, _told_ms: int) -> Record:
        return original(self, replica, entry, record, 0)

    patch.setattr(BlobHandlers, "_joined", joined)


def undelete_what_is_not_here(patch: Patch) -> None:
    """A replica without the bytes takes an undelete or a longer life, and cannot keep the others from dropping them."""
    patch.setattr(BlobHandlers, "_refuse_without_bytes", lambda _self: None)


def sweep_chunks_while_somebody_is_away(patch: Patch) -> None:
    """Two of the three replicas of a blob call it dead, and the third, which cannot be asked, has heard of its undelete."""
    original = fates.died_at

    def died_at(partition: Partition, answers: Mapping[str, KnownFate]) -> int | None:
        some = [node for node in partition.replicas if node.name in answers]
        return original(dataclasses.replace(partition, replicas=tuple(some)), answers)

    patch.setattr(fates, "died_at", died_at)


def tell_of_a_failed_put_once(patch: Patch) -> None:
    """Nobody heard it: the record becomes a blob."""
    patch.setattr(Discards, "_wait", lambda _self, _discard: None)


def believe_an_index_ahead_of_its_log(patch: Patch) -> None:
    """Of a copy that was made while the node ran: the file is long enough, so all must be in it."""
    patch.setattr(shortfall, "_lacks", lambda *_: False)


def move_records_with_the_salt_of_another_log(patch: Patch) -> None:
    """What compaction moves out of segments of a former incarnation is unreadable where it comes to stand."""

    class Format:
        def __getattr__(self, name: str) -> Any:
            return (lambda _image, _salt: None) if name == "restamp" else getattr(record_format, name)

    patch.setattr(copying, "record_format", Format())


PLANTED: dict[str, Callable[[Patch], None]] = {
    plant.__name__: plant
    for plant in (
        acknowledge_before_sync,
        retry_a_failed_sync,
        go_on_after_a_failed_write,
        skip_the_directory_sync,
        compact_without_sync,
        delete_before_the_checkpoint,
        trust_an_index_entry,
        skip_the_id_check,
        skip_the_block_check,
        ignore_what_is_not_known,
        drop_tombstones_early,
        drop_bytes_early,
        switch_without_looking_again,
        believe_the_page_cache,
        give_lsns_again,
        answer_not_found_when_empty,
        follow_another_log_with_the_old_token,
        move_the_token_past_a_bad_record,
        lose_the_ttl_of_deleted_blobs,
        close_a_descriptor_with_unsynced_bytes,
        trust_any_clock,
        sweep_chunks_of_any_age,
        pass_over_what_may_have_expired,
        date_changes_where_they_arrive,
        go_by_the_own_clock,
        take_uploads_of_any_length,
        take_a_shortage_for_a_failed_disk,
        answer_not_found_while_opening,
        walk_through_the_index_on_the_event_loop,
        believe_a_directory,
        say_not_found_before_peers_were_asked,
        tell_a_log_that_was_put_back,
        count_on_tokens_that_are_not_durable,
        forget_what_was_purged,
        delete_what_others_cover,
        take_in_foreign_segments,
        join_segments_across_a_hole,
        believe_a_clean_stop_of_long_ago,
        rebuild_an_index_from_what_is_left,
        follow_on_while_put_back,
        append_while_closing,
        read_old_changes_on_the_event_loop,
        map_an_index_unread,
        begin_what_nobody_waits_for,
        write_what_nobody_waits_for,
        forget_the_bytes_of_calls_whose_time_is_up,
        make_answers_that_nobody_reads,
        stay_with_a_silent_link,
        end_the_connection_at_an_unknown_message,
        let_one_partition_fill_an_answer,
        count_tombstones,
        let_digests_drift,
        call_what_is_on_its_way_missing,
        keep_the_authority_that_digests_refute,
        bring_back_what_was_forgotten,
        never_look_into_a_difference,
        offer_whatever_stands_in_a_segment,
        give_copies_of_what_was_put_back,
        compact_what_is_being_copied,
        take_copies_unverified,
        copy_over_what_was_learned_meanwhile,
        take_a_copy_for_everything,
        copy_again_what_no_copy_brings,
        acknowledge_a_blob_whose_chunks_are_gone,
        leave_half_open_sockets,
        read_whatever_was_ever_compacted,
        name_every_cursor_in_every_request,
        look_at_every_partition_at_every_wake_up,
        map_what_an_index_may_ever_need,
        call_a_silent_peer_up_to_date,
        scrub_by_the_wall_clock,
        place_blobs_on_full_disks,
        let_a_log_file_grow,
        keep_a_state_file_that_is_empty,
        begin_housekeeping_at_once,
        give_up_blobs_that_may_be_there,
        take_no_notice_of_a_disk_that_hangs,
        take_tombstones_that_go_later_for_missed,
        move_records_with_the_salt_of_another_log,
        undelete_without_the_time_of_the_delete,
        undelete_what_is_not_here,
        sweep_chunks_while_somebody_is_away,
        tell_of_a_failed_put_once,
        believe_an_index_ahead_of_its_log,
    )
}


@pytest.fixture(autouse=True, scope="session")
def planted_fault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The fault that the environment names, for the whole run, and in the processes that tests start."""
    plant = PLANTED[os.environ[VARIABLE]]
    with pytest.MonkeyPatch.context() as patch, planted_in_children(tmp_path_factory.mktemp("planted"), plant):
        plant(patch)
        yield
