"""A job runs once at a time: two of one name would empty and complete each other's checkpoints.

    training/<job>/running.json     {"host": "a", "boot": "6b3c…", "pids": "pid:[4026531836]", "pid": 4711, "started": 123456,
                                     "token": "5c0f7d2a91be"}

Who runs a job renews that blob, which goes by itself LEASE_S after the last time: whoever is killed lets the job go so. On the
same machine nobody waits for that, since a process that is gone is seen. Of one machine are those who see the same processes:
two containers may have one host name, and both a process 7.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

import msgspec

from ambry.client.model import Timeout
from ambry.client.refs import NameRef, found_entry
from ambry.client.sync.client import AmbryClient
from ambry.errors import (
    MALFORMED,
    AlreadyExists,
    AmbryError,
    BlobNotFound,
    DataCorrupt,
    InvalidRequest,
    InvariantBroken,
    UpdateConflict,
)
from ambry.ml.training.checkpoints import CheckpointFolder
from ambry.ml.training.gangs import GANG, OVERTAKEN, Gang, looks, put_gang, read_gang
from ambry.ml.training.jobs import TrainingJob
from ambry.ml.training.origins import is_other_code, with_own
from ambry.ml.training.outcomes import WRITE_TIMEOUT
from ambry.ml.watching import RepeatedWork

LEASE_S = 90
RENEW_S = 20.0
RENEW_TIMEOUT = Timeout(total=30.0)
"""Of each request: a store that takes connections and says nothing is asked again before the lease is over."""
RUNNING = "running.json"


class _Holder(msgspec.Struct, frozen=True):
    """Who runs a job, as RUNNING says it."""

    host: str
    boot: str
    pids: str
    pid: Annotated[int, msgspec.Meta(ge=1)]
    started: int | None
    token: str

    @property
    def where(self) -> str:
        return f", on {self.host} (process {self.pid})"

    @property
    def is_seen(self) -> bool:
        """Whether it is a process of those that this one sees, gone or not."""
        return {"host": self.host, "boot": self.boot, "pids": self.pids} == _machine()

    @property
    def is_gone(self) -> bool:
        """Whether it was a process of this machine, and is none any more."""
        return self.is_seen and _started(self.pid) != self.started


_HOLDER = msgspec.json.Decoder(_Holder)


class RunningJob:
    """The right to run a job, until the `with` ends. Usable by threads."""

    def __init__(self, client: AmbryClient, job: TrainingJob, *, renew_s: float = RENEW_S) -> None:
        self._client = client
        self._job = job
        self._name = job.name_in(RUNNING)
        self._renew_s = renew_s
        self._lost = ""
        self._renewing = threading.Lock()
        told = {**_machine(), "pid": os.getpid(), "started": _started(os.getpid())}
        self._document = json.dumps({**told, "token": secrets.token_hex(6)}).encode()

    def __enter__(self) -> Self:
        """Raises UpdateConflict where somebody else runs the job, DataCorrupt where nobody can tell who, and AmbryError."""
        self._take()
        self._renewed = RepeatedWork(self._renew, self._renew_s, name=f"ambry-runs-{self._job.job}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._renewed.close(WRITE_TIMEOUT.total):
            return  # The store says nothing: it goes by itself.
        with suppress(AmbryError):  # As above.
            self._renew(WRITE_TIMEOUT)
            if not self._lost:
                self._client.delete(self._held, timeout=WRITE_TIMEOUT)

    def check(self) -> None:
        """Raises UpdateConflict where somebody else has the job by now: the store was out of reach for too long."""
        if self._lost:
            raise UpdateConflict(self._lost)

    def confirm(self) -> None:
        """The same, asked of the store: this process may have stood still. Nobody else has the job within LEASE_S of this.

        Raises AmbryError.
        """
        self._renew()
        self.check()

    def _take(self, timeout: Timeout | None = None) -> None:
        """Raises UpdateConflict where another one has it, DataCorrupt, Unavailable where it changes at every look."""
        holder = None
        for _ in looks(str(self._name)):
            with suppress(
                *OVERTAKEN
            ):  # It changed since it was looked at: by another one, or by an earlier try of this one.
                holder = self._look(timeout)
                break
        if holder is not None:
            raise UpdateConflict(self._sentence(holder))

    def _look(self, timeout: Timeout | None) -> _Holder | None:
        """Take what is free, or go on with what this one has; else who has it. Raises OVERTAKEN, DataCorrupt."""
        try:
            self._put(timeout, if_absent=True)
            return None
        except AlreadyExists:
            # A list does not have it when its time is over.
            now = next(iter(self._client.history(self._name, timeout=timeout)))
            if now.id is None:
                raise
        entry = found_entry(self._name, now.id)
        try:
            with self._client.get(entry, timeout=timeout) as reader:
                held, etag = reader.read(), reader.info.etag
        except BlobNotFound:
            self._client.delete(
                entry, timeout=timeout
            )  # Its time is over. What another one put there since then stays.
            self._put(timeout, if_absent=True)
            return None
        if held != self._document and not (holder := _holder(held, self._name)).is_gone:
            return holder
        self._put(timeout, if_match=etag)
        return None

    def _put(self, timeout: Timeout | None, **condition: Any) -> None:
        """Raises OVERTAKEN."""
        info = self._client.put(
            self._document,
            name=self._name,
            content_type="application/json",
            ttl=LEASE_S,
            timeout=timeout,
            **condition,
        )
        self._held = found_entry(self._name, info.id, info.etag)

    def _renew(self, timeout: Timeout = RENEW_TIMEOUT) -> None:
        with self._renewing:
            if self._lost:
                return
            try:
                self._put(timeout, if_match=self._held.etag)
            except OVERTAKEN:
                try:
                    self._take(timeout)
                except (UpdateConflict, DataCorrupt) as error:
                    self._lost = error.message

    def _sentence(self, holder: _Holder) -> str:
        """Of this machine it runs: one that was killed there holds nothing."""
        told = f"the job {self._job.job} runs already{holder.where}; wait for its end, or give this one another --name"
        if holder.is_seen:
            return f"{told}. Where that process is to end, an interrupt ends its workers too: kill -INT {holder.pid}"
        return f"{told}. Where it was killed, it can be submitted again {LEASE_S} s after that"


def who_runs(client: AmbryClient, name: str | NameRef) -> str | None:
    """Where a job runs, by its RUNNING: `, on a (process 4711)`. None where nobody runs it. Raises DataCorrupt."""
    try:
        holder = _holder(client.get_bytes(name), name)
    except BlobNotFound:
        return None
    return None if holder.is_gone else holder.where


def claim_run(
    client: AmbryClient, job: TrainingJob, place: NameRef, tell: Callable[[str], None], *, fresh: bool = False
) -> Gang:
    """A new run of a job, whose workers have its checkpoints from now on; those of earlier runs end.

    Raises UpdateConflict where the checkpoints are those of another job that runs, Unavailable as `looks` does, and
    InvalidRequest where other sources of this job made them and it is not `fresh`.
    """
    own = job.origin()
    for _ in looks(f"{place}/{GANG}"):
        held, etag = read_gang(client, place)
        other = "" if held is None or held.folder == job.folder else held.job
        if held is not None and other and (where := who_runs(client, f"{held.folder}/{RUNNING}")) is not None:
            raise UpdateConflict(
                f"the checkpoints {place} are those of the job {other}, which runs{where}; wait for its end, or give this "
                "one other --checkpoints"
            )
        before = () if held is None else held.made
        if not fresh and not other and is_other_code(before, own) and CheckpointFolder(client, str(place)).steps():
            raise InvalidRequest(
                f"the job {job.job} has checkpoints of other sources ({before[-1].get('script')} of "
                f"{before[-1].get('sources')}), and does not go on from them with these: begin at step 0 with --fresh, or "
                f"give this one another --name. Another --name with --checkpoints {place} goes on from them, and its "
                "lineage names both"
            )
        run = 1 if held is None else held.run + 1
        gang = Gang(job=job.job, folder=job.folder, run=run, start=0, made=with_own(before, own, fresh=fresh))
        if put_gang(client, place, gang, etag):
            if other:
                tell(f"the checkpoints {place} were those of the job {other} until now")
            return gang
    raise InvariantBroken(f"{place}/{GANG} was looked at without an end")


def begin_alone(client: AmbryClient, job: TrainingJob, place: NameRef) -> TrainingJob:
    """The job without what it would have gone on from: there is no checkpoint. Before its workers are started.

    Nothing is changed where a later run has begun: this one is about to end.
    """
    own = job.origin()
    for _ in looks(f"{place}/{GANG}"):
        held, etag = read_gang(client, place)
        if held is None or (held.folder, held.run) != (job.folder, job.run):
            break
        if held.made == (own,) or put_gang(client, place, replace(held, made=(own,)), etag):
            break
    return replace(job, earlier=())


def _holder(held: bytes, name: str | NameRef) -> _Holder:
    """Raises DataCorrupt for what nobody who runs a job wrote, which may stay for ever: it need not have a lease."""
    try:
        return _HOLDER.decode(held)
    except (*MALFORMED, msgspec.MsgspecError) as error:
        raise DataCorrupt(
            f"{name} does not say who runs the job, and was not written by ambry: {error}; where nobody runs the job, delete "
            f"it: ambry rm {name}"
        ) from None


def _machine() -> dict[str, str]:
    """Whose processes this one sees (pid_namespaces(7)). Without /proc nothing is known, and no process is taken for gone."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return {"host": socket.gethostname(), "boot": boot, "pids": os.readlink("/proc/self/ns/pid")}  # noqa: PTH115
    return {"host": socket.gethostname(), "boot": secrets.token_hex(16), "pids": ""}


def _started(pid: int) -> int | None:
    """When a process of this machine began, in ticks since the machine did; None where there is none, or a dead one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
