"""How long what is dead is kept: one rule for compaction, scrub, late undeletes and the fates of chunks. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ambry.blob import BlobState
from datanode.config import CompactionSection
from datanode.store.entry import IndexEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What may go. Times are wall clock, in milliseconds; `horizon_lsn`: every peer has seen all before it."""

    now_ms: int
    deleted_ms: int
    tombstone_ms: int
    horizon_lsn: int

    def bytes_dead(self, entry: IndexEntry) -> bool:
        """Whether nobody can ever read this blob's bytes again."""
        return self.state_dead(entry.state, entry.changed_at_ms)

    def state_dead(self, state: BlobState, changed_at_ms: int) -> bool:
        """The same of a state that was reached at `changed_at_ms`."""
        if state.deleted:
            return self.final(changed_at_ms)
        # A state that came before its bytes has no expiry yet: it is new, not long expired.
        return max(state.expires_at_ms, changed_at_ms) + self.deleted_ms <= self.now_ms

    def final(self, deleted_at_ms: int) -> bool:
        """Whether it is too late to undo a delete that was made then."""
        return deleted_at_ms + self.deleted_ms <= self.now_ms

    def entry_dead(self, entry: IndexEntry) -> bool:
        """Whether the blob may be forgotten altogether, given that its bytes are dead.

        An expired blob needs no tombstone: no replica fetches it any more. A repaired one keeps it, since an older put record
        may still be in the log and would bring it back when the index is rebuilt.
        """
        if not entry.state.deleted:
            return True
        return self._old(entry) and entry.lsn < self.horizon_lsn and not entry.repaired

    def waits(self, entry: IndexEntry) -> bool:
        """Whether it is a tombstone that stays for one reason: some peer has not seen it."""
        pinned = entry.state.deleted and not entry.present and entry.lsn >= self.horizon_lsn and not entry.repaired
        return pinned and self._old(entry)

    def _old(self, entry: IndexEntry) -> bool:
        """Whether a tombstone was there for as long as it must be."""
        return entry.changed_at_ms + max(self.deleted_ms, self.tombstone_ms) <= self.now_ms


def retention_at(config: CompactionSection, now_ms: int, *, horizon_lsn: int = 0) -> Retention:
    """What the configuration asks for at `now_ms`, wall clock; `horizon_lsn`: every peer has seen all before it."""
    return Retention(
        now_ms=now_ms,
        deleted_ms=config.deleted_retention_s * 1000,
        tombstone_ms=config.tombstone_retention_s * 1000,
        horizon_lsn=horizon_lsn,
    )
