"""What a version of a model is: a small JSON document that names its parts by digest, and what it was made from.

Canonical: UTF-8, names sorted, no white space, no time of its own. So the same parts made from the same things are the same
document, and its SHA-256 names the model whichever version it has. A document that is written otherwise is refused: two of them
would say the same, with two digests, or more than this release reads.

    {"format": 1, "kind": "safetensors", "parts": [{"path", "id", "size", "sha256"}, ...], "framework": {"torch": "2.13.0"},
     "features": ["urn:li:(...)"], "definitions": "features@1.2.0", "snapshot": "members@1764280000000", "code": "git:...",
     "metrics": {"auc": 0.9}, "params": {...}, "parent": "fraud@1.0.0", "note": "..."}
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ambry.client.beside import is_ours
from ambry.errors import MALFORMED, InvalidRequest
from ambry.ids import BlobId

FORMAT = 1
CONTENT_TYPE = "application/vnd.ambry.model+json"
PARTS_MAX = 10_000
MANIFEST_SIZE_MAX = 16 << 20
"""Bytes."""
PATH_BYTES_MAX = 1_000
NAME_BYTES_MAX = 255
"""What every disk takes, with a directory before it."""
KINDS = ("safetensors", "onnx", "sklearn", "arrow", "avro", "mlflow", "photon", "pickle", "files")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEXTS = ("definitions", "snapshot", "code", "parent", "note")


@dataclass(frozen=True, slots=True)
class ModelPart:
    """A file of a model: where it lies in the model's directory, and which blob it is."""

    path: str
    id: BlobId
    size: int
    sha256: str

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        check_path(self.path)
        if not _SHA256.fullmatch(self.sha256) or self.size < 0:
            raise InvalidRequest(f"part {self.path!r}: a SHA-256 has 64 hexadecimal digits, and a size is not negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelManifest:
    """A model. What is empty was not said."""

    kind: str
    parts: tuple[ModelPart, ...]
    framework: Mapping[str, str] = field(default_factory=dict)
    """Packages by name, with the version that it was made with."""
    features: tuple[str, ...] = ()
    """URNs of its inputs, in their order."""
    definitions: str = ""
    snapshot: str = ""
    """The version of a dataset that it was trained on."""
    code: str = ""
    """What made it: a commit, an image, an environment."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    """Anything that JSON has."""
    parent: str = ""
    """The version of a model that it was made from."""
    note: str = ""

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        check_said(self.kind, self.metrics, self.params)
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str):
                raise InvalidRequest(f"{name} is a text, and not {getattr(self, name)!r}")
        if not all(isinstance(each, str) for each in (*self.features, *self.framework, *self.framework.values())):
            raise InvalidRequest(f"features are texts, and packages and their versions too; not {self.features!r:.100}")
        if not 1 <= len(self.parts) <= PARTS_MAX:
            raise InvalidRequest(f"a model has 1 to {PARTS_MAX} parts, and not {len(self.parts)}")
        check_paths([part.path for part in self.parts])

    def part(self, path: str) -> ModelPart:
        """Raises InvalidRequest."""
        found = next((part for part in self.parts if part.path == path), None)
        if found is None:
            raise InvalidRequest(
                f"the model has no part {path!r}; it has {', '.join(part.path for part in self.parts[:10])}"
            )
        return found

    def encode(self) -> bytes:
        """The document. Raises InvalidRequest for what JSON does not have, and for more than a manifest has."""
        told: dict[str, Any] = {
            "format": FORMAT,
            "kind": self.kind,
            "parts": [
                {"path": part.path, "id": str(part.id), "size": part.size, "sha256": part.sha256}
                for part in sorted(self.parts, key=lambda part: part.path)
            ],
            "framework": dict(self.framework),
            "features": list(self.features),
            "metrics": dict(self.metrics),
            "params": dict(self.params),
            **{name: getattr(self, name) for name in _TEXTS},
        }
        said = {name: value for name, value in told.items() if value not in ("", {}, [])}
        try:
            text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
            document = text.encode()
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"what is said of the model is not JSON: {error}") from None
        if len(document) > MANIFEST_SIZE_MAX:
            raise InvalidRequest(
                f"what is said of the model has {len(document)} bytes, and a manifest has at most {MANIFEST_SIZE_MAX}; publish "
                "what is large as a part"
            )
        return document

    @property
    def digest(self) -> str:
        """SHA-256 of the document, in hexadecimal."""
        return hashlib.sha256(self.encode()).hexdigest()


def parse_manifest(data: bytes) -> ModelManifest:
    """Raises InvalidRequest for what is no manifest, is not written as one, or is of a later format."""
    try:
        said = json.loads(data)
        number = said["format"]
    except MALFORMED as error:
        raise InvalidRequest(f"this is no model: {error}") from error
    if isinstance(number, int) and number > FORMAT:
        raise InvalidRequest(f"this is a model of the format {number}, which this release does not read; upgrade it")
    try:
        manifest = ModelManifest(
            kind=said["kind"],
            parts=tuple(
                ModelPart(part["path"], BlobId.parse(part["id"]), part["size"], part["sha256"])
                for part in said["parts"]
            ),
            framework=said.get("framework", {}),
            features=tuple(said.get("features", ())),
            metrics=said.get("metrics", {}),
            params=said.get("params", {}),
            **{name: said.get(name, "") for name in _TEXTS},
        )
        written = manifest.encode()
    except MALFORMED as error:
        raise InvalidRequest(f"this is no model: {error}") from error
    if written != data:
        raise InvalidRequest(
            "this is no model: its manifest is not written as manifests are (names sorted, parts by their paths, no white space"
            ", nothing besides), so its digest would not be that of its bytes"
        )
    return manifest


def check_said(kind: str, metrics: Mapping[str, float], params: Mapping[str, Any]) -> None:
    """What is said of a model, before its parts are stored. Raises InvalidRequest."""
    if kind not in KINDS:
        raise InvalidRequest(f"a model is {', '.join(KINDS)}, and not {kind!r}")
    for name, number in metrics.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise InvalidRequest(f"the metric {name!r} is {number!r}; a metric is a finite number")
    for name, value in params.items():
        try:
            json.dumps(value, allow_nan=False, ensure_ascii=False, sort_keys=True).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(
                f"the param {name!r} is not JSON, which has texts, finite numbers, lists and mappings by text: {error}"
            ) from None


def check_paths(paths: Iterable[str]) -> None:
    """Whether parts can lie at these paths beside each other. Raises InvalidRequest."""
    seen: set[str] = set()
    for path in paths:
        if check_path(path) in seen:
            raise InvalidRequest(f"two parts of a model have the same path {path!r}")
        seen.add(path)
    for path in sorted(seen):
        above = next((each for each in directories_of(path) if each in seen), None)
        if above is not None:
            raise InvalidRequest(f"{above!r} is a part of the model, and so no directory that {path!r} could lie in")


def check_new_paths(paths: Iterable[str]) -> None:
    """Whether files may be parts of a model that is published: also on disks that take two cases of a name for one.

    Raises InvalidRequest.
    """
    paths = list(paths)
    check_paths(paths)
    known: dict[str, str] = {}
    for path in paths:
        if any(is_ours(name) for name in path.split("/")):
            raise InvalidRequest(
                f"{path!r} is called as what downloads and uploads keep beside files; call it otherwise"
            )
        same = known.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
        if same != path:
            raise InvalidRequest(f"{same!r} and {path!r} are one file on some disks; call one of them otherwise")


def directories_of(path: str) -> Iterator[str]:
    """Those that a part lies in, from the highest on."""
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)


def check_path(path: str) -> str:
    """`path`, if a part may lie there: below the directory of the model. Raises InvalidRequest."""
    parts = path.split("/")
    if not path or "\\" in path or not path.isprintable() or any(part in ("", ".", "..") for part in parts):
        raise InvalidRequest(f"{path[:PATH_BYTES_MAX]!r} is not a path below a model's directory")
    if len(path.encode()) > PATH_BYTES_MAX or any(len(part.encode()) > NAME_BYTES_MAX for part in parts):
        raise InvalidRequest(
            f"the path of a part has at most {PATH_BYTES_MAX} bytes, and a name in it {NAME_BYTES_MAX}; "
            f"shorten {path[:80]!r}..."
        )
    return path
