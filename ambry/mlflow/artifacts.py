"""The artifact repository of MLflow for `ambry://`: files as names, transfers in parts, URLs that go past the server."""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from mlflow.entities import FileInfo
from mlflow.entities.multipart_upload import (
    CreateMultipartUploadResponse,
    MultipartUploadCredential,
    MultipartUploadPart,
)
from mlflow.entities.presigned_download import PresignedDownloadUrlResponse
from mlflow.entities.presigned_upload import CreatePresignedUploadResponse
from mlflow.exceptions import MlflowException, _UnsupportedMultipartUploadException  # pyright: ignore[reportPrivateUsage]
from mlflow.protos.databricks_pb2 import NOT_IMPLEMENTED
from mlflow.store.artifact.artifact_repo import (
    ArtifactRepository,
    MultipartDownloadMixin,
    MultipartUploadMixin,
    PresignedUploadMixin,
)

from ambry.client.beside import LEFT_OUT, is_ours
from ambry.client.refs import NameRef, prefix_place
from ambry.client.sync.client import AmbryClient
from ambry.client.sync.upload_session import Upload
from ambry.client.tree_walk import walk_tree
from ambry.client.wire.uploads import PARTS_MAX
from ambry.errors import InvalidRequest, NotSupported, UploadNotFound

_NO_PATHS = ("", ".", "..")
URL_LIFE = timedelta(hours=12)
"""Of what the parts of an upload are sent to: MLflow asks for all of them at once."""


class AmbryArtifactRepository(ArtifactRepository, MultipartUploadMixin, MultipartDownloadMixin, PresignedUploadMixin):  # type: ignore[misc]
    """That of one `ambry://account/container/path`."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        self.client = AmbryClient.from_env()
        self._root = prefix_place(artifact_uri.rstrip("/"), account="default", container="default")

    # --- what is logged ---

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Store one file; a large one goes in parts, and goes on where it broke off."""
        file = Path(local_file)
        self.client.put_file(file, name=self._name(artifact_path, file.name))

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Store all files beneath a directory, several at a time.

        What transfers keep beside files, links to directories and what is no file are left out, with a warning. Raises OSError
        for a directory that cannot be listed.
        """
        root = Path(local_dir)
        files = []
        for file in sorted(walk_tree(root)):
            if is_ours(file.name):
                warnings.warn(f"{file}: {LEFT_OUT}", stacklevel=2)
            elif not file.is_file():
                warnings.warn(f"{file}: no file, and no link to one, so it is left out", stacklevel=2)
            else:
                files.append(file)

        def log(file: Path) -> None:
            self.client.put_file(file, name=self._name(artifact_path, file.relative_to(root).as_posix()))

        for _ in self.thread_pool.map(log, files):
            pass

    # --- what there is ---

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """What lies directly beneath a path; nothing beneath a file.

        A name with a part that is empty, `.` or `..` has no artifact path: it is left out, with a warning.
        """
        root = self._name(path).name
        prefix = f"{root}/" if root else ""
        found: list[Any] = []
        for entry in self.client.list(str(self._at(prefix)), delimiter="/"):
            if entry.name == prefix:
                continue
            name = entry.name.removesuffix("/") if entry.is_prefix else entry.name
            if name.removeprefix(prefix) in _NO_PATHS:
                warnings.warn(f"{entry.ref} is left out: no artifact path leads there", stacklevel=2)
            else:
                found.append(FileInfo(self._path(name), entry.is_prefix, entry.size))
        return found

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        self.client.get_file(self._name(remote_file_path), local_path, overwrite=True)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Delete a file, or all that is beneath a directory."""
        for result in self.client.delete_many(self._beneath(artifact_path)):
            if result.error is not None:
                raise result.error

    def _beneath(self, path: str | None) -> Iterator[NameRef]:
        name = self._name(path)
        if name.name and self.client.exists(name):
            yield name
        prefix = f"{name.name}/" if name.name else ""
        for entry in self.client.list(str(self._at(prefix))):
            yield self._at(entry.name)

    # --- past MLflow's server ---

    def create_multipart_upload(
        self, local_file: str, num_parts: int = 1, artifact_path: str | None = None
    ) -> CreateMultipartUploadResponse:
        """Begin an upload whose parts a client sends to the store itself, by URLs that need no key."""
        if not 1 <= num_parts <= PARTS_MAX:
            raise InvalidRequest(f"an upload has 1 to {PARTS_MAX} parts, not {num_parts}")
        with (
            _where_urls_are_signed(),
            self.client.start_upload(name=self._name(artifact_path, Path(local_file).name)) as upload,
        ):
            numbers = range(1, num_parts + 1)
            urls = self.thread_pool.map(partial(upload.presign_part, expires=URL_LIFE), numbers)
            credentials = [
                MultipartUploadCredential(url, number, {}) for number, url in zip(numbers, urls, strict=True)
            ]
        return CreateMultipartUploadResponse(upload_id=upload.id, credentials=credentials)

    def complete_multipart_upload(
        self,
        local_file: str,
        upload_id: str,
        parts: list[MultipartUploadPart],
        artifact_path: str | None = None,
    ) -> None:
        """Make the artifact of what arrived, which must be the parts that the client has sent."""
        upload = self._upload(local_file, upload_id, artifact_path)
        wanted = {each.part_number for each in parts}
        upload.complete([each for each in upload.parts() if each.part in wanted])

    def abort_multipart_upload(self, local_file: str, upload_id: str, artifact_path: str | None = None) -> None:
        """Nothing of it stays."""
        self._upload(local_file, upload_id, artifact_path).abort()

    def _upload(self, local_file: str, upload_id: str, artifact_path: str | None) -> Upload:
        """Raises UploadNotFound for one that did not begin for this artifact: it is somebody else's."""
        name = self._name(artifact_path, Path(local_file).name)
        upload = self.client.resume_upload(upload_id)
        if upload.naming is None or upload.naming.place != name:
            raise UploadNotFound(f"{name} has no upload {upload_id}")
        return upload

    def get_download_presigned_url(self, artifact_path: str, expiration: int = 300) -> PresignedDownloadUrlResponse:
        """A URL that reads an artifact from the store itself, for so many seconds."""
        name = self._name(artifact_path)
        size = self.client.head(name).size
        with _where_urls_are_signed():
            url = self.client.presign("GET", name, expires=timedelta(seconds=expiration))
        return PresignedDownloadUrlResponse(url=url, headers={}, file_size=size)

    def create_presigned_upload_url(self, artifact_path: str, expiration: int = 300) -> CreatePresignedUploadResponse:
        """A URL that takes an artifact, for so many seconds."""
        with _where_urls_are_signed():
            url = self.client.presign("PUT", self._name(artifact_path), expires=timedelta(seconds=expiration))
        return CreatePresignedUploadResponse(presigned_url=url, headers={})

    # --- names ---

    def _name(self, *paths: str | None) -> NameRef:
        """The name of a path beneath ours. Raises InvalidRequest for one that is not."""
        beneath = posixpath.normpath("/".join(each.strip("/") for each in paths if each) or ".")
        if beneath == ".." or beneath.startswith("../"):
            raise InvalidRequest(f"the artifact path {beneath!r} is not beneath {self.artifact_uri}")
        parts = [each for each in (self._root.name, beneath) if each not in ("", ".")]
        return self._at("/".join(parts))

    def _at(self, name: str) -> NameRef:
        return NameRef(name, self._root.account, self._root.container)

    def _path(self, name: str) -> str:
        """The path of a name, as MLflow has it."""
        return name.removeprefix(self._root.name).strip("/")


@contextmanager
def _where_urls_are_signed() -> Generator[None]:
    """MLflow sends the bytes itself where it hears that there are no URLs: as in a cluster that asks for no keys."""
    try:
        yield
    except NotSupported as none:
        # Its client knows by the beginning of the message that it is to send the bytes to the server.
        message = f"{_UnsupportedMultipartUploadException.MESSAGE}: {none.message}"
        raise MlflowException(message, error_code=NOT_IMPLEMENTED) from none
