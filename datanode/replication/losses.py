"""Accepting the loss of blobs that nobody holds: what an operator may decide, and the record of it.

A blob that should be here and is nowhere to be had pins the durable tokens of this replica and keeps it from its authority:
nobody can tell whether it turns up with a disk that is away. Only an operator can say that it will not. Then every replica is
asked once more; where all answer that they do not hold it, the decision is written down, and the blob is deleted. Like any
delete that reaches the other replicas, and can be undone by an undelete while the retention lasts, should a copy be found.

    losses.jsonl    in the data directory; a line per decision: when (wall clock, ms), who, why, partition, without whom, blobs
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ambry.blob import BlobState, DatedState
from ambry.clock import Clock
from ambry.errors import InvalidRequest
from ambry.ids import BlobId
from ambry.service.logs import get_logger
from datanode.disk import Disk
from datanode.replicas import Replica, Replicas
from datanode.replication.decide import joined_state
from datanode.replication.healer import Healer
from datanode.replication.intake import Intake
from datanode.store.files import Files, read_whole
from datanode.store.writing import write_atomically

log = get_logger()

FILE_NAME = "losses.jsonl"
BLOBS_MAX = 1_000
TEXT_MAX = 1_000


class Acceptance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator sends. `without`: nodes that need not answer, since they never come back."""

    blobs: list[str]
    who: str
    why: str
    without: list[str] = []


_acceptance = msgspec.json.Decoder(Acceptance)


class Losses:
    """Takes the decisions of operators."""

    def __init__(
        self,
        *,
        replicas: Replicas,
        healer: Healer,
        intake: Intake,
        disk: Disk,
        files: Files,
        data_dir: Path,
        clock: Clock,
    ) -> None:
        self._replicas = replicas
        self._healer = healer
        self._intake = intake
        self._disk = disk
        self._files = files
        self._path = data_dir / FILE_NAME
        self._clock = clock

    async def accept(self, partition: int, body: bytes) -> dict[str, Any]:
        """Give blobs of a partition up for lost; durable on return. Says which were, and which turned up after all.

        Raises InvalidRequest when a blob is not wanted here, or a replica could not be asked for it: then nothing was done.
        """
        try:
            wish = _acceptance.decode(body)
            ids = [BlobId.parse(text).raw for text in wish.blobs]
        except msgspec.DecodeError as cause:
            raise InvalidRequest(f"the body is no acceptance of a loss: {cause}") from cause
        if not 0 < len(ids) <= BLOBS_MAX or not wish.who.strip() or not wish.why.strip():
            raise InvalidRequest(f"1 to {BLOBS_MAX} blobs, who decides and why must be said")
        if len(wish.who) > TEXT_MAX or len(wish.why) > TEXT_MAX:
            raise InvalidRequest(f"who and why have at most {TEXT_MAX} characters")
        replica = self._replicas[partition]
        strange = [text for text, raw in zip(wish.blobs, ids, strict=True) if not self._healer.wants(partition, raw)]
        if strange:
            raise InvalidRequest(f"not looked for in partition {partition} here, see /wanted: {', '.join(strange[:5])}")
        said = {text: await self._healer.search(replica, raw) for text, raw in zip(wish.blobs, ids, strict=True)}
        lost = {text: answers for text, answers in said.items() if answers is not None}
        self._require_answers(lost, wish.without)
        if lost:
            await self._disk.submit(self._write_down, partition, wish, lost)
            await self._delete(replica, [BlobId.parse(text).raw for text in lost])
            log.error("loss of blobs accepted", partition=partition, who=wish.who, why=wish.why, blobs=list(lost))
        return {"partition": partition, "lost": list(lost), "found": [text for text in said if text not in lost]}

    @staticmethod
    def _require_answers(lost: dict[str, dict[str, str]], without: list[str]) -> None:
        for text, answers in lost.items():
            if strange := [name for name in without if name not in answers]:
                known = ", ".join(answers) or "none"
                raise InvalidRequest(
                    f"{', '.join(strange)}: no other node with a replica of it has that name; there are {known}"
                )
            if silent := {name: why for name, why in answers.items() if why and name not in without}:
                whys = "; ".join(f"{name}: {why}" for name, why in silent.items())
                raise InvalidRequest(
                    f"{text} may still be there ({whys}). Wait, or name those that never come back: "
                    + " ".join(f"--without {name}" for name in silent)
                )

    def _write_down(self, partition: int, wish: Acceptance, lost: dict[str, dict[str, str]]) -> None:
        line = msgspec.json.encode(
            {
                "at_ms": self._clock.wall_ms(),
                "who": wish.who,
                "why": wish.why,
                "partition": partition,
                "without": wish.without,
                "blobs": list(lost),
            }
        )
        before = read_whole(self._files, self._path) if self._files.exists(self._path) else b""
        write_atomically(self._files, self._path, before + line + b"\n")

    async def _delete(self, replica: Replica, ids: list[bytes]) -> None:
        states: dict[bytes, DatedState] = {}
        async with replica.lookups.hold(ids) as here:
            for raw in ids:
                entry = here.get(raw)
                state = BlobState() if entry is None else entry.state
                dated = DatedState(BlobState(state.life_version, True, state.expires_at_ms), self._clock.wall_ms())
                states[raw] = joined_state(entry, dated)
        await self._intake.merge_all(replica, states)
        for raw in ids:
            await self._healer.look_again(raw)
