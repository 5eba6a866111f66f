"""The job that a script is a worker of: where its checkpoints, its data and its model go, whoever launched it.

    from ambry.ml import training

    job = training.current()
    checkpoints = job.torch_checkpoints()
    ...
    job.hand_in(model.state_dict(), metrics={"accuracy": 0.97})

A script that is run by hand has a job, too: of one worker, whose checkpoints go where AMBRY_TRAIN_CHECKPOINTS says, and whose
model is handed in to nobody.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat, Unpack

from ambry.client.model import ClientOptions
from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound, InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.models.publishing import prepare_model
from ambry.ml.places import settled
from ambry.ml.training.checkpoints import KEEP, CheckpointFolder
from ambry.ml.training.gangs import OVERTAKEN, Gang, looks
from ambry.ml.training.jobs import TrainingJob, parse_job
from ambry.ml.training.node import JOB
from ambry.ml.training.outages import PATIENT
from ambry.ml.training.refusals import tell_refusals
from ambry.ml.training.roles import WorkerRole, role_of
from ambry.tensorboard import open_by_fsspec

if TYPE_CHECKING:
    from ambry.ml.training.torch_checkpoints import TorchCheckpoints

CHECKPOINTS = "AMBRY_TRAIN_CHECKPOINTS"
MODEL = "model.json"
"""Beside the checkpoints: the manifest of what was handed in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentJob:
    """What a worker knows of its job. Its calls speak to the cluster that the environment names."""

    role: WorkerRole
    job: TrainingJob | None
    """None where nobody submitted it."""
    environ: Mapping[str, str]

    @property
    def snapshot(self) -> str:
        """The version that it trains on, with its number; empty where none was said."""
        return self.job.snapshot if self.job else ""

    @property
    def logs(self) -> str:
        """Where TensorBoard looks: ambry://...; a directory of this machine where nobody submitted the job.

        TensorBoard's writers open it by fsspec from then on, also where TensorFlow is installed, unless the script uses that:
        torch's writer loads it, too.
        """
        if self.job is None:
            return "runs"
        if "tensorflow" not in sys.modules or "torch.utils.tensorboard" in sys.modules:
            open_by_fsspec()
        return self.job.logs

    @property
    def checkpoints(self) -> str:
        """Where checkpoints go. Raises InvalidRequest where nobody said that."""
        place = self.job.checkpoints if self.job else self.environ.get(CHECKPOINTS, "")
        if not place:
            raise InvalidRequest(
                f"nobody said where checkpoints go: run the script by `ambry train submit`, or set {CHECKPOINTS}=ambry://..."
            )
        return place

    def connect(self, **options: Unpack[ClientOptions]) -> AmbryClient:
        """A client of the cluster, as `AmbryClient.from_env`, that outwaits a store that is away for up to a minute.

        Raises ConfigInvalid.
        """
        given: ClientOptions = {"retry": PATIENT, **options}
        return AmbryClient.from_env(**given)

    def torch_checkpoints(self, **options: Any) -> TorchCheckpoints:
        """Checkpoints of torch, for all workers to call; see TorchCheckpoints. Raises InvalidRequest, ModuleNotFoundError."""
        from ambry.ml.training.torch_checkpoints import TorchCheckpoints

        return TorchCheckpoints(self.checkpoints, **{"keep": self._keep, "gang": self._gang, **options})

    def checkpoint_folder(self, client: AmbryClient) -> CheckpointFolder:
        """Checkpoints of any framework, as directories; the chief puts them. Raises InvalidRequest."""
        return CheckpointFolder(client, self.checkpoints, keep=self._keep, gang=self._gang)

    @property
    def _gang(self) -> Gang | None:
        job = self.job
        if job is None or not job.run:
            return None
        return Gang(
            job=job.job,
            folder=job.folder,
            run=job.run,
            start=self.role.start,
            checks=self.role.is_chief,
            made=(*job.earlier, job.origin()),
        )

    @property
    def _keep(self) -> int:
        return self.job.keep if self.job else KEEP

    def hand_in(
        self,
        model: Any,
        *,
        metrics: Mapping[str, SupportsFloat] | None = None,
        params: Mapping[str, Any] | None = None,
        features: Iterable[FeatureUrn | str] = (),
        definitions: str = "",
        kind: str | None = None,
        note: str = "",
    ) -> bool:
        """Give what was trained, as `models.publish` takes it; by all workers, of which the chief's counts.

        Its parts are durable on return, and seen by nobody: it becomes a version when every worker has ended well, with what
        the job knows of where it comes from. Whether this worker's was taken: False of others, and where no model was asked
        for. Raises InvalidRequest, and UpdateConflict where other workers were started after these. A script that ends by what
        the store refuses for good, here or elsewhere, ends the job.
        """
        if not self.role.is_chief or self.job is None or not self.job.publish:
            return False
        with self.connect() as client:
            manifest = prepare_model(
                client,
                self.job.publish,
                model,
                kind=kind,
                features=features,
                definitions=definitions,
                snapshot=settled(self.job.snapshot),  # Gone or not: it was trained on.
                code=self.job.code(),
                metrics=metrics,
                params={**(params or {}), "training": self.job.lineage()},
                note=note,
            )
            self._put_manifest(client, self.job.name_in(MODEL), manifest.encode())
        return True

    def _put_manifest(self, client: AmbryClient, name: NameRef, data: bytes) -> None:
        """In the place of what was there when these workers were the newest."""
        folder = self.checkpoint_folder(client)
        for _ in looks(str(name)):
            condition: dict[str, Any] = {"if_absent": True}
            with suppress(BlobNotFound):
                condition = {"if_match": client.head(name).etag}
            folder.check()
            try:
                client.put(data, name=name, content_type="application/json", **condition)
                return
            except OVERTAKEN:
                continue


def current(environ: Mapping[str, str] | None = None) -> CurrentJob:
    """The job of this process. Raises RoleUnclear for an environment that does not fit together, InvalidRequest."""
    found = os.environ if environ is None else environ
    path = found.get(JOB, "")
    job = parse_job(Path(path).read_bytes()) if path else None
    if job is not None:
        tell_refusals()
        if find_spec("fsspec"):  # TensorBoard's writer takes no options, and what fails in it ends the script.
            needed("fsspec.config").conf.setdefault("ambry", {}).setdefault("retry", PATIENT)
    return CurrentJob(role=role_of(found), job=job, environ=found)
