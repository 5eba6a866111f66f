"""The past of one replica's log: by it a replica notices that its directory was put back from a backup. Pure.

Every opening of a replica begins an epoch with a random name. A find token names the incarnation, the epoch and the LSN that
its owner got to. Where a directory is put back, the epochs that came after the backup are unknown to it, and the epoch of the
backup ends earlier than its peers have seen it go. So a token says whether its owner has seen our log up to there, or one that
goes on where ours ends; and LSNs that are given again after the backup are in another epoch and harm nothing.

Renewing a replica gives it a new incarnation: peers start over with it, and what it knew of them is void.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from datanode.store.index import FindToken

EPOCHS_MAX = 1000
"""Openings that are remembered. A peer that was away for more is taken for one that knows of a later log: that costs a
comparison of everything, and nothing else."""


ELDERS_MAX = 100
"""Copies that were wiped before this one, as far as peers knew them; of one beyond, as above."""


class Seen(Enum):
    """What a peer's token says of our log."""

    HERE = "it has seen our log up to there"
    ELSEWHERE = "it followed another log, or none: it starts over"
    BEYOND = "it has seen more of our log than there is: the directory was put back from a backup, or its end was lost"


class Epoch(msgspec.Struct, frozen=True, array_like=True):
    """An opening that is over, by its random name, and the LSN behind its last record."""

    name: str
    end_lsn: int


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True):
    """`epoch`: hexadecimal, of the last opening; `past`: those before, oldest first; `former`: incarnations it had before.

    `young`: no earlier opening of this incarnation had authority, or left anything in its log; tokens of incarnations that it
    does not know are those of a copy that was wiped, and are noted as its `elders`. With a log of its own it cannot tell any
    more whether another copy came before it, or after.
    `purged_lsn`: behind the last tombstone that a compaction ever left out. Who holds blobs and has not seen the log up to
    there may hold some that were deleted.
    `sure_epoch`: the last of which all peers said that they know no more of this log: no backup was put back before its end.
    `put_back`: why it may lack what it once knew, be it that a backup was put back, or that deletes are lost with log and index
    (opening/own_index.py). It stays until the next incarnation: no crash makes it forget that it must ask.
    """

    epoch: str = ""
    past: tuple[Epoch, ...] = ()
    former: tuple[str, ...] = ()
    elders: tuple[str, ...] = ()
    young: bool = False
    purged_lsn: int = 0
    sure_epoch: str = ""
    put_back: str = ""

    @property
    def epoch_bytes(self) -> bytes:
        return bytes.fromhex(self.epoch)

    @property
    def begin_lsn(self) -> int:
        """Where the last opening found the log's end."""
        return self.past[-1].end_lsn if self.past else 0

    @property
    def unsure_lsn(self) -> int:
        """Where the first opening began since which a backup may have been put back, if one was."""
        ends = (epoch.end_lsn for epoch in self.past if self.sure_epoch and epoch.name == self.sure_epoch)
        return next(ends, self.begin_lsn)

    def knows(self, incarnation: bytes) -> bool:
        """Whether this replica went by that incarnation before."""
        return incarnation.hex() in self.former

    def begun(self, epoch: str, end_lsn: int, *, served: bool, filled: bool) -> Lineage:
        """At the next opening, which found the log's end at `end_lsn`.

        `served`: it had the authority to say "not found" before; `filled`: there is something in its log.
        """
        past = (*self.past, Epoch(self.epoch, end_lsn))[-EPOCHS_MAX:]
        young = self.young and not served and not (filled and self.epoch)
        return msgspec.structs.replace(self, epoch=epoch, past=past, young=young)

    def renewed(self, incarnation: str) -> Lineage:
        """Under a new incarnation than `incarnation`: of another log, so no epoch of it is known."""
        former = (*self.former, incarnation)
        return Lineage(former=former, elders=self.elders, young=True, purged_lsn=self.purged_lsn)

    def is_elder(self, own: bytes, other: bytes) -> bool:
        """Whether this incarnation, `own`, hears of one now that was there before it, and has not noted that yet."""
        return self.young and bool(other) and other != own and not self.knows(other) and other.hex() not in self.elders

    def with_elder(self, incarnation: bytes) -> Lineage:
        return msgspec.structs.replace(self, elders=(*self.elders, incarnation.hex())[-ELDERS_MAX:])

    def judge(self, incarnation: bytes, token: FindToken, end_lsn: int) -> Seen:
        """What `token` says of this log, whose incarnation and end these are."""
        if token.incarnation != incarnation:
            elder = self.young or token.incarnation.hex() in self.elders
            foreign = not token.incarnation or elder or self.knows(token.incarnation)
            # A name that an older copy of this directory cannot know.
            return Seen.ELSEWHERE if foreign else Seen.BEYOND
        if token.epoch in (b"", self.epoch_bytes):
            return Seen.HERE if token.lsn <= end_lsn else Seen.BEYOND
        name = token.epoch.hex()
        known = any(epoch.name == name and token.lsn <= epoch.end_lsn for epoch in reversed(self.past))
        return Seen.HERE if known else Seen.BEYOND
