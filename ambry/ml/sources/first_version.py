"""Snapshots of the first version, Avro of names, terms and values, moved into typed ones: from HDFS, or any URL or path.

    hdfs://USER@namenode/data/members           read through WebHDFS, at the name node's web port (hdfs.py finds it)
    webhdfs://namenode:9870/..., s3://..., ...  whatever fsspec opens

A directory is all files with .avro in it; names with `_` or `.` before them are the engine's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from ambry.client.sync.client import AmbryClient
from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.features.publishing import LoadedFeatures
from ambry.ml.listed import listed
from ambry.ml.place_errors import place_told
from ambry.ml.snapshots.asked import urn_list
from ambry.ml.snapshots.writing import FileFormat, WrittenSnapshot, write_snapshot
from ambry.ml.sources.answers import Urns
from ambry.ml.sources.avro import BAG, AvroSource, NamesMet
from ambry.ml.sources.foreign import foreign
from ambry.ml.sources.hdfs import check_path, is_directory, web_url
from ambry.ml.stored_files import FileOfStore, FilePlace
from ambry.shown_urls import shown_place
from ambry.special_file import is_file_there

NAMED_MAX = 5
"""Names that a sentence tells."""
_ARCHIVES = ("zip", "tar", "libarchive")
"""In a chained URL they have places of their own."""


def import_avro(
    client: AmbryClient,
    place: FilePlace | Sequence[FilePlace],
    dataset: str,
    features: Urns,
    *,
    metadata: LoadedFeatures,
    entity: str,
    as_of: datetime,
    columns: Mapping[str, str] | None = None,
    bag: str = BAG,
    file_format: FileFormat = "arrow",
    met: NamesMet | None = None,
) -> WrittenSnapshot:
    """Write what lies at `place` as the snapshot of `as_of`, in bounded memory; durable on return.

    `met` notes which features the records have, and which other names.
    `ambry://` is of the cluster that the environment says, and a FileOfStore (settled.py) of the one that it says itself.

    Raises InvalidRequest for what is no such file, or does not fit, and OSError where nothing is; else as `snapshots.write`.
    """
    features = [metadata.metadata.tensor_type(urn).urn for urn in urn_list(features)]
    files = files_at(place)
    sources = [AvroSource(each, metadata.metadata, entity=entity, columns=columns, bag=bag) for each in files]
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return write_snapshot(
        client,
        dataset,
        _rows(sources, features, f"the field {bag!r} of {shown_place(files[0])}{more}", met or NamesMet()),
        features,
        metadata=metadata,
        entity=entity,
        as_of=as_of,
        file_format=file_format,
    )


def files_at(places: FilePlace | Sequence[FilePlace]) -> list[str | FileOfStore]:
    """Each file, of directories those in them. Raises InvalidRequest for a directory without any, OSError."""
    found: list[str | FileOfStore] = []
    for place in [places] if isinstance(places, str | Path | FileOfStore) else places:
        found += [place] if isinstance(place, FileOfStore) else avro_files(str(place))
    if not found:
        raise InvalidRequest("no file is named to be read")
    return found


def avro_files(place: str, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """The files at a path or URL, in their order. Raises InvalidRequest where there is none, OSError.

    `storage_options` go to the file system of fsspec.
    """
    asked = place
    what, to_do = f"{shown_place(asked)} is no place to read from", "look at how it is written"
    with foreign(what, to_do), place_told(asked):
        place = web_url(asked)
        there = needed("fsspec.core").url_to_fs(place, **(storage_options or {})) if "://" in place else None
    names: list[str] | None = None
    if there is None:
        if (path := Path(place)).is_dir():
            names = [each.name for each in path.iterdir()]
    else:
        with foreign(what, to_do), place_told(place):
            filesystem, path_there = there
            # Of a page its whole would be read, for links.
            if not place.startswith(("http://", "https://")) and is_directory(filesystem, path_there, asked):
                names = [each.rstrip("/").rpartition("/")[2] for each in filesystem.ls(path_there, detail=False)]
    if names is None:
        return [place]
    files = [name for name in sorted(names) if name.endswith(".avro") and name[0] not in "_."]
    if not files:
        raise InvalidRequest(f"there is no .avro in {shown_place(place)}; say the directory that has the files")
    found = [str(Path(place) / name) if there is None else _within(place, name) for name in files]
    for each in found:
        check_path(each)
        if there is None or there[0].protocol == ("file", "local"):
            is_file_there(each.removeprefix("file://").removeprefix("local://"))
    return found


def _within(directory: str, name: str) -> str:
    """Of a chained URL, such as `simplecache::ambry://...` or `zip://rows::ambry://...`, the first place is the directory.

    An archive may stand without one: all that is in it.
    """
    pieces = directory.split("::")
    first = next(number for number, piece in enumerate(pieces) if "://" in piece or piece in _ARCHIVES)
    head = pieces[first] if "://" in pieces[first] else f"{pieces[first]}://"
    pieces[first] = f"{head}{'' if head.endswith('/') else '/'}{name}"
    return "::".join(pieces)


def _rows(sources: Sequence[AvroSource], features: Urns, where: str, met: NamesMet) -> Iterator[Any]:
    """Raises InvalidRequest where there are records, and none has any of the features: no snapshot of nulls alone is meant."""
    count = 0
    for source in sources:
        for batch in source.batches(features, met):
            count += batch.num_rows
            yield pa.Table.from_batches([batch])
    asked = [str(urn) for urn in features]
    if count and met.features.isdisjoint(asked):
        raise InvalidRequest(
            f"none of {count} records has any of the features {listed(asked, NAMED_MAX)} in {where}, and the snapshot "
            "would have no value; look at what they are called there, and in which field they are"
        )
