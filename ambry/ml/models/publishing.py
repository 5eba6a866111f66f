"""Models become versions of a dataset: parts first, the manifest last, so that a model is there whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, SupportsFloat, TypedDict, Unpack

from ambry.client.datasets import DatasetInfo
from ambry.client.locked_parts import naming
from ambry.client.model import BlobInfo
from ambry.client.refs import LATEST, SCHEME, VersionRef
from ambry.client.scratch import scratch_directory
from ambry.client.sync.client import AmbryClient
from ambry.errors import MALFORMED, AlreadyExists, BlobNotFound, InvalidRequest, UpdateConflict
from ambry.ids import BlobId
from ambry.ml.datasets import dataset_for, dataset_there
from ambry.ml.digests import digest_key, infos_of, numbered
from ambry.ml.features.metadata import FeatureNotDefined
from ambry.ml.features.publishing import load
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.models.fitted_inputs import check_inputs
from ambry.ml.models.inputs import INPUTS, summary_of_snapshot
from ambry.ml.models.manifest import CONTENT_TYPE, PARTS_MAX, ModelManifest, check_new_paths, check_path, check_said
from ambry.ml.models.parts import files_of, store_part
from ambry.ml.models.reading import trust_needed
from ambry.ml.models.saving import check_whole, save
from ambry.ml.models.tensor_names import check_tensor_names
from ambry.ml.places import Place, SettledVersion, dataset_text, in_dataset, shown_version, version_of
from ambry.rest.versions import numbers_of, text_of

SCHEMA = "SEMANTIC"
KIND = "model"
"""Of its dataset."""
KIND_KEY = "model-kind"
DIGEST_KEY = digest_key(KIND)
"""In the metadata of a version."""
FIRST_VERSION = "1.0.0"
_TRIES_MAX = 5
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")
"""How definitions begin that are no dataset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """A version of a model that was made."""

    place: VersionRef
    id: BlobId
    manifest: ModelManifest
    is_new: bool = field(default=True, compare=False)
    """False for a version that was there before (`once`)."""
    same_as: str = field(default="", compare=False)
    """The number of the version before it, where that is this very model: `once` gives that one, and makes none."""
    needs_trust: str = field(default="", compare=False)
    """Why it is loaded with `trust=True` alone; empty where it needs none, or where nothing here can tell."""

    @property
    def version(self) -> str:
        return self.place.version

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest."""
        return self.manifest.digest

    def __str__(self) -> str:
        return shown_version(self.place)


class SaidOfModel(TypedDict, total=False):
    """What is said of a model that is published, as `publish_model` and `prepare_model` take it."""

    kind: str | None
    framework: Mapping[str, str] | None
    features: Iterable[FeatureUrn | str]
    definitions: Place
    snapshot: Place
    code: str
    metrics: Mapping[str, SupportsFloat] | None
    params: Mapping[str, Any] | None
    parent: Place
    note: str


def publish_model(
    client: AmbryClient,
    dataset: str,
    model: Any,
    *,
    version: str | None = None,
    once: bool = False,
    **said: Unpack[SaidOfModel],
) -> PublishedModel:
    """Publish a model as the next version of a dataset, which is made where there is none; durable on return.

    `model` is a file, a directory, {path: file or bytes}, or what saving.py can write: arrays or a state_dict as safetensors,
    an estimator of scikit-learn by skops, an ONNX model, an Arrow table, a PhotonModel. `kind` is what files are, where
    their names do not tell. `version` is a number, or the part that rises (MAJOR, MINOR, PATCH); without it MINOR.
    Of a snapshot that has all `features` a summary is written down too (inputs.py), which serving compares its inputs with,
    unless `params` have `inputs`: `{"inputs": None}` is for none.
    `snapshot`, `parent` and `definitions` are looked up now and written down with their numbers: a model says what it was
    made from for ever. A SettledVersion (places.py), looked up before what took long, is written down also where it is gone
    since. All `features` have to be in the definitions; such as live elsewhere say it, as
    `wheel:feed-features==1.2.0`.

    Parts that a version of the dataset had before are not stored again. With `once` a version that is this very model, made
    from the same and said to be the same, is given as it is, and no other one made: whoever runs again, or at the same time,
    gets the same version.

    Raises BlobNotFound for what it names and is not there, InvalidRequest, AlreadyExists for a number that was given.
    """
    prepared = _prepared(client, dataset, model, **said)
    made = (
        publish_once(client, dataset, prepared.manifest, version)
        if once
        else _put(client, in_dataset(dataset), prepared.manifest, version, prepared.dataset)
    )
    return replace(made, needs_trust=prepared.needs_trust)


def prepare_model(client: AmbryClient, dataset: str, model: Any, **said: Unpack[SaidOfModel]) -> ModelManifest:
    """Store the parts of a model, as `publish_model` takes it, and give its manifest: nobody sees it before it is published.

    Parts are durable on return. Raises as `publish_model` does.
    """
    return _prepared(client, dataset, model, **said).manifest


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A model whose parts are stored."""

    manifest: ModelManifest
    needs_trust: str
    dataset: DatasetInfo | None
    """None where there was none yet."""


def _prepared(
    client: AmbryClient,
    dataset: str,
    model: Any,
    *,
    kind: str | None = None,
    framework: Mapping[str, str] | None = None,
    features: Iterable[FeatureUrn | str] = (),
    definitions: Place = "",
    snapshot: Place = "",
    code: str = "",
    metrics: Mapping[str, SupportsFloat] | None = None,
    params: Mapping[str, Any] | None = None,
    parent: Place = "",
    note: str = "",
) -> _Prepared:
    place = in_dataset(dataset)
    there = dataset_there(client, dataset, KIND)  # Refused before anything is stored for it.
    urns = tuple(str(FeatureUrn.parse(str(urn))) for urn in features)
    named = {
        name: shown_version(numbered(client, said)) if said else ""
        for name, said in (("snapshot", snapshot), ("parent", parent))
    }
    named["definitions"] = found_definitions(client, definitions, urns)
    check_inputs(model, urns)
    with scratch_directory("model") as made:
        files, found_kind, made_with = _files(model, made, kind)
        # Before anything is stored: what is refused leaves nothing behind.
        numbers, values = _plain(metrics or {}), _plain(params or {})
        if INPUTS not in values and urns and named["snapshot"]:
            definitions = named["definitions"] if not is_elsewhere(named["definitions"]) else ""
            summary = summary_of_snapshot(client, named["snapshot"], urns, definitions)
            values |= {} if summary is None else {INPUTS: summary}
        check_said(found_kind, numbers, values)
        check_new_paths(files)
        if found_kind == "safetensors":
            check_tensor_names(files)
        if len(files) > PARTS_MAX:
            raise InvalidRequest(
                f"a model has at most {PARTS_MAX} parts, and this one {len(files)} files; pack some of them"
            )
        needs_trust = trust_needed(found_kind, files)
        parts = tuple(store_part(client, place, path, file) for path, file in sorted(files.items()))
    manifest = ModelManifest(
        kind=found_kind,
        parts=parts,
        framework={**made_with, **(framework or {})},
        features=urns,
        code=code,
        metrics=numbers,
        params=values,
        note=note,
        **named,
    )
    return _Prepared(manifest, needs_trust, there)


def publish_manifest(
    client: AmbryClient, dataset: str, manifest: ModelManifest, version: str | None = None
) -> PublishedModel:
    """Let a model whose parts are stored be the next version of a dataset, made where there is none; durable on return.

    Raises AlreadyExists for a number that was given.
    """
    return _put(client, in_dataset(dataset), manifest, version)


def publish_once(
    client: AmbryClient, dataset: str, manifest: ModelManifest, version: str | None = None
) -> PublishedModel:
    """As `publish_manifest`, where no version is this very manifest; or else that version.

    Of those who publish it at the same time one makes the version, unless `version` is the part that rises, or the dataset is
    of another schema. Raises AlreadyExists for a number that another model has.
    """
    place = in_dataset(dataset)
    for _ in range(_TRIES_MAX):
        if (there := published_before(client, dataset, manifest)) is not None:
            return there
        found = dataset_for(client, dataset_text(place), SCHEMA, KIND)
        try:
            # The number and not `MINOR`: what others publish meanwhile may be the same.
            return _put(client, place, manifest, version or _next_number(found, _newest(client, place)), found)
        except (AlreadyExists, UpdateConflict):
            if version is not None and published_before(client, dataset, manifest) is None:
                raise
    return publish_manifest(client, dataset, manifest, version)  # Others publish all the time, or numbers are spent.


def published_before(client: AmbryClient, dataset: str, manifest: ModelManifest) -> PublishedModel | None:
    """The first version of a dataset that is this very manifest; None where none is.

    A list of the versions, and one request for what a thousand of its size say.
    """
    place, size = in_dataset(dataset), len(manifest.encode())
    with suppress(BlobNotFound):
        alike = [entry for entry in client.versions(dataset_text(place)) if entry.size == size]
        for entry, info in infos_of(client, alike):
            if info.metadata.get(DIGEST_KEY) == manifest.digest:
                exact = replace(place, version=entry.version)
                return PublishedModel(place=exact, id=entry.id, manifest=manifest, is_new=False, same_as=exact.version)
    return None


def _plain(said: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it again: numbers and arrays of numpy as Python's, tuples as lists. Raises InvalidRequest."""
    found: dict[str, Any] = {}
    for name, value in said.items():
        try:
            found[str(name)] = json.loads(json.dumps(value, default=_of_numpy))
        except MALFORMED as error:
            raise InvalidRequest(f"{name!r} cannot be written down with the model: {error}") from None
    return found


def _of_numpy(value: Any) -> Any:
    """Raises TypeError for what is not of numpy."""
    if not hasattr(value, "tolist"):
        raise TypeError(f"{type(value).__name__} is nothing that JSON has")
    return value.tolist()


def _files(model: Any, directory: Path, kind: str | None) -> tuple[Mapping[str, Path | bytes], str, dict[str, str]]:
    """What is stored, of which kind it is, and what it was made with."""
    if isinstance(model, str | Path):
        files = files_of(Path(model))
        found = kind or kind_of(files)
        if found == "photon" and Path(model).is_dir():
            check_whole(Path(model))
        return files, found, {}
    if isinstance(model, Mapping) and model and all(isinstance(file, Path | bytes) for file in model.values()):
        files = files_of({check_path(path): file for path, file in model.items()})
        return files, kind or kind_of(files), {}
    with naming(directory):
        saved = save(model, directory, kind)
    return files_of(directory), saved.kind, dict(saved.framework)


def kind_of(files: Iterable[str]) -> str:
    """What files are by their names."""
    names = list(files)
    if "MLmodel" in names:
        return "mlflow"
    if any(name.startswith(("fixed-effect/", "random-effect/")) and name.endswith("/id-info") for name in names):
        return "photon"
    ends = {name.rpartition(".")[2].lower() for name in names if not name.endswith((".json", ".txt", ".md"))}
    known = {
        "safetensors": "safetensors",
        "onnx": "onnx",
        "skops": "sklearn",
        "arrow": "arrow",
        "avro": "avro",
        "pkl": "pickle",
        "pickle": "pickle",
        "joblib": "pickle",
    }
    return known.get(ends.pop(), "files") if len(ends) == 1 else "files"


def _put(
    client: AmbryClient,
    place: VersionRef,
    manifest: ModelManifest,
    version: str | None,
    there: DatasetInfo | None = None,
) -> PublishedModel:
    """`there` is the dataset, where it was looked up already: its schema never changes."""
    dataset = dataset_text(place)
    found = there or dataset_for(client, dataset, SCHEMA, KIND)
    newest = _newest(client, place)
    asked = version or _next(found, newest)
    document = manifest.encode()
    told = {KIND_KEY: manifest.kind, DIGEST_KEY: manifest.digest}

    def put(number: str) -> BlobInfo:
        return client.put_version(
            dataset, document, number, content_type=CONTENT_TYPE, metadata=told, filename="model.json"
        )

    try:
        info = put(asked)
    except (AlreadyExists, UpdateConflict):
        if version is not None:
            raise
        # Somebody else published in this moment, perhaps the first one.
        info = put(asked if asked == LATEST else "MINOR")
    except BlobNotFound:
        if there is None:
            raise
        return _put(client, place, manifest, version)  # The dataset was deleted since it was looked up.
    same = newest is not None and newest.metadata.get(DIGEST_KEY) == manifest.digest
    return PublishedModel(
        place=replace(place, version=info.version),
        id=info.id,
        manifest=manifest,
        same_as=newest.version if newest is not None and same else "",
    )


def _newest(client: AmbryClient, place: VersionRef) -> BlobInfo | None:
    with suppress(BlobNotFound):
        return client.head(replace(place, version=LATEST))
    return None


def _next(found: DatasetInfo, newest: BlobInfo | None) -> str:
    """Which version comes next where nobody says: the first, the next middle part, or the next number of another schema."""
    if not found.schema.startswith(SCHEMA):
        return LATEST
    return "MINOR" if newest is not None or found.schema != SCHEMA else FIRST_VERSION


def _next_number(found: DatasetInfo, newest: BlobInfo | None) -> str:
    """The number that `_next` comes to now, where the schema has parts that rise."""
    following = _next(found, newest)
    if following != "MINOR" or newest is None:
        return following
    major, minor, *rest = numbers_of(newest.version)
    return text_of((major, minor + 1, *(0 for _ in rest)))


def found_definitions(client: AmbryClient, said: Place, urns: Iterable[str]) -> str:
    """The version of the definitions with its number, if all features are in it; what lives elsewhere as it is said.

    A SettledVersion is not looked up. Raises BlobNotFound, InvalidRequest.
    """
    if isinstance(said, SettledVersion):
        return shown_version(said.place)
    if isinstance(said, str) and (not said or is_elsewhere(said)):
        return said
    try:
        found = load(client, said)
        for urn in urns:
            found.metadata.feature(urn)
    except BlobNotFound as error:
        shown = said if isinstance(said, str) else shown_version(version_of(said))
        error.message = (
            f"the definitions {shown} are not there ({error.message}); publish them first, or say where they live, such as "
            "wheel:feed-features==1.2.0"
        )
        raise
    except FeatureNotDefined as error:
        raise InvalidRequest(f"definitions {found.place}: {error.message}") from error
    return found.place


def is_elsewhere(definitions: str) -> bool:
    """Whether a manifest says that its definitions are no dataset, as `wheel:feed-features==1.2.0`."""
    return _ELSEWHERE.match(definitions) is not None and not definitions.startswith(SCHEME)
