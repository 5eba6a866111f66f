"""Definitions as a Python package: "declare a dependency" on features is `pip install` then.

The wheel holds the package of definitions (package.py) as data, and an entry point of the group `ambry.features` by which
`installed` finds it. It is the same byte for byte for the same definitions, name and version.

Wheel: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path

from ambry.errors import InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.package import pack, unpack
from ambry.ml.files import written
from ambry.ml.stable_zip import stored_zip

GROUP = "ambry.features"
PACKED_FILE = "features.zip"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_.][A-Za-z0-9]+)*", re.ASCII)
_VERSION = re.compile(r"\d+(?:\.\d+){0,3}", re.ASCII)


def wheel_name(name: str, version: str) -> str:
    """What the file has to be called. Raises InvalidRequest for what is no name or version of a package."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r} is not the name of a Python package; write one such as flagship-features")
    if not _VERSION.fullmatch(version):
        raise InvalidRequest(
            f"{version!r} is not a version of a Python package; write numbers with dots, such as 1.2.0"
        )
    return f"{_module(name)}-{version}-py3-none-any.whl"


def build_wheel(metadata: FeatureMetadata, name: str, version: str) -> bytes:
    """The wheel. Raises InvalidRequest for what is no name or version of a package."""
    wheel_name(name, version)
    module = _module(name)
    info = f"{module}-{version}.dist-info"
    about = f"Definitions of features, version {version}: ambry.ml.features.installed({name!r})."
    members = {
        f"{module}/__init__.py": f'"""{about}"""\n'.encode(),
        f"{module}/{PACKED_FILE}": pack(metadata),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: {about}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: ambry\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[{GROUP}]\n{name} = {module}\n".encode(),
    }
    record = f"{info}/RECORD"
    lines = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in members.items()]
    members[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    return stored_zip(members)


def write_wheel(metadata: FeatureMetadata, name: str, version: str, directory: Path) -> Path:
    """The wheel as a file of `directory`, which is made where there is none. Raises InvalidRequest, OSError."""
    path = directory / wheel_name(name, version)
    built = build_wheel(metadata, name, version)
    directory.mkdir(parents=True, exist_ok=True)
    with written(path) as file:
        file.write(built)
    return path


def installed(name: str) -> FeatureMetadata:
    """The definitions of an installed package. Raises InvalidRequest where there is none of that name."""
    found: EntryPoint | None = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        there = ", ".join(sorted(one.name for one in entry_points(group=GROUP))) or "none"
        raise InvalidRequest(f"no installed package gives features as {name!r}; `pip install` it (there are: {there})")
    return unpack(files(found.module).joinpath(PACKED_FILE).read_bytes())


def _module(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")
