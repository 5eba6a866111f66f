"""How the newest run of a job ended, beside its document: `<job>/outcome.json`, written by who submitted it.

    {"at": "2026-11-28T15:00:00Z", "format": 1, "run": 3, "said": "digits@1.1.0", "state": "published"}

One that has `"state": "begun"` is of a job that runs, or whose submitter was killed. A run replaces that of its own beginning
alone: one that stood still, and ends after a later one has begun, changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ambry.client.model import Timeout
from ambry.client.refs import PinnedName
from ambry.client.sync.client import AmbryClient
from ambry.errors import MALFORMED, AmbryError, BlobGone, BlobNotFound, DataCorrupt, UpdateConflict
from ambry.ml.training.gangs import looks
from ambry.ml.training.jobs import TrainingJob
from ambry.ml.training.standing import replace_standing

OUTCOME = "outcome.json"
SAID_MAX = 2_000
"""Characters of why it failed."""
WRITE_TIMEOUT = Timeout(total=5.0)
"""Whoever interrupts a job is not kept by a store that is away."""
_BEGUN = "begun"
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """Of one run."""

    run: int
    state: str
    """published, ended (without a model to publish), failed or interrupted."""
    said: str
    """The version that was published, or why it failed."""
    at: str

    def __str__(self) -> str:
        return f"{self.state} {self.at}{f': {self.said}' if self.said else ''}"


class OutcomeNote:
    """What is known of a run that is on its way."""

    def __init__(self, begun: str) -> None:
        self.state = "ended"
        self.said = ""
        self.begun = begun
        """The ETag of what says that it has begun, as long as no other run has."""

    def published(self, version: str) -> None:
        self.state, self.said = "published", version


@contextmanager
def outcome_noted(client: AmbryClient, job: TrainingJob, before: PinnedName | None = None) -> Iterator[OutcomeNote]:
    """Run a job within, and write down how it ended. What it fails with goes on; that it cannot be written down is no error.

    `before` is what stood there when it had the job. Nothing is written where another run has begun since.
    Raises UpdateConflict then, and AmbryError where this one cannot be written down as begun.
    """
    begun = replace_standing(client, job.name_in(OUTCOME), before, _encoded(job, _BEGUN, ""))
    note = OutcomeNote(begun)
    try:
        yield note
    except BaseException as error:
        note.state = "failed" if isinstance(error, Exception) else "interrupted"
        note.said = str(error)[:SAID_MAX]
        raise
    finally:
        with suppress(AmbryError):
            _end(client, job, _encoded(job, note.state, note.said), begun)


def _end(client: AmbryClient, job: TrainingJob, data: bytes, begun: str) -> None:
    """Raises what `put` raises."""
    name = job.name_in(OUTCOME)
    for _ in looks(str(name)):
        with suppress(UpdateConflict):  # It overlapped with that of another run.
            client.put(data, name=name, content_type="application/json", if_match=begun, timeout=WRITE_TIMEOUT)
            return


def _encoded(job: TrainingJob, state: str, said: str) -> bytes:
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    told = {"format": _FORMAT, **asdict(JobOutcome(run=job.run, state=state, said=said, at=at))}
    return json.dumps(told, sort_keys=True).encode()


def outcome_of(client: AmbryClient, job: TrainingJob) -> JobOutcome | None:
    """Of its newest run; None of one that runs, or of which nobody wrote it down. Raises DataCorrupt."""
    try:
        data = client.get_bytes(job.name_in(OUTCOME))
    except (BlobNotFound, BlobGone):
        return None
    # What the store refuses is none of what the document says, and may be a ValueError as well (InvalidRequest).
    try:
        told: Any = json.loads(data)
        if told["format"] > _FORMAT:
            raise DataCorrupt(f"the outcome of {job.job} is of the format {told['format']}; upgrade ambry to read it")
        found = JobOutcome(run=int(told["run"]), state=str(told["state"]), said=str(told["said"]), at=str(told["at"]))
    except MALFORMED as error:
        raise DataCorrupt(f"{job.name_in(OUTCOME)} does not say how a job ended: {error!r}; delete it") from None
    return found if found.run == job.run and found.state != _BEGUN else None
