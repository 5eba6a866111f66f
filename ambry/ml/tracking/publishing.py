"""Files that MLflow has somewhere become the next version of a model, with what the run says of them in its manifest."""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow.artifacts
from mlflow.store.artifact.utils.models import _parse_model_uri
from mlflow.utils.uri import is_models_uri

from ambry.client.refs import VersionRef
from ambry.client.scratch import scratch_directory
from ambry.errors import InvalidRequest
from ambry.ml.models.loading import open_model
from ambry.ml.models.publishing import publish_model
from ambry.ml.places import shown_version
from ambry.ml.provenance import code_text
from ambry.ml.tracking.catalogue import ModelCatalogue
from ambry.ml.tracking.entities import MODEL_ID_KEY, OURS, RUN_ID_KEY, RUN_LINK_KEY, RUN_PARAMS_KEY, SOURCE_KEY
from ambry.ml.tracking.notes import change_notes
from ambry.ml.tracking.paths import is_beneath

_DESTINATION = "_MLFLOW_SERVER_ARTIFACT_DESTINATION"
"""What MLflow's server tells its own processes: where the artifacts are that it serves."""
_META_FILE = "registered_model_meta"
"""MLflow writes it beside what it downloads."""


@dataclass(frozen=True, slots=True)
class ModelOrigin:
    """Where MLflow has a model from; what is empty was not said."""

    source: str
    """The URI of its files."""
    run_id: str = ""
    run_link: str = ""
    model_id: str = ""
    local_path: str = ""
    """Where the files lie on this machine already."""

    def params(self) -> dict[str, str]:
        """As the manifest has them."""
        told = {
            SOURCE_KEY: self.source,
            RUN_ID_KEY: self.run_id,
            RUN_LINK_KEY: self.run_link,
            MODEL_ID_KEY: self.model_id,
        }
        return {key: text for key, text in told.items() if text}


def publish_from(
    models: ModelCatalogue,
    name: str,
    origin: ModelOrigin,
    tags: Mapping[str, str],
    description: str,
    tracking_uri: str | None,
) -> VersionRef:
    """Publish the files, and write down the tags. Raises BlobNotFound for a snapshot or a parent that is not there.

    Tags `ambry.snapshot`, `ambry.definitions`, `ambry.code` and `ambry.parent` of the version or its run, and the run's
    metrics, parameters and commit, stand in the manifest, which never changes.
    """
    copied = _registered(models, origin.source)
    runs = mlflow.MlflowClient(tracking_uri=tracking_uri)
    if origin.model_id and not origin.run_id:
        origin = replace(origin, run_id=runs.get_logged_model(origin.model_id).source_run_id or "")
    run = runs.get_run(origin.run_id) if origin.run_id else None
    said: Mapping[str, str] = {} if run is None else run.data.tags
    commit = said.get("mlflow.source.git.commit", "")
    # A copy was made from what it copies, and not from what that was made from.
    own = {**said, **({} if copied else tags)}
    with scratch_directory("mlflow") as directory:
        made = publish_model(
            models.client,
            name,
            _files(models, copied, origin, directory, runs, tracking_uri),
            snapshot=own.get(f"{OURS}snapshot", ""),
            definitions=own.get(f"{OURS}definitions", ""),
            code=own.get(f"{OURS}code", "") or code_text(git=commit),
            parent=shown_version(copied) if copied else own.get(f"{OURS}parent", ""),
            metrics={} if run is None else {key: each for key, each in run.data.metrics.items() if math.isfinite(each)},
            params={**origin.params(), **({RUN_PARAMS_KEY: run.data.params} if run and run.data.params else {})},
            note=description,
        )
    if kept := {key: text for key, text in tags.items() if not key.startswith(OURS)}:
        change_notes(models.client, name, lambda before: replace(before, tags={**before.tags, **kept}), made.version)
    return made.place


def _registered(models: ModelCatalogue, source: str) -> VersionRef | None:
    """The version of this registry that models:/name/number is; None for anything else."""
    if not is_models_uri(source):
        return None
    said: Any = _parse_model_uri(source)
    return None if said.name is None or said.version is None else models.place(said.name, said.version)


def _files(
    models: ModelCatalogue,
    copied: VersionRef | None,
    origin: ModelOrigin,
    directory: Path,
    runs: Any,
    tracking_uri: str | None,
) -> Path:
    if origin.local_path:
        return Path(origin.local_path)
    if copied is not None:
        open_model(models.client, copied).download(directory)
        return directory
    downloaded = Path(
        mlflow.artifacts.download_artifacts(
            artifact_uri=_where(origin.source, runs), dst_path=str(directory), tracking_uri=tracking_uri
        )
    )
    if downloaded == directory or directory in downloaded.parents:
        (downloaded / _META_FILE).unlink(missing_ok=True)
    return downloaded


def _where(source: str, runs: Any) -> str:
    """What a server of MLflow serves itself, where it has that; anything else as it was said. Raises InvalidRequest.

    Its clients send it `mlflow-artifacts:/...` and models:/m-..., which it could only read by asking itself over HTTP.
    """
    destination = os.environ.get(_DESTINATION, "")
    if not destination:
        return source
    if is_models_uri(source):
        said: Any = _parse_model_uri(source)
        if said.model_id:
            source = runs.get_logged_model(said.model_id).artifact_location
    told = urlsplit(source)
    if told.scheme != "mlflow-artifacts":
        return source
    if not is_beneath(told.path):
        raise InvalidRequest(f"{source[:200]} does not lie beneath what the server serves")
    return f"{destination.rstrip('/')}/{posixpath.normpath(told.path.lstrip('/'))}"
