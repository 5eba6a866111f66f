"""Checkpoints of a training job as folders of names, of which one is there whole or not at all.

    <place>/step-000000030/<gang>/<file>      as many as the framework writes, each a blob of its own
    <place>/step-000000030/complete.json      the mark: written last, by one worker, when all the others are durable

    {"files": {"__0_0.distcp": ["<id>", size], ...}, "format": 1, "said": {...}, "step": 30}

A checkpoint without its mark is none: whoever was killed while it wrote leaves what the next writer of that step replaces, and
what goes with the checkpoints that are old. A mark names blobs by their ids, so a reader gets what was written, whatever
happens to the names meanwhile. Where a job was submitted, `<gang>` tells which of its workers wrote a file, and those that
were replaced change nothing any more (gangs.py). Files are read through the cache of blobs of the machine: its workers fetch
each of them once.

Which framework wrote the files does not matter here: torch_checkpoints.py writes those of torch, and `put` any directory, such
as that of `tf.train.Checkpoint`, which writes to a disk of its own and to no file system of Python's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ambry.client.refs import SCHEME, NameRef, PinnedName, found_entry, prefix_place
from ambry.client.sync.client import AmbryClient
from ambry.client.tree_walk import walk_tree
from ambry.errors import (
    MALFORMED,
    AlreadyExists,
    BlobGone,
    BlobNotFound,
    DataCorrupt,
    InvalidRequest,
    PreconditionFailed,
    TooLarge,
    UpdateConflict,
)
from ambry.ids import BlobId
from ambry.ml.from_cache import link_to, used_at_once
from ambry.ml.training.gangs import Gang, GangFence, looks
from ambry.shown_urls import shown_place

MARK = "complete.json"
STEP_MAX = 999_999_999
KEEP = 3
_FORMAT = 1
_PART_MAX = 255
_PATH_MAX = 2_000
"""Bytes of a part of a path, and of a path below a folder: what the disks of nodes take."""
_STEP = re.compile(r"step-(\d{9})")


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """A file of a checkpoint; `size` in bytes."""

    id: BlobId
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointMark:
    """What makes a folder a checkpoint."""

    step: int
    files: Mapping[str, CheckpointFile]
    said: Mapping[str, Any] = field(default_factory=dict)
    """What the script said of it: anything that JSON has."""

    def encode(self) -> bytes:
        """Raises InvalidRequest for what JSON does not have."""
        files = {path: [str(file.id), file.size] for path, file in self.files.items()}
        told = {"format": _FORMAT, "step": self.step, "files": files, "said": dict(self.said)}
        try:
            return json.dumps(told, sort_keys=True, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"what is said of the checkpoint of step {self.step} is not JSON: {error}") from None

    @classmethod
    def parse(cls, data: bytes) -> CheckpointMark:
        """Raises DataCorrupt."""
        try:
            told: Any = json.loads(data)
            if told["format"] > _FORMAT:
                raise DataCorrupt(f"the checkpoint is of the format {told['format']}; upgrade ambry to read it")
            files = {path: _file_of(path, said) for path, said in told["files"].items()}
            folders = {parent for path in files for parent in _folders_of(path)}
            if both := sorted(folders & files.keys()):
                raise DataCorrupt(f"the checkpoint has {both[0]!r} as a file and as a folder")
            step = told["step"]
            if type(step) is not int or not 0 <= step <= STEP_MAX:
                raise DataCorrupt(f"the step of the checkpoint is no number between 0 and {STEP_MAX}")
            return cls(step=step, files=files, said=dict(told["said"]))
        except MALFORMED as error:
            raise DataCorrupt(f"this is no mark of a checkpoint: {error!r}") from None


def _file_of(path: str, said: Any) -> CheckpointFile:
    """Raises DataCorrupt, and what MALFORMED has."""
    parts = path.split("/")
    if path.startswith("/") or ".." in parts:
        raise DataCorrupt("the checkpoint has a file that lies outside of it")
    long = any(len(part.encode()) > _PART_MAX for part in parts) or len(path.encode()) > _PATH_MAX
    if "" in parts or "." in parts or "\0" in path or long:
        raise DataCorrupt(f"the checkpoint has a file that no disk can have: {path[:100]!r}")
    text, size = said
    if type(size) is not int or size < 0:
        raise DataCorrupt(f"the checkpoint has the file {path!r} of no size: {str(size)[:20]}")
    return CheckpointFile(BlobId.parse(text), size)


def _folders_of(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _look_at_size(path: str, file: CheckpointFile, size: int) -> None:
    """Raises DataCorrupt."""
    if size != file.size:
        raise DataCorrupt(
            f"{path} of the checkpoint has {size:,} bytes, and its mark says {file.size:,}; delete its {MARK}, and training "
            "goes on from the checkpoint before"
        )


class CheckpointFolder:
    """The checkpoints of one job. Methods may be called by several workers, but for those that say otherwise."""

    def __init__(
        self, client: AmbryClient, place: str | NameRef, *, keep: int | None = KEEP, gang: Gang | None = None
    ) -> None:
        """`place`: ambry://account/container/folder, or a name in the client's container. `keep`: how many of the newest stay;
        None keeps all of them. `gang`: the workers that write here; None where nobody submitted them, and nothing keeps others
        from writing, too. Raises InvalidRequest.
        """
        if keep is not None and keep < 1:
            raise InvalidRequest(f"keep is {keep}; at least the newest checkpoint stays")
        if isinstance(place, str) and "://" in place and not place.startswith(SCHEME):
            raise InvalidRequest(
                f"{shown_place(place)!r} is no place for checkpoints: they lie in the store; write "
                f"{SCHEME}ACCOUNT/CONTAINER/FOLDER, or a name in the container of the client"
            )
        said = str(place) if isinstance(place, NameRef) else place
        found = prefix_place(said, account=client.default_account, container=client.default_container)
        if not found.name.strip("/"):
            raise InvalidRequest(f"checkpoints lie in a folder: write {str(place).rstrip('/')}/some/folder")
        self.client = client
        self.keep = keep
        self.place = NameRef(found.name.strip("/"), found.account, found.container)
        self._gang = gang
        self._fence = None if gang is None else GangFence(client, self.place, gang)

    def __str__(self) -> str:
        return str(self.place)

    def name_of(self, step: int, path: str) -> NameRef:
        """What a file of a checkpoint is called. Raises InvalidRequest."""
        if not 0 <= step <= STEP_MAX:
            raise InvalidRequest(f"step {step} is not between 0 and {STEP_MAX}")
        return NameRef(f"{self.place.name}/step-{step:09}/{path}", self.place.account, self.place.container)

    def file_name(self, step: int, path: str) -> NameRef:
        """What a file that these workers write is called. Raises InvalidRequest."""
        return self.name_of(step, path if self._gang is None else f"{self._gang.label}/{path}")

    def check(self) -> None:
        """Raises UpdateConflict where others were started after these workers, or another job has the checkpoints."""
        if self._fence is not None:
            self._fence.check()

    def steps(self) -> list[int]:
        """Of those that are whole, oldest first."""
        return sorted(step for step, files in self.files().items() if MARK in files)

    def latest(self) -> int | None:
        """The newest that is whole; None where there is none."""
        return max(self.steps(), default=None)

    def mark_of(self, step: int) -> CheckpointMark:
        """Raises BlobNotFound where there is no whole checkpoint of the step, DataCorrupt for what is no mark of this one.

        Nothing of ours writes such a mark, and none is passed over: those who train would go on from before it, and delete it.
        """
        name = self.name_of(step, MARK)
        data = self.client.get_bytes(name)
        try:
            mark = CheckpointMark.parse(data)
            if mark.step != step:
                raise DataCorrupt(f"the checkpoint of step {step} says that it is of step {mark.step}")
            if not mark.files:
                raise DataCorrupt("the checkpoint has no files")
        except DataCorrupt as error:
            raise DataCorrupt(
                f"{name}: {error.message}; if it is of no use, delete it, and training goes on from the checkpoint before"
            ) from None
        return mark

    def begin(self, step: int) -> None:
        """Make the place of a step empty; by one worker, before any of them writes. One that is whole is none from then on.

        Raises UpdateConflict as `check` does.
        """
        files = self.files().get(step)
        self.check()
        if files:
            self._discard({step: files})

    def put_file(self, step: int, path: str, file: Path) -> CheckpointFile:
        """Store one file of a step; durable on return, and part of no checkpoint before `complete`."""
        info = self.client.put_file(file, name=self.file_name(step, path), content_type="application/octet-stream")
        return CheckpointFile(info.id, info.size)

    def complete(self, step: int, files: Mapping[str, CheckpointFile], **said: Any) -> CheckpointMark:
        """Let a step be a checkpoint; by one worker, when all files are stored. What is older than `keep` says goes.

        Raises InvalidRequest for no files, and for what JSON does not have; UpdateConflict as `check` does.
        """
        if not files:
            raise InvalidRequest(f"the checkpoint of step {step} has no files")
        mark = CheckpointMark(step=step, files=dict(files), said=said)
        data = mark.encode()
        for _ in looks(str(self.name_of(step, MARK))):
            self.check()
            try:
                self.client.put(data, name=self.name_of(step, MARK), content_type="application/json", if_absent=True)
                break
            except UpdateConflict:  # It overlaps with theirs.
                continue
            except AlreadyExists:  # Of workers that were replaced, and stood still since they looked.
                there = self.files().get(step, {})
                self.check()
                self._discard({step: {path: found for path, found in there.items() if path == MARK}})
        self.prune()
        return mark

    def put(self, step: int, directory: Path, **said: Any) -> CheckpointMark:
        """Store all files below a directory as the checkpoint of a step.

        Raises InvalidRequest for an empty one and for what is no file, OSError for what cannot be listed.
        """
        paths = sorted(walk_tree(directory))
        for path in paths:
            if not path.is_file():
                raise InvalidRequest(f"{path} is no file, and no link to one; a checkpoint has files alone")
        self.begin(step)
        files = {
            path.relative_to(directory).as_posix(): self.put_file(step, path.relative_to(directory).as_posix(), path)
            for path in paths
        }
        return self.complete(step, files, **said)

    def fetch(self, step: int, directory: Path) -> CheckpointMark:
        """As `fetch_files`, of a step. Raises what that raises, and BlobNotFound where it has no whole checkpoint."""
        mark = self.mark_of(step)
        self.fetch_files(mark, directory)
        return mark

    def fetch_files(self, mark: CheckpointMark, directory: Path, *, worker: int = 0, workers: int = 1) -> None:
        """The files of a checkpoint below a directory, as links to the files of this machine's cache, or copies on another disk
        than that has; they are not to be written, and stay when the cache needs their room.

        What was there already is read once more, and fetched again if it changed on this machine.
        Where several workers of a machine fetch them at once, each begins with others, and finds in the cache what they
        fetched. A file that the cache could never hold is downloaded beside the others. Raises BlobNotFound, BlobGone,
        ChecksumMismatch, and DataCorrupt for one of another size than the mark says.
        """
        files = sorted(mark.files.items())
        first = len(files) * worker // workers
        for path, file in files[first:] + files[:first]:
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                used_at_once(self.client, file.id, partial(link_to, target))
            except TooLarge:
                self.client.get_file(file.id, target)
            _look_at_size(path, file, target.stat().st_size)

    def newest(self) -> CheckpointMark | None:
        """The newest checkpoint whose files are all there; None where there is none.

        One whose files are gone, or have not come to this datacenter yet, is passed over for the one before. Raises
        UpdateConflict as `check` does, DataCorrupt as `mark_of` does.
        """
        self.check()  # Whoever was started before changes no checkpoint after one was chosen.
        for step in reversed(self.steps()):
            try:
                mark = self.mark_of(step)
                heads = self.client.head_many([file.id for file in mark.files.values()])
                for (path, file), found in zip(mark.files.items(), heads, strict=True):
                    if found.error is not None:
                        raise found.error
                    if found.info is not None:
                        _look_at_size(f"{self.name_of(step, MARK)}: {path}", file, found.info.size)
                return mark
            except (BlobNotFound, BlobGone):
                continue
        return None

    def fetch_latest(self, directory: Path) -> CheckpointMark | None:
        """The files of the `newest` checkpoint, as `fetch_files` brings them, below `step-...` in a directory."""
        if (mark := self.newest()) is not None:
            self.fetch_files(mark, directory / f"step-{mark.step:09}")
        return mark

    def prune(self) -> list[int]:
        """Delete what is older than the checkpoints that are kept, whole or not; the steps that went.

        Raises UpdateConflict as `check` does.
        """
        if self.keep is None:
            return []
        found = self.files()
        whole = sorted(step for step, files in found.items() if MARK in files)
        if len(whole) < self.keep:
            return []
        going = {step: files for step, files in found.items() if step < whole[-self.keep]}
        self.check()
        self._discard(going)
        return sorted(going)

    def clear(self, files: Mapping[int, Mapping[str, PinnedName]] | None = None) -> list[int]:
        """Delete all checkpoints, whole or not, or those `files` of them; the steps that went. What was put there since it was
        looked up stays. Raises UpdateConflict as `check` does.
        """
        found = self.files() if files is None else files
        self.check()
        self._discard(found)
        return sorted(found)

    def _discard(self, going: Mapping[int, Mapping[str, PinnedName]]) -> None:
        """The marks first: a reader that comes meanwhile finds no checkpoint, and not half of one."""
        delete_names(self.client, [files[MARK] for files in going.values() if MARK in files])
        rest = [name for files in going.values() for path, name in files.items() if path != MARK]
        delete_names(self.client, rest)

    def files(self) -> dict[int, dict[str, PinnedName]]:
        """Those of all checkpoints, whole or not, as they are now, by their step and their path."""
        found: dict[int, dict[str, PinnedName]] = {}
        base = f"{self.place.name}/"
        for entry in self.client.list(str(NameRef(f"{base}step-", self.place.account, self.place.container))):
            folder, _, path = entry.name.removeprefix(base).partition("/")
            if (step := _STEP.fullmatch(folder)) and path and entry.id is not None:
                name = NameRef(entry.name, self.place.account, self.place.container)
                found.setdefault(int(step[1]), {})[path] = found_entry(name, entry.id)
        return found


def delete_names(client: AmbryClient, names: Sequence[NameRef]) -> None:
    """Delete what has these names; what is gone already is, and what was put there since it was found stays.

    Raises AmbryError.
    """
    going = list(names)
    for _ in looks(str(going[0])) if going else ():
        overlapped = []
        for name, result in zip(going, client.delete_many(going), strict=True):
            if isinstance(result.error, UpdateConflict):  # With another one's delete, or what replaces it.
                overlapped.append(name)
            elif result.error is not None and not isinstance(
                result.error, BlobNotFound | BlobGone | PreconditionFailed
            ):
                raise result.error
        if not (going := overlapped):
            return
