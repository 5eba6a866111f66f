"""Submitting a job: its sources and its environment are stored, its workers run to their end, its model becomes a version.

Nothing of a job that failed is seen but its checkpoints. A model is a version when every worker has ended well, and the same
model handed in by the same job again is the version that it was.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ambry.client.refs import found_entry
from ambry.client.sync.client import AmbryClient
from ambry.errors import AmbryError, BlobNotFound, InvalidRequest
from ambry.ml.datasets import dataset_there
from ambry.ml.digests import numbered
from ambry.ml.models.manifest import ModelManifest, parse_manifest
from ambry.ml.models.publishing import KIND, PublishedModel, publish_once
from ambry.ml.places import shown_version
from ambry.ml.provenance import commit_of
from ambry.ml.training.bundle import write_bundle
from ambry.ml.training.checkpoints import KEEP, CheckpointFolder, delete_names
from ambry.ml.training.current import MODEL
from ambry.ml.training.environments import list_packages, store_tree, stored_tree
from ambry.ml.training.jobs import StoredTree, TrainingJob, check_job_name, named_job
from ambry.ml.training.launchers.launch import AGAIN, ANEW, Launch, Launcher, LaunchFailed, LaunchPlan
from ambry.ml.training.origins import told_origin
from ambry.ml.training.outages import outwaited
from ambry.ml.training.outcomes import OUTCOME, outcome_noted
from ambry.ml.training.remains import held_directory, remove_left_behind
from ambry.ml.training.running import RunningJob, begin_alone, claim_run
from ambry.ml.training.standing import check_standing, delete_standing, replace_standing, standing

DOCUMENT = "job.json"
LOOK_S = 1.0
"""How often whoever follows a job looks for new checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJob:
    """A job that ended well."""

    job: TrainingJob
    step: int | None
    """Of its newest checkpoint."""
    model: PublishedModel | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatToRun:
    """What somebody wants to run. Paths are of this machine."""

    script: Path
    arguments: Sequence[str] = ()
    workers: int = 1
    sources: Path | None = None
    """A directory in which the script lies; without it the script goes alone."""
    venv: Path | None = None
    wheels: Path | None = None
    environment: str = ""
    """The id of an environment that was stored before."""
    snapshot: str = ""
    publish: str = ""
    checkpoints: str = ""
    keep: int = KEEP
    python: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables of the workers' environment."""
    name: str = ""


def prepare_job(
    client: AmbryClient,
    wanted: WhatToRun,
    tell: Callable[[str], None] = print,
    *,
    launcher: Launcher | None = None,
) -> TrainingJob:
    """Look up the snapshot, and store sources and environment; durable on return.

    What the `launcher` that is to run it refuses is refused before anything is packed or stored, as are names.

    Raises InvalidRequest, FileNotFoundError, BlobNotFound for a snapshot or an environment that is not there, and LaunchFailed.
    """
    root, script = _within(wanted)
    check_job_name(wanted.name)
    _check_publish(wanted.publish)
    if wanted.checkpoints:
        CheckpointFolder(client, wanted.checkpoints, keep=wanted.keep)  # A place that is none is refused.
    if launcher is not None:
        launcher.check(_plan(wanted))
    if wanted.publish:
        dataset_there(client, wanted.publish, KIND)
    snapshot = shown_version(numbered(client, wanted.snapshot)) if wanted.snapshot else ""
    environment = _environment(client, wanted, tell)
    sources = store_tree(client, "sources", root, None if wanted.sources else script, tell)
    job = named_job(
        {
            "script": script,
            "arguments": tuple(wanted.arguments),
            "workers": wanted.workers,
            "sources": sources,
            "environment": environment,
            "snapshot": snapshot,
            "publish": wanted.publish,
            "checkpoints": wanted.checkpoints,
            "keep": wanted.keep,
            "commit": commit_of(root),
            "python": wanted.python,
            "environ": tuple(sorted(wanted.environ.items())),
            "endpoints": client.endpoints,
            "account": client.default_account,
            "container": client.default_container,
            "job": wanted.name,
        }
    )
    tell(
        f"job {job.job}: sources {sources.id} ({sources.size:,} bytes), environment {environment.id} ({environment.kind})"
    )
    return job


def run_job(
    client: AmbryClient,
    job: TrainingJob,
    launcher: Launcher,
    *,
    fresh: bool = False,
    max_restarts: int = 3,
    environ: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = print,
    show: Callable[[str], None] = print,
) -> EndedJob:
    """Run a job to its end, and publish its model if it has one to publish.

    With `fresh` it begins at step 0: its checkpoints and TensorBoard's files are deleted first, and no version of its model is.
    `tell` takes what is said of the job, `show` what its workers print. Raises LaunchFailed, AmbryError; what was trained until
    then is in its checkpoints; UpdateConflict where the job runs already, or another one with the same checkpoints.
    """
    with RunningJob(client, job) as running:

        def shown(line: str) -> None:
            running.check()
            show(line)

        folder = CheckpointFolder(client, job.checkpoints, keep=job.keep)
        # This process may stand still at any time: what it changes is what stood there before it was the newest run.
        model, document, outcome = (standing(client, job.name_in(each)) for each in (MODEL, DOCUMENT, OUTCOME))
        gang = claim_run(client, job, folder.place, tell, fresh=fresh)  # Workers of a run before end by this.
        job = replace(job, run=gang.run, earlier=tuple(dict(each) for each in gang.made[:-1]))
        running.confirm()
        delete_standing(client, model)  # Of a run before: what is published is what this one hands in.
        name = job.name_in(DOCUMENT)
        etag = replace_standing(client, name, document, job.encode())
        with outcome_noted(client, job, outcome) as note:

            def confirm() -> None:
                """A later run may also have been and gone: what was read before this is of none."""
                running.confirm()
                check_standing(client, job.name_in(OUTCOME), note.begun)

            if fresh:
                _clear(client, job, folder, confirm, tell)
            step = folder.latest()
            if step is not None:
                tell(f"it goes on from step {step}")
                if job.earlier:
                    tell(told_origin(job.earlier[-1], job.origin()))
            elif job.earlier:
                job = begin_alone(client, job, folder.place)
                replace_standing(client, name, etag, job.encode())
            remove_left_behind()
            with held_directory() as made, _Watched(folder, step, tell):
                bundle = write_bundle(made, job.encode(), key=client.current_key, authority=_authority_of(client))
                launch = Launch(
                    job=job,
                    directory=made,
                    bundle=bundle,
                    environ=os.environ if environ is None else environ,
                    max_restarts=max_restarts,
                    newest=folder.latest,
                    tell=tell,
                    show=shown,
                )
                try:
                    launcher.run(launch)
                except LaunchFailed as error:
                    if error.goes_on:
                        error.message = f"{error.message}; {_advice(folder)}"
                    raise

            def ended() -> EndedJob:
                step = folder.latest()
                manifest = _handed_in(client, job) if job.publish else None
                confirm()
                model = _published(client, job, manifest) if job.publish else None
                return EndedJob(job=job, step=step, model=model)

            done = outwaited(ended, tell)
            if done.model is not None:
                note.published(str(done.model))
                tell(f"published {done.model}")
            return done


def _clear(
    client: AmbryClient,
    job: TrainingJob,
    folder: CheckpointFolder,
    confirm: Callable[[], None],
    tell: Callable[[str], None],
) -> None:
    """Delete what runs before left to go on from, and to look at; of runs that began since it was looked up nothing.

    `confirm` tells, after the look, that no later run has begun. It is looked up late: workers of the run before end by what
    this run has claimed, and one may have been about to change its checkpoints.
    """
    checkpoints = folder.files()
    logs = [found_entry(entry.ref, entry.id) for entry in client.list(f"{job.logs}/") if entry.id is not None]
    confirm()
    gone = folder.clear(checkpoints)
    delete_names(client, logs)
    tell(f"it begins anew; {len(gone)} checkpoints of before are deleted")


def _advice(folder: CheckpointFolder) -> str:
    """Of a job that failed: a launcher does not know whether there is a checkpoint to go on from."""
    try:
        return AGAIN if folder.latest() is not None else ANEW
    except AmbryError:  # The store does not say it.
        return AGAIN


def _handed_in(client: AmbryClient, job: TrainingJob) -> ModelManifest | None:
    """None where no model was handed in."""
    try:
        return parse_manifest(client.get_bytes(job.name_in(MODEL)))
    except BlobNotFound:
        return None


def _published(client: AmbryClient, job: TrainingJob, manifest: ModelManifest | None) -> PublishedModel:
    """Raises LaunchFailed where no model was handed in."""
    if manifest is None:
        raise LaunchFailed(
            f"all workers of {job.job} ended well, and none handed in a model for {job.publish}: let the script call "
            "training.current().hand_in(model)"
        )
    return publish_once(client, job.publish, manifest)


def _within(wanted: WhatToRun) -> tuple[Path, str]:
    """The directory of the sources, and the script in it. Raises InvalidRequest, FileNotFoundError."""
    script = wanted.script.resolve()
    if not script.is_file():
        raise FileNotFoundError(2, "there is no such script", str(wanted.script))
    root = (wanted.sources or script.parent).resolve()
    if not script.is_relative_to(root):
        raise InvalidRequest(f"{wanted.script} does not lie in {wanted.sources}; name a directory that has it")
    return root, script.relative_to(root).as_posix()


def _check_publish(dataset: str) -> None:
    """Raises InvalidRequest where a version is said."""
    name, at, _ = dataset.partition("@")
    if at:
        raise InvalidRequest(
            f"{dataset!r} says a version, which is chosen when the model is published: the next one of {name!r}; publish to "
            "that"
        )


def _plan(wanted: WhatToRun) -> LaunchPlan:
    python = str(wanted.venv / "bin" / "python") if wanted.venv else wanted.python or sys.executable
    is_stored = wanted.wheels is not None or bool(wanted.environment)
    return LaunchPlan(
        workers=wanted.workers,
        environ={**os.environ, **wanted.environ},
        python="" if is_stored else python,
    )


def _environment(client: AmbryClient, wanted: WhatToRun, tell: Callable[[str], None]) -> StoredTree:
    """Raises InvalidRequest."""
    said = [name for name in ("venv", "wheels", "environment") if getattr(wanted, name)]
    if len(said) > 1:
        raise InvalidRequest(f"{' and '.join(said)} are two environments; say one of them")
    if wanted.venv:
        return store_tree(client, "venv", wanted.venv, tell=tell)
    if wanted.wheels:
        return store_tree(client, "wheels", wanted.wheels, tell=tell)
    if wanted.environment:
        return stored_tree(client, wanted.environment)
    return list_packages(client, wanted.python, tell)


class _Watched:
    """Tells of new checkpoints while a job runs."""

    def __init__(self, folder: CheckpointFolder, step: int | None, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._step = step
        self._tell = tell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ambry-train-watch", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        if kind is None or issubclass(kind, Exception):  # An interrupt is not kept by a store that says nothing.
            self._thread.join()
            self._look()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            self._look(lambda: not self._over.is_set())

    def _look(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        try:
            newest = self._folder.latest()
        except AmbryError:
            return  # The store may be away for a moment: the job itself tells if that matters.
        if is_wanted() and newest is not None and newest != self._step:
            self._step = newest
            self._tell(f"checkpoint of step {newest}")


def _authority_of(client: AmbryClient) -> str:
    """Whom workers are to trust, as PEM; empty where that is what their machines trust. Raises InvalidRequest, OSError."""
    tls = client.tls
    if tls is None:
        return ""
    if tls.cert is not None:
        raise InvalidRequest("workers have no certificate of their own to show; name an endpoint that asks for none")
    return "" if tls.ca is None else Path(tls.ca).read_text("utf-8")
