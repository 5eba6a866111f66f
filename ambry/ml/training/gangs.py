"""Whose a folder of checkpoints is: of the workers that were started last, of one job.

    <checkpoints>/gang.json    {"folder": "ambry://team/models/training/digits", "format": 1, "job": "digits",
                                "made": [{"script": "train.py", "sources": "...", ...}], "run": 3, "start": 2}

`made` is what made the checkpoints that are there, and what these workers run last (origins.py). `run` counts what was
submitted with these checkpoints, and `start` the workers of one run: more for those that were started later (roles.py).
Workers that outlive what started them - their NodeManager is away, YARN has given up their master, their submitter was killed
- find that others were started, and end before they change anything.

The blob is changed only by who has read it (`if_match`), and only to a later run or start. Whoever changes checkpoints reads
what is there first, then looks whether it is still the newest, and then changes no more than what it has read: so it does not
matter how long it stood still in between (checkpoints.py). Names are linear within a datacenter, and the workers of a job speak
to one.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import (
    MALFORMED,
    AlreadyExists,
    BlobNotFound,
    DataCorrupt,
    PreconditionFailed,
    Unavailable,
    UpdateConflict,
)
from ambry.ml.training.origins import Origin, malformed_words, parse_origin

GANG = "gang.json"
OVERTAKEN = (AlreadyExists, PreconditionFailed, BlobNotFound, UpdateConflict)
"""What the store says to a put with a condition that another one was before; UpdateConflict to two that overlap."""
_LOOKS_MAX = 40
_PAUSE_MAX_S = 0.5
_FORMAT = 1
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""What every reader of JSON has as it was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """The workers of one start of one run of a job."""

    job: str
    folder: str
    """Of the job."""
    run: Count
    start: Count
    checks: bool = True
    """Whether this worker is the one that answers for all: the starts of others are not comparable."""
    made: tuple[Origin, ...] = ()
    """Oldest first; empty where nobody wrote it down."""

    @property
    def label(self) -> str:
        """What its files are told by from those of others."""
        return f"{self.run}.{self.start}"

    def encode(self) -> bytes:
        told = {
            "format": _FORMAT,
            "job": self.job,
            "folder": self.folder,
            "made": [dict(each) for each in self.made],
            "run": self.run,
            "start": self.start,
        }
        return json.dumps(told, sort_keys=True).encode()


class GangFence:
    """Keeps workers that were replaced from changing a folder of checkpoints."""

    def __init__(self, client: AmbryClient, place: NameRef, own: Gang) -> None:
        self._client = client
        self._place = place
        self._own = own

    def check(self) -> None:
        """Return when these workers are the newest, which others are told from then on.

        Raises UpdateConflict where others were started after them, or another job has the checkpoints; Unavailable where
        others claim them all the time.
        """
        own = self._own
        if not own.checks:
            return
        for _ in looks(f"{self._place}/{GANG}"):
            held, etag = read_gang(self._client, self._place)
            if held is not None and (held.run, held.start, held.folder) == (own.run, own.start, own.folder):
                return
            if held is not None and (held.run, held.start) >= (own.run, own.start):
                raise UpdateConflict(self._replaced_by(held))
            if put_gang(self._client, self._place, own, etag):
                return

    def _replaced_by(self, held: Gang) -> str:
        if held.folder != self._own.folder:
            return (
                f"the checkpoints {self._place} are those of the job {held.job} by now, and {self._own.job} ends; "
                "give each job --checkpoints of its own"
            )
        again = f", by submission {held.run}" if held.run != self._own.run else ""
        return f"other workers of the job {held.job} were started after these{again}: these end, and change nothing any more"


def looks(what: str) -> Iterator[int]:
    """Once for every look at a blob that several change, until the caller has changed it: at once, then after a random pause.

    Raises Unavailable when that was often enough.
    """
    for look in range(_LOOKS_MAX):
        if look:
            time.sleep(random.uniform(0, min(_PAUSE_MAX_S, 0.005 * 2**look)))  # nosec B311 # no secret
        yield look
    raise Unavailable(f"others change {what} all the time; try again")


def read_gang(client: AmbryClient, place: NameRef) -> tuple[Gang | None, str]:
    """What is claimed, and its ETag. Raises DataCorrupt."""
    name = NameRef(f"{place.name}/{GANG}", place.account, place.container)
    try:
        with client.get(name) as reader:
            data, etag = reader.read(), reader.info.etag
    except BlobNotFound:
        return None, ""
    # What the store refuses is none of what the document says, and may be a ValueError as well (InvalidRequest).
    try:
        told: Any = json.loads(data)
        if not isinstance(told, dict):
            raise ValueError("it is no object")
        if type(told["format"]) is not int:
            raise ValueError("its format is no number")
        if told["format"] > _FORMAT:
            raise DataCorrupt(
                f"{name} is of the format {told['format']}; upgrade ambry to train with these checkpoints"
            )
        found = msgspec.convert(told, Gang)
        for each in found.made:
            parse_origin(each)
        return found, etag
    except (*MALFORMED, msgspec.ValidationError) as error:
        raise DataCorrupt(
            f"{name} does not say whose the checkpoints are ({malformed_words(error)}); delete it while no job trains with them"
        ) from None


def put_gang(client: AmbryClient, place: NameRef, gang: Gang, etag: str) -> bool:
    """Whether it was put in the place of what has that ETag, or of nothing; not where another one's overlaps with it."""
    name = NameRef(f"{place.name}/{GANG}", place.account, place.container)
    try:
        if etag:
            client.put(gang.encode(), name=name, content_type="application/json", if_match=etag)
        else:
            client.put(gang.encode(), name=name, content_type="application/json", if_absent=True)
    except OVERTAKEN:
        return False
    return True
