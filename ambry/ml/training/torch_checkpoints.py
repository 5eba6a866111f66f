"""Checkpoints of torch in the store: `torch.distributed.checkpoint` writes the files, `CheckpointFolder` makes them whole.

    checkpoints = TorchCheckpoints("ambry://team/models/training/digits")
    found = checkpoints.restore(model, optimizer)
    for step in range(found.step if found else 0, 60):
        ...
        if (step + 1) % 10 == 0:
            checkpoints.save(step + 1, model, optimizer)
    checkpoints.wait()

Each worker writes its part straight into the store, several files at a time, and a copy of it into the cache of the machine, of
the newest checkpoint alone: a worker that is started again here reads what was saved here without the network. `dcp.save(..., checkpoint_id="ambry://...")`
without this module works too, through fsspec; it costs a sync of all disks of the machine (torch calls os.sync() for a file
without a descriptor), and one whose files were replaced since looks like one that is whole.

What is read here is unpickled by torch (`.metadata`): read checkpoints of jobs that you trust. Models that are published are
not: they are safetensors.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ambry.client.cache_draft import CacheDraft, enter_file
from ambry.client.refs import NameRef
from ambry.client.scratch import scratch_directory
from ambry.client.sync.client import AmbryClient
from ambry.errors import AmbryError, BlobNotFound, InvalidRequest, RequestTimeout
from ambry.ids import BlobId
from ambry.ml.extras import needed
from ambry.ml.from_cache import held_directory
from ambry.ml.training.checkpoints import KEEP, CheckpointFile, CheckpointFolder, CheckpointMark
from ambry.ml.training.gangs import Gang
from ambry.ml.training.mapped_reader import mapped_reader
from ambry.ml.training.outages import PATIENT
from ambry.ml.training.store_files import StoreFiles

OTHERS_TIMEOUT_S = 600.0
"""How long the one who makes a checkpoint whole waits for the files of the others."""
STREAMS_MAX = 2
"""More of them are slower: on 2 cores, 512 MB by 2 workers took 2.4 s with two files at a time, and 3.2 s with four."""
STREAM_BYTES_MIN = 64 << 20
_LOOK_AGAIN_S = 0.05
_OF_WRITER = "inline_container"
"""In what torch's writer fails with where a disk is full, which names neither it nor the file."""
_OF_OTHER_MODEL = re.compile(r"Size mismatch between saved .{0,300}|Missing key in checkpoint .{0,300}")
"""What torch's planner says of a state that has another shape, or a name that the checkpoint has not."""
_SENT = "sent-{rank}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredCheckpoint:
    """What a job goes on from."""

    step: int
    said: Mapping[str, Any] = field(default_factory=dict)


class TorchCheckpoints:
    """The checkpoints of a job of one worker or many: every worker makes one, and calls the same of it in the same order."""

    def __init__(
        self,
        place: str | NameRef,
        *,
        client: AmbryClient | None = None,
        keep: int | None = KEEP,
        scratch: Path | None = None,
        background: bool = False,
        gang: Gang | None = None,
    ) -> None:
        """With `background`, `save` returns when the state is written to `scratch`, or the directory for temporary files if it
        is None, and sending goes on beside the next steps. A checkpoint that the cache does not hold is read there, too. `gang`
        as CheckpointFolder takes it. Without a `client` it has one of its own, which outwaits a store that is away for a
        moment.

        Raises InvalidRequest, and ModuleNotFoundError where torch is not installed.
        """
        self._torch = needed("torch")
        self._dcp = needed("torch.distributed.checkpoint")
        self._states = needed("torch.distributed.checkpoint.state_dict")
        self._own = client is None
        self._client = client or AmbryClient.from_env(retry=PATIENT)
        self.folder = CheckpointFolder(self._client, place, keep=keep, gang=gang)
        self._scratch = scratch
        self._background = background
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ambry-checkpoint")
        self._sending: Future[None] | None = None
        self._cache = self._client._cache_in(None)  # pyright: ignore[reportPrivateUsage]
        self._kept: list[BlobId] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is on its way. Raises what it failed with."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()
            if self._own:
                self._client.close()

    def wait(self) -> None:
        """Return when the last `save` is durable and whole, and kept in the cache. Raises what it failed with."""
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.result()

    def save(self, step: int, model: Any, optimizer: Any = None, **said: Any) -> None:
        """Write the state of a model and an optimizer as the checkpoint of a step; on all workers.

        `said` is anything that JSON has, and comes back with `restore`. It is durable and whole on return, or with
        `background` after `wait`, which the next `save` calls first. Raises AmbryError; RequestTimeout where another worker
        did not send its part; UpdateConflict where other workers were started after these.
        """
        self.wait()
        distributed = self._distributed()
        rank = distributed.get_rank() if distributed else 0
        if rank == 0:
            self.folder.begin(step)  # Before any file: dcp.save talks to rank 0 before a worker writes.
        if self._background:
            self._save_beside(step, self._state(model, optimizer), said)
            return
        store = StoreFiles(self._client, self.folder, step, self._cache)
        state = self._state(model, optimizer)
        writer = self._dcp.FileSystemWriter("", sync_files=False, thread_count=self._streams(model, distributed))
        writer.fs, writer.path = store, ""
        try:
            try:
                self._dcp.save(state, storage_writer=writer, no_dist=distributed is None)
            finally:
                store.check()  # What it failed with says more than what torch makes of it.
            all_ = self._gathered(dict(store.files))
            if rank == 0:
                self.folder.complete(step, {path: file for files in all_ for path, file in files.items()}, **said)
            if distributed:
                distributed.barrier()
        except BaseException:
            for draft in store.drafts.values():
                draft.close()
            raise
        self._sending = self._pool.submit(self._keep, store.drafts)

    def _save_beside(self, step: int, state: dict[str, Any], said: Mapping[str, Any]) -> None:
        """Write the state to a disk here, and let it be sent beside what comes next."""
        distributed = self._distributed()
        rank = distributed.get_rank() if distributed else 0
        held = ExitStack()
        made = held.enter_context(scratch_directory("checkpoint", self._scratch))
        try:
            writer = self._dcp.FileSystemWriter(made, sync_files=False)
            self._dcp.save(state, storage_writer=writer, no_dist=distributed is None)
            own = [path.relative_to(made).as_posix() for path in sorted(made.rglob("*")) if path.is_file()]
            all_ = self._gathered((own, self.folder.file_name(step, _SENT.format(rank=rank))))
            self._sending = self._pool.submit(self._send, step, made, held, rank, all_, said)
        except BaseException as error:
            held.close()
            if _OF_WRITER in str(error):
                raise _not_written(error, rank, made) from error
            raise

    def _keep(self, drafts: Mapping[BlobId, CacheDraft]) -> None:
        """Let what was just saved into the cache of this machine, in the place of what this worker saved before."""
        self._let_go()
        for blob, draft in drafts.items():
            with suppress(AmbryError):  # It is durable: a copy here is worth a request, and no failure.
                if draft.enter(self._client.head(blob)) is not None:
                    self._kept.append(blob)
            draft.close()

    def _let_go(self) -> None:
        with suppress(AmbryError, OSError):
            while self._kept:
                self._cache.remove(self._kept.pop())

    def _gathered(self, own: Any) -> list[Any]:
        """What each worker has, by rank."""
        distributed = self._distributed()
        if distributed is None:
            return [own]
        all_: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(all_, own)
        return all_

    def _streams(self, model: Any, distributed: Any) -> int:
        """How many files a worker writes at a time: one is sent part after part, and small ones are not worth a request."""
        size = sum(each.numel() * each.element_size() for each in model.parameters())
        share = size // (distributed.get_world_size() if distributed else 1)
        return int(min(STREAMS_MAX, max(1, share // STREAM_BYTES_MIN)))

    def restore(self, model: Any, optimizer: Any = None) -> RestoredCheckpoint | None:
        """Read the newest whole checkpoint into a model and an optimizer; on all workers. None where there is none.

        From then on no worker that was started before changes a checkpoint. Raises AmbryError, UpdateConflict as `save` does,
        InvalidRequest where the state is of another model, which ends the job: no restart would read it.
        """
        distributed = self._distributed()
        rank = distributed.get_rank() if distributed else 0
        workers = distributed.get_world_size() if distributed else 1
        # One of them chooses: to others it may look as if there were a newer one already.
        chosen: list[Any] = [None]
        if rank == 0 and (newest := self.folder.newest()) is not None:
            chosen = [newest.encode()]
        if distributed:
            distributed.broadcast_object_list(chosen, src=0)
        if chosen[0] is None:
            return None
        mark = CheckpointMark.parse(chosen[0])
        with (
            held_directory(self._client, "checkpoint")
            if self._scratch is None
            else scratch_directory("checkpoint", self._scratch)
        ) as here:
            self.folder.fetch_files(mark, here, worker=rank, workers=workers)
            state = self._state(model, optimizer)
            try:
                self._dcp.load(state, storage_reader=mapped_reader(here), no_dist=distributed is None)
            except BaseException as error:  # torch's CheckpointException is no Exception.
                if (found := _OF_OTHER_MODEL.search(str(error))) is None:
                    raise
                raise InvalidRequest(
                    f"the checkpoint of step {mark.step} is of another model ({found[0]}): begin at step 0 with --fresh, or "
                    "give the job another --name"
                ) from error
            self._states.set_state_dict(
                model,
                _optimizers(optimizer),
                model_state_dict=state["model"],
                optim_state_dict=state.get("optimizer", {}),
            )
        return RestoredCheckpoint(step=mark.step, said=mark.said)

    def _state(self, model: Any, optimizer: Any) -> dict[str, Any]:
        """As torch.distributed.checkpoint takes it: an optimizer that made no step yet has a state, too."""
        of_model, of_optimizer = self._states.get_state_dict(model, _optimizers(optimizer))
        return {"model": of_model} if optimizer is None else {"model": of_model, "optimizer": of_optimizer}

    def _distributed(self) -> Any:
        """torch.distributed if there are several workers, else None."""
        distributed = self._torch.distributed
        return distributed if distributed.is_available() and distributed.is_initialized() else None

    def _send(
        self,
        step: int,
        made: Path,
        held: ExitStack,
        rank: int,
        all_: list[tuple[list[str], NameRef]],
        said: Mapping[str, Any],
    ) -> None:
        """The part of one worker; of rank 0 then the mark, when the parts of all are there. `held` goes with what was made."""
        paths, sent = all_[rank]
        with held:
            own = {path: self.folder.put_file(step, path, made / path) for path in paths}
            self._let_go()
            for path, file in own.items():
                with suppress(AmbryError):
                    if enter_file(self._cache, self._client.head(file.id), made / path) is not None:
                        self._kept.append(file.id)
        if rank != 0:
            self._client.put(CheckpointMark(step=step, files=own).encode(), name=sent)
            return
        files = dict(own)
        for other in range(1, len(all_)):
            files |= self._told(step, other, all_[other][1])
        self.folder.complete(step, files, **said)

    def _told(self, step: int, rank: int, name: NameRef) -> Mapping[str, CheckpointFile]:
        """Which blobs the files of another worker are."""
        deadline = time.monotonic() + OTHERS_TIMEOUT_S
        while True:
            try:
                return CheckpointMark.parse(self._client.get_bytes(name)).files
            except BlobNotFound:
                if time.monotonic() >= deadline:
                    raise RequestTimeout(
                        f"worker {rank} did not send its part of the checkpoint of step {step} within "
                        f"{OTHERS_TIMEOUT_S:.0f} s; the one before is the newest"
                    ) from None
                time.sleep(_LOOK_AGAIN_S)


def _optimizers(optimizer: Any) -> Any:
    return () if optimizer is None else optimizer


def _not_written(error: BaseException, rank: int, scratch: Path) -> OSError:
    """Where a disk is full: here, or by torch's words, which each worker is told of all of them, that of another worker."""
    told: Mapping[int, tuple[BaseException, object]] = getattr(error, "failures", {})
    full = sorted(each for each, (cause, _) in told.items() if _OF_WRITER in str(cause))
    if full and rank not in full:
        words = f"worker {full[0]} could not write its part of a checkpoint whole; see whether its disk has room"
        return OSError(errno.EIO, words)
    return OSError(errno.EIO, "a checkpoint could not be written whole; see whether the disk has room", str(scratch))
