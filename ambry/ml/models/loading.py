"""Models come out of the cache: the manifest by its version, alias or digest, each part by its digest, and no code unasked.

What was loaded once costs one small request to see where an alias points, and none for an exact version while the client is
offline.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ambry.client.refs import PinnedName, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import AmbryError, ChecksumMismatch, DataCorrupt, InvalidRequest, TooLarge
from ambry.ids import BlobId
from ambry.ml.digests import check_digest, located
from ambry.ml.from_cache import copy_to, held_directory, link_to, used_at_once
from ambry.ml.models.manifest import MANIFEST_SIZE_MAX, ModelManifest, ModelPart, parse_manifest
from ambry.ml.models.parts import digest_of, part_name
from ambry.ml.models.placing import download_parts
from ambry.ml.models.reading import LOADERS, READS_NO_LINKS
from ambry.ml.places import Place, shown_version


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

    def path(self, part: str | None = None, *, verify: bool = False) -> Path:
        """The file of a part in the cache, which is not to be written; of the only part where none is named.

        With `verify` its bytes are read once more, and fetched again if they changed on this machine. Raises InvalidRequest,
        ChecksumMismatch where its bytes are not those that the manifest says, and what a get raises.
        """
        return self._used(self._part(part), lambda _: None, verify=verify)

    @contextmanager
    def directory(self, *, links: bool = True, verify: bool = False) -> Generator[Path]:
        """All parts under their own paths, for libraries that load a directory; it is gone afterwards, the cache is not.

        They are links to files of the cache, or copies for libraries that write where they load; `verify` as for `path`. They
        stay when the cache needs their room, and a part that does not fit into the cache is fetched beside the others.
        """
        with held_directory(self.client, "model") as made:
            for part in self.manifest.parts:
                target = made / part.path
                target.parent.mkdir(parents=True, exist_ok=True)
                place = partial(link_to if links else copy_to, target)
                try:
                    self._used(part, place, verify=verify)
                except TooLarge:
                    self._fetch(part, target)
            yield made

    def download(self, directory: Path) -> list[Path]:
        """All parts as files of one's own below a directory, which is made. A file that is there and has the bytes of its part
        stays, so that what was interrupted is gone on with.

        Nothing is fetched where something else stands in the place of a part or of a directory (FileExistsError), or where
        nothing may be written (PermissionError). What gathers lies in `.ambry-<SHA-256>` in that directory; all get their own
        names when the last one was compared (ChecksumMismatch): a part of a model may read as a smaller whole one. Another
        download into the same directory may go on at once, and waits while `.ambry-lock` is locked; of another version that
        has other bytes for a file, one of the two is refused, and leaves nothing. What interrupted downloads left in the
        directory goes with the next one that ends well.
        """
        return download_parts(self.manifest, directory, self._fetch)

    def _fetch(self, part: ModelPart, file: Path) -> None:
        """Raises ChecksumMismatch, and what a get raises."""
        self.client.get_file(self.ref(part), file, overwrite=True)
        with suppress(FileNotFoundError):  # Another download gave it its name.
            found = digest_of(file)
            if (found.size, found.sha256) != (part.size, part.sha256):
                file.unlink(missing_ok=True)
                raise self._differs(part, f"has {found.size} bytes with the SHA-256 {found.sha256}")

    def load(self, *, framework: str = "numpy", trust: bool = False) -> Any:
        """The model in memory: tensors by name (safetensors, as `framework` has them), a session of onnxruntime, an estimator,
        an Arrow table, records of Avro, a pyfunc of MLflow.

        What may run code when it is read (pickles, joblib, MLflow's cloudpickle, estimators with types that skops does not
        know) is read with `trust=True` alone: say it for models whose makers you would let run a program on this machine.

        Raises InvalidRequest without it, DataCorrupt for files that the library cannot read, ModuleNotFoundError that names
        what to install.
        """
        loader = LOADERS.get(self.manifest.kind)
        if loader is None:
            raise InvalidRequest(
                f"{self} is of the kind {self.manifest.kind!r}, which is files alone; path() and directory() give them"
            )
        with self.directory(links=self.manifest.kind not in READS_NO_LINKS, verify=True) as directory:
            try:
                return loader(directory, self.manifest, framework, trust)
            except InvalidRequest as error:
                error.message = f"{self}: {error.message}"
                raise
            except (AmbryError, ModuleNotFoundError):
                raise
            except MemoryError as error:
                raise DataCorrupt(
                    f"{self} asks for more memory than there is ({str(error) or 'MemoryError'}); either its files say that "
                    "they are larger than they are, or it takes a larger machine"
                ) from error
            except Exception as error:
                # Of whatever kind: what reads the files is not ours, and has errors of its own.
                made_with = ", ".join(f"{name} {number}" for name, number in sorted(self.manifest.framework.items()))
                raise DataCorrupt(
                    f"{self} cannot be read as {self.manifest.kind}: {type(error).__name__}: {error}"
                    + (f"; it was made with {made_with}" if made_with else "")
                ) from error

    def _part(self, path: str | None) -> ModelPart:
        if path is not None:
            return self.manifest.part(path)
        if len(self.manifest.parts) > 1:
            raise InvalidRequest(f"{self} has {len(self.manifest.parts)} parts; name one, or take directory()")
        return self.manifest.parts[0]

    def _used(self, part: ModelPart, use: Callable[[Path], Any], *, verify: bool) -> Path:
        """The file of a part in the cache, of which `use` was made. Its SHA-256 is compared when it comes.

        Raises ChecksumMismatch, and TooLarge as `used_at_once` does.
        """

        def used(path: Path) -> tuple[Path, int]:
            size = path.stat().st_size  # Before a link is made: a file that goes behind that is not to be linked again.
            use(path)
            return path, size

        try:
            path, size = used_at_once(self.client, self.ref(part), used, verify=verify, sha256=part.sha256)
        except ChecksumMismatch as error:
            raise self._differs(part, f"is not it: {error.message}") from error
        if size != part.size:
            raise self._differs(part, f"has {size} bytes")
        return path

    def _differs(self, part: ModelPart, what: str) -> ChecksumMismatch:
        return ChecksumMismatch(
            f"{self}: the part {part.path!r} has {part.size} bytes with the SHA-256 {part.sha256}; its blob {part.id} {what}"
            ". Do not use this version; publish the model again"
        )

    def ref(self, part: ModelPart) -> PinnedName:
        """The blob of a part, for reads of one's own: a range of it is not compared with its SHA-256."""
        name = part_name(self.place, part.sha256)
        return PinnedName(name.name, name.account, name.container, blob=part.id)


def open_model(client: AmbryClient, place: Place, *, digest: str | None = None) -> StoredModel:
    """A model by its version (`fraud@1.2.0`), its alias (`fraud@champion`), its digest (`fraud@sha256:...`, of the manifest) or
    the newest (`fraud`), or one that was published.

    With `digest` it is the version that has it; where a version or an alias is said too, that one or none. Raises BlobNotFound,
    ChecksumMismatch, InvalidRequest for a version that is no model.
    """
    wanted = located(client, place, digest)
    info = client.head(wanted)
    if info.size > MANIFEST_SIZE_MAX:
        raise InvalidRequest(
            f"{shown_version(wanted)} has {info.size} bytes, and so is no model: a manifest has at most {MANIFEST_SIZE_MAX}"
        )
    exact = replace(wanted, version=info.version)
    try:
        manifest = parse_manifest(used_at_once(client, exact, Path.read_bytes))
    except InvalidRequest as error:
        error.message = f"{shown_version(exact)}: {error.message}"
        raise
    check_digest(exact, manifest.digest, place, digest)
    return StoredModel(client, exact, info.id, manifest)
