"""Models in memory as files, in formats that carry no code."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed


@dataclass(frozen=True, slots=True)
class SavedModel:
    """What was written, and what it was made with."""

    kind: str
    framework: Mapping[str, str] = field(default_factory=dict)


def save(model: Any, directory: Path, kind: str | None = None) -> SavedModel:
    """Write a model into an empty directory. `kind` "pickle" is what must be asked for; nothing is pickled by itself.

    Raises InvalidRequest for what cannot be written without it, ModuleNotFoundError that names what to install.
    """
    if kind == "pickle":
        return _pickle(model, directory)
    for fits, write in _WRITERS:
        if fits(model):
            saved = write(model, directory)
            if kind not in (None, saved.kind):
                raise InvalidRequest(f"a {type(model).__name__} is written as {saved.kind}, and {kind!r} was asked for")
            return saved
    raise InvalidRequest(
        f"a {type(model).__name__} has no format here that carries no code; write it to files and publish those, or say "
        "kind='pickle', which nobody loads without trust=True"
    )


def _modules_of(model: Any) -> set[str]:
    return {each.__module__.partition(".")[0] for each in type(model).__mro__}


def _is_arrays(model: Any) -> bool:
    return isinstance(model, Mapping) and bool(model) and all(hasattr(each, "dtype") for each in model.values())


def _arrays(model: Any, directory: Path) -> SavedModel:
    """A state_dict of torch, or arrays of numpy by their names."""
    path = directory / "model.safetensors"
    if any("torch" in _modules_of(each) for each in model.values()):
        with _told_by_safetensors(path):
            needed("safetensors.torch").save_file(
                {name: each.detach().cpu().contiguous() for name, each in model.items()}, path
            )
        return SavedModel("safetensors", package_versions("torch", "safetensors"))
    with _told_by_safetensors(path):
        needed("safetensors.numpy").save_file(dict(model), path)
    return SavedModel("safetensors", package_versions("numpy", "safetensors"))


@contextmanager
def _told_by_safetensors(path: Path) -> Iterator[None]:
    """Raises OSError with its number where the system said so, as of a full disk, and InvalidRequest for other tensors."""
    raised = needed("safetensors").SafetensorError
    try:
        yield
    except raised as error:
        if number := re.search(r"\(os error (\d+)\)|code: (\d+)", str(error)):
            code = int(number[1] or number[2])
            raise OSError(code, os.strerror(code), str(path)) from error
        raise InvalidRequest(f"these tensors cannot be written as safetensors: {error}") from error


def _module(model: Any, directory: Path) -> SavedModel:
    """A module of torch: its state_dict, with tensors that are shared stored once."""
    path = directory / "model.safetensors"
    with _told_by_safetensors(path):
        needed("safetensors.torch").save_model(model, str(path))
    return SavedModel("safetensors", package_versions("torch", "safetensors"))


def _estimator(model: Any, directory: Path) -> SavedModel:
    needed("skops.io").dump(model, directory / "model.skops")
    return SavedModel("sklearn", package_versions("scikit-learn", "skops", "numpy"))


def _onnx(model: Any, directory: Path) -> SavedModel:
    needed("onnx").save_model(model, str(directory / "model.onnx"))
    return SavedModel("onnx", package_versions("onnx"))


def _table(model: Any, directory: Path) -> SavedModel:
    pa = needed("pyarrow")
    with pa.OSFile(str(directory / "model.arrow"), "wb") as sink, pa.ipc.new_file(sink, model.schema) as writer:
        writer.write_table(model)
    return SavedModel("arrow", package_versions("pyarrow"))


def _photon(model: Any, directory: Path) -> SavedModel:
    """In Photon's directory layout, with the index of its entities."""
    from ambry.ml.photon.layout import lay, model_files

    lay(model_files(model), directory)
    return SavedModel("photon", package_versions("numpy", "fastavro", "glum"))


def check_whole(directory: Path) -> None:
    """Raises InvalidRequest for a directory of Photon's that is not what its metadata say, as every reader does."""
    from ambry.ml.photon.layout import read_model

    read_model(directory)


def _pickle(model: Any, directory: Path) -> SavedModel:
    import pickle  # nosec B403 # asked for; loading it asks for trust

    with (directory / "model.pkl").open("wb") as file:
        pickle.dump(model, file, protocol=5)
    return SavedModel("pickle", package_versions(*sorted(_modules_of(model) - {"builtins"})))


_WRITERS: list[tuple[Callable[[Any], bool], Callable[[Any, Path], SavedModel]]] = [
    (_is_arrays, _arrays),
    (lambda model: "torch" in _modules_of(model) and hasattr(model, "state_dict"), _module),
    (lambda model: "sklearn" in _modules_of(model), _estimator),
    (lambda model: "onnx" in _modules_of(model), _onnx),
    (lambda model: type(model).__name__ == "PhotonModel" and "ambry" in _modules_of(model), _photon),
    (lambda model: "pyarrow" in _modules_of(model) and hasattr(model, "schema"), _table),
]


def package_versions(*packages: str) -> dict[str, str]:
    """Those of Python and of packages that are there."""
    told = {"python": python_version()}
    for package in packages:
        try:
            told[package] = version(package)
        except PackageNotFoundError:
            continue
    return told
