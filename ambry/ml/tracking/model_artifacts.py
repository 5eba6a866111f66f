"""The files of a published model as MLflow reads artifacts: ambry+model://<account>/<container>/<dataset>@<version>."""

from __future__ import annotations

import posixpath
import shutil
from pathlib import Path
from typing import Any

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from ambry.client.refs import SCHEME, NameRef
from ambry.client.sync.client import AmbryClient
from ambry.ml.models.loading import StoredModel, open_model

MODEL_SCHEME = "ambry+model://"


def model_uri(model: StoredModel, account: str, container: str) -> str:
    """Where MLflow finds the files of a version, by its number: they never change."""
    place = NameRef(model.place.dataset, model.place.account or account, model.place.container or container)
    return f"{MODEL_SCHEME}{str(place).removeprefix(SCHEME)}@{model.version}"


class AmbryModelRepository(ArtifactRepository):  # type: ignore[misc]
    """The parts of one version, out of the cache. What is published does not change, so nothing can be logged into it."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        self.client = AmbryClient.from_env()
        self.model = open_model(self.client, SCHEME + artifact_uri.removeprefix(MODEL_SCHEME))

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """What lies directly beneath a path; nothing beneath a file."""
        root = "" if path is None else posixpath.normpath(path).strip("/")
        prefix = f"{root}/" if root not in ("", ".") else ""
        found: dict[str, Any] = {}
        for part in self.model.manifest.parts:
            if not part.path.startswith(prefix):
                continue
            first, deeper, _ = part.path.removeprefix(prefix).partition("/")
            found[first] = FileInfo(prefix + first, bool(deeper), None if deeper else part.size)
        return [found[name] for name in sorted(found)]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        # A file of its own: its reader may write, and the cache is not to be written.
        part = self.model.path(posixpath.normpath(remote_file_path), verify=True)
        shutil.copyfile(part, Path(local_path))

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        raise MlflowException(f"{self.model} never changes; publish another version", INVALID_PARAMETER_VALUE)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        raise MlflowException(f"{self.model} never changes; publish another version", INVALID_PARAMETER_VALUE)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        raise MlflowException(
            f"{self.model} never changes; delete the version (MlflowClient.delete_model_version)",
            INVALID_PARAMETER_VALUE,
        )
