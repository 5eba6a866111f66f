"""Models come out of the cache: the manifest by its version, alias or digest, each part by its digest, and no code unasked.

What was loaded once costs one small request to see where an alias points, and none for an exact version while the client is
offline.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ambry.client.refs import PinnedName, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import ChecksumMismatch, InvalidRequest
from ambry.ids import BlobId
from ambry.ml.models.manifest import MANIFEST_SIZE_MAX, ModelManifest, ModelPart, parse_manifest
from ambry.ml.models.parts import part_name
from ambry.ml.models.reading import LOADERS
from ambry.ml.places import shown_version, version_of


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A version of a model in the store. Its parts are fetched when they are asked for."""

    client: AmbryClient
    place: VersionRef
    """With its number, whatever it was asked for by."""
    id: BlobId
    manifest: ModelManifest

    @property
    def version(self) -> str:
        return self.place.version

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest."""
        return self.manifest.digest

    def __str__(self) -> str:
        return shown_version(self.place)

    def path(self, part: str | None = None) -> Path:
        """The file of a part in the cache, which is not to be written; of the only part where none is named.

        Raises InvalidRequest, and what a get raises.
        """
        return self.client.cached_path(self._ref(self._part(part)))

    @contextmanager
    def directory(self) -> Generator[Path]:
        """All parts under their own paths, for libraries that load a directory; it is gone afterwards, the cache is not."""
        made = Path(tempfile.mkdtemp(prefix="ambry-model-"))
        try:
            for part in self.manifest.parts:
                target = made / part.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(self.client.cached_path(self._ref(part)))
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def download(self, directory: Path) -> list[Path]:
        """All parts as files of one's own below a directory, which is made. Raises FileExistsError for one that is there."""
        paths = []
        for part in self.manifest.parts:
            target = directory / part.path
            target.parent.mkdir(parents=True, exist_ok=True)
            self.client.get_file(self._ref(part), target)
            paths.append(target)
        return paths

    def load(self, *, framework: str = "numpy", trust: bool = False) -> Any:
        """The model in memory: tensors by name (safetensors, as `framework` has them), a session of onnxruntime, an estimator,
        an Arrow table, records of Avro, a pyfunc of MLflow.

        What may run code when it is read (pickles, joblib, MLflow's cloudpickle, estimators with types that skops does not
        know) is read with `trust=True` alone: say it for models whose makers you would let run a program on this machine.

        Raises InvalidRequest without it, ModuleNotFoundError that names what to install.
        """
        loader = LOADERS.get(self.manifest.kind)
        if loader is None:
            raise InvalidRequest(
                f"{self} is of the kind {self.manifest.kind!r}, which is files alone; path() and directory() give them"
            )
        with self.directory() as directory:
            return loader(directory, self.manifest, framework, trust)

    def _part(self, path: str | None) -> ModelPart:
        if path is not None:
            return self.manifest.part(path)
        if len(self.manifest.parts) > 1:
            raise InvalidRequest(f"{self} has {len(self.manifest.parts)} parts; name one, or take directory()")
        return self.manifest.parts[0]

    def _ref(self, part: ModelPart) -> PinnedName:
        name = part_name(self.place, part.sha256)
        return PinnedName(name.name, name.account, name.container, blob=part.id)


def open_model(client: AmbryClient, place: VersionRef | str, *, digest: str | None = None) -> StoredModel:
    """A model by its version (`fraud@1.2.0`), its alias (`fraud@champion`) or the newest (`fraud`).

    With `digest` (of the manifest, SHA-256) it is that one or none. Raises BlobNotFound, ChecksumMismatch, DataCorrupt for a
    version that is no model.
    """
    place = version_of(place)
    info = client.head(place)
    if info.size > MANIFEST_SIZE_MAX:
        raise InvalidRequest(
            f"{place} has {info.size} bytes, and so is no model: a manifest has at most {MANIFEST_SIZE_MAX}"
        )
    exact = replace(place, version=info.version)
    manifest = parse_manifest(client.cached_path(exact).read_bytes())
    if digest is not None and digest.lower() != manifest.digest:
        raise ChecksumMismatch(f"{place} has the digest {manifest.digest}, and {digest} was asked for")
    return StoredModel(client, exact, info.id, manifest)
