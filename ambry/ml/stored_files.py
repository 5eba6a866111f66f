"""Files of the store that are read through fsspec: in the cluster that is meant, as they were when they were looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ambry.client.refs import ID_SCHEME, SCHEME
from ambry.ml.extras import needed

_SCHEMES = (SCHEME, ID_SCHEME)


@dataclass(frozen=True, slots=True)
class FileOfStore:
    """A URL with what opens it. Pickled it is the same file elsewhere, whatever the environment there says."""

    place: str
    options: Mapping[str, Any] = field(repr=False)
    """Storage options of `ambry://`, see AmbryFileSystem; a key may be among them."""
    details: Mapping[str, Any] | None = None
    """What the file system said of it: that blob is read. None for a chained URL, which is read by its name."""

    @property
    def id(self) -> str:
        """Of the blob; empty where it is not known."""
        return "" if self.details is None else str(self.details["id"])

    def open(self) -> Any:
        """To be read within a `with`. Raises OSError, AmbryError, ModuleNotFoundError without fsspec."""
        if self.details is None:
            return needed("fsspec").open(self.place, "rb", **options_of(self.place, self.options))
        filesystem, path = needed("fsspec.core").url_to_fs(self.place, **options_of(self.place, self.options))
        return filesystem.open(path, "rb", details=self.details)

    def __str__(self) -> str:
        return self.place


FilePlace = str | Path | FileOfStore


def options_of(place: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `ambry://` as fsspec takes them for a URL; of one file system of a chain they go by its scheme."""
    if "::" not in place:
        return dict(options)
    schemes = {piece.partition("://")[0] for piece in place.split("::") if piece.startswith(_SCHEMES)}
    return {scheme: dict(options) for scheme in schemes}


def in_store(place: str) -> bool:
    """Whether a URL, or a piece of a chained one, is of the store."""
    return any(piece.startswith(_SCHEMES) for piece in place.split("::"))
