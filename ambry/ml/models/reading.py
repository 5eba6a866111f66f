"""Files of models into memory, by kind. Nothing that carries code is read without `trust`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

from ambry.client.scratch import scratch_directory
from ambry.errors import InvalidRequest
from ambry.ml.avro_reading import read_avro
from ambry.ml.extras import needed
from ambry.ml.models.manifest import ModelManifest
from ambry.ml.models.skops_package import check_package
from ambry.ml.models.tensor_names import check_tensor_names
from ambry.tensors.frameworks import framework_of

Loader = Callable[[Path, ModelManifest, str, bool], Any]

_HARMLESS = (
    ".skops",
    ".onnx",
    ".safetensors",
    ".json",
    ".yaml",
    ".yml",
    ".txt",
    ".md",
    ".ubj",
    ".arrow",
    ".parquet",
    ".csv",
)
"""What MLflow's flavours read without running any of it; skops' types are asked for besides."""


def _safetensors(directory: Path, manifest: ModelManifest, framework: str, trust: bool) -> Any:
    """All tensors of all its files, mapped out of the cache where the framework can."""
    named = framework_of(framework)
    module = needed(f"safetensors.{'flax' if named == 'jax' else named}")
    found: dict[str, Any] = {}
    parts = _ending(manifest, ".safetensors")
    check_tensor_names({part: directory / part for part in parts})
    for part in parts:
        found |= module.load_file(directory / part)
    return found


def _onnx(directory: Path, manifest: ModelManifest, framework: str, trust: bool) -> Any:
    """Data that lie outside of the file are looked for beside it, where the links to the other parts are."""
    onnxruntime = needed("onnxruntime")
    return onnxruntime.InferenceSession(str(directory / _one(manifest, ".onnx")), providers=["CPUExecutionProvider"])


def trust_needed(kind: str, files: Mapping[str, Path | bytes]) -> str:
    """Why files of a kind are loaded with trust alone; empty where they need none, or where only a library could tell that is
    not installed."""
    try:
        if kind == "pickle":
            return "a pickle runs code when it is read"
        if kind == "mlflow" and (why := _runs_code(files)):
            return f"this model of MLflow may run code when it is read ({why})"
        strange = [each for path, file in files.items() if path.endswith(".skops") for each in _strange_types(file)]
    except ModuleNotFoundError:
        return ""
    except Exception as error:
        # Of whatever kind: these are anybody's files, and what reads them is not ours. Who loads them is told.
        return f"its files cannot be read as {kind}: {type(error).__name__}: {error}"
    return f"the estimator has types that skops does not know: {', '.join(strange)}" if strange else ""


def _strange_types(file: Path | bytes) -> list[str]:
    """Raises InvalidRequest, and what zipfile and skops raise, for what is no package of skops."""
    if isinstance(file, bytes):
        with scratch_directory("model") as made:
            path = made / "estimator.skops"
            path.write_bytes(file)
            return _strange_types(path)
    check_package(file)
    found: list[str] = needed("skops.io").get_untrusted_types(file=file)
    return found


def _runs_code(files: Mapping[str, Path | bytes]) -> str:
    """What of a model of MLflow may run code; empty where it is known that nothing does."""
    said = files.get("MLmodel", b"")
    unsafe = _unsafe_flavour(said if isinstance(said, bytes) else said.read_bytes(), files.keys())
    strange = [path for path in files if path != "MLmodel" and not path.endswith(_HARMLESS)]
    return unsafe or (f"the files {', '.join(strange[:3])}" if strange else "")


def _sklearn(directory: Path, manifest: ModelManifest, framework: str, trust: bool) -> Any:
    path = directory / _one(manifest, ".skops")
    return needed("skops.io").load(path, trusted=_known_types(path, trust))


def _known_types(path: Path, trust: bool) -> list[str]:
    """The types of an estimator that skops does not know by itself. Raises InvalidRequest for any, without trust."""
    strange = _strange_types(path)
    if strange and not trust:
        raise InvalidRequest(
            f"the estimator has types that skops does not know: {', '.join(strange)}; say trust=True if you trust who made it"
        )
    return strange


def _arrow(directory: Path, manifest: ModelManifest, framework: str, trust: bool) -> Any:
    pa = needed("pyarrow")
    table = pa.ipc.open_file(pa.memory_map(str((directory / _one(manifest, ".arrow")).resolve()))).read_all()
    table.validate(full=True)  # Offsets that lie would be read through otherwise, into whatever lies there.
    return table


def _avro(directory: Path, manifest: ModelManifest, framework: str, trust: bool) -> Any:
    """The records of all its files."""
    records: list[Any] = []
    for part in _ending(manifest, ".avro"):
        with (directory / part).open("rb") as file:
            records.extend(read_avro(file, gathered=True).records)
    return records


def _photon(directory: Path, manifest: ModelManifest, framework: str, trust: bool) -> Any:
    """All effects in memory; photon.open_scorer reads the entities that are asked for."""
    from ambry.ml.photon.layout import read_model

    return read_model(directory)


def _mlflow(directory: Path, manifest: ModelManifest, framework: str, trust: bool) -> Any:
    """MLflow decides by MLmodel which of its flavours reads the files, and that file is its maker's too."""
    if not trust and (why := _runs_code({part.path: directory / part.path for part in manifest.parts})):
        raise InvalidRequest(
            f"this model of MLflow may run code when it is read ({why}); say trust=True if you trust who made it"
        )
    for part in manifest.parts:
        if part.path.endswith(".skops"):
            # MLflow trusts the types that the model itself names.
            _known_types(directory / part.path, trust)
    return needed("mlflow.pyfunc").load_model(str(directory))


def _unsafe_flavour(document: bytes, parts: Set[str]) -> str:
    """What of an MLmodel may run code; empty where it is known that nothing does. `parts` are the files of the model."""
    try:
        said = needed("yaml").safe_load(document)
        flavours = said["flavors"]
        loader = flavours["python_function"]["loader_module"]
        if loader == "mlflow.onnx" and "code" not in flavours["python_function"]:
            return ""
        if loader == "mlflow.sklearn" and "code" not in flavours["python_function"]:
            read_as = flavours["sklearn"]["serialization_format"]
            files = {
                flavours["python_function"].get("model_path", ""),
                flavours["sklearn"].get("pickled_model", ""),
            } - {""}
            if read_as == "skops" and all(file.endswith(".skops") and file in parts for file in files):
                return ""
            return f"scikit-learn as {read_as}"
        return f"the loader {loader}"
    except Exception as error:
        return f"an MLmodel that cannot be read: {type(error).__name__}"


def _pickle(directory: Path, manifest: ModelManifest, framework: str, trust: bool) -> Any:
    if not trust:
        raise InvalidRequest("a pickle runs code when it is read; say trust=True if you trust who made it")
    path = directory / _one_of(manifest, (".joblib", ".pickle", ".pkl"))
    if path.suffix == ".joblib":
        return needed("joblib").load(path)
    import pickle  # nosec B403 # with trust alone

    with path.open("rb") as file:
        return pickle.load(file)  # nosec B301 # with trust alone


READS_NO_LINKS = frozenset({"mlflow"})
"""MLflow takes a link for a way out of the model's directory."""

LOADERS: dict[str, Loader] = {
    "safetensors": _safetensors,
    "onnx": _onnx,
    "sklearn": _sklearn,
    "arrow": _arrow,
    "avro": _avro,
    "mlflow": _mlflow,
    "photon": _photon,
    "pickle": _pickle,
}


def _ending(manifest: ModelManifest, suffix: str) -> list[str]:
    """Raises InvalidRequest where there is none."""
    found = sorted(part.path for part in manifest.parts if part.path.endswith(suffix))
    if not found:
        raise InvalidRequest(f"the model has no part that ends in {suffix}")
    return found


def _one_of(manifest: ModelManifest, suffixes: tuple[str, ...]) -> str:
    """The part that ends in one of these; the only part, where it ends in none. Raises InvalidRequest."""
    found = [part.path for part in manifest.parts if part.path.endswith(suffixes)]
    if not found and len(manifest.parts) == 1:
        return manifest.parts[0].path
    if len(found) != 1:
        raise InvalidRequest(
            f"the model has {len(found)} parts that end in {', '.join(suffixes)}; directory() gives them all"
        )
    return found[0]


def _one(manifest: ModelManifest, suffix: str) -> str:
    found = _ending(manifest, suffix)
    if len(found) > 1:
        raise InvalidRequest(f"the model has {len(found)} parts that end in {suffix}; directory() gives them all")
    return found[0]
