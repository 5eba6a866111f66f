"""Features out of any Parquet table: a file, a directory of files, or a URL that fsspec opens.

Columns are called as their features, or as `columns` says; one that a snapshot in Parquet brought along says its URN itself.
Only the columns that are asked for are read, and of these the row groups in which a key may lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import Availability
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.parquet_footer import read_footer
from ambry.ml.place_errors import place_told
from ambry.ml.snapshots.columns import conform_keys
from ambry.ml.snapshots.grown import conform_stored
from ambry.ml.snapshots.schema import Layout, columns_of
from ambry.ml.sources.answers import Keys, TypedColumns, Urns, answer, asked_keys, key_type_of
from ambry.ml.sources.foreign import foreign
from ambry.ml.sources.reader import StoredFeatures
from ambry.shown_urls import shown_place


class ParquetSource(StoredFeatures):
    """`place` is a path or a URL; `storage_options` go to the file system of fsspec."""

    def __init__(
        self,
        place: str | Path,
        metadata: FeatureMetadata,
        *,
        entity: str,
        columns: Mapping[str, str] | None = None,
        layouts: Mapping[str, Layout] | None = None,
        availability: Availability = Availability.OFFLINE,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises InvalidRequest for what is no Parquet, or has not one column of the entities, and OSError where none is."""
        from pyarrow import dataset

        filesystem, path, shown = None, str(place), shown_place(place)
        if "://" in path:
            with foreign(f"{shown} is no place to read from", "look at how it is written"), place_told(place):
                filesystem, path = needed("fsspec.core").url_to_fs(path, **(storage_options or {}))
        with (
            foreign(f"{shown} is no Parquet that can be read", "fetch or write it again", pa.ArrowException),
            place_told(place),
        ):
            try:
                self._dataset = dataset.dataset(path, format="parquet", filesystem=filesystem)
            except pa.ArrowInvalid as error:
                if "duplicate field" in str(error):
                    raise InvalidRequest(_doubled(shown, path, filesystem)) from error
                raise
            except FileNotFoundError:
                if filesystem is not None:
                    # For Arrow nothing is there, whatever a server answered; fsspec has its answer.
                    filesystem.info(path)
                raise
            if (plain := _filterable(self._dataset.schema)) != self._dataset.schema:
                self._dataset = dataset.dataset(path, format="parquet", filesystem=filesystem, schema=plain)
        self._are_checked = False
        self.availability = availability
        schema = self._dataset.schema
        if entity not in schema.names:
            raise InvalidRequest(f"{shown} has no column {entity!r}; it has {', '.join(schema.names)}")
        self._url, self._place = place, shown
        self._typed = TypedColumns(metadata, entity, {**columns_of(schema), **(columns or {})}, dict(layouts or {}))
        self._names = self._typed.found_among(schema.names)
        self._key_type = key_type_of(schema.field(entity).type, entity)

    def __repr__(self) -> str:
        return f"ParquetSource({self._place!r})"

    def _found(self, urn: FeatureUrn | str) -> TensorType:
        """Raises FeatureNotDefined."""
        kind = self._typed.metadata.tensor_type(urn)
        if str(kind.urn) not in self._names:
            raise FeatureNotDefined(
                f"{self._place} has no column for {kind.urn}; say `columns` if it is called otherwise"
            )
        return kind

    def read(self, urns: Urns, keys: Keys) -> Any:
        """Raises FeatureNotDefined, InvalidRequest."""
        kinds = [self.resolve(urn) for urn in urns]
        entity = self._typed.entity
        asked = asked_keys(keys, entity, self._key_type)
        names = [self._names[str(kind.urn)] for kind in kinds]
        with (
            foreign(
                f"{self._place}: the columns {', '.join([entity, *names])} cannot be read",
                "write the file again, or leave out the column",
                pa.ArrowException,
            ),
            place_told(self._url),
        ):
            self._check_footers()
            table = self._dataset.to_table(columns=[entity, *names], filter=self._among(pc.unique(asked)))
        layouts = self._typed.layouts
        arrays = [
            conform_stored(table.column(place + 1), kind, layouts.get(str(kind.urn)))
            for place, kind in enumerate(kinds)
        ]
        found = conform_keys(table.column(0), entity)
        return answer(kinds, self._typed.schema(kinds, asked.type), asked, found, arrays)

    def _check_footers(self) -> None:
        """Before row groups are chosen by what footers say: where one does not agree with itself, that ends the process.

        Once, of each file. Raises ArrowException, OSError.
        """
        if not self._are_checked:
            for path in self._dataset.files:
                with self._dataset.filesystem.open_input_file(path) as file:
                    read_footer(file)
            self._are_checked = True

    def _among(self, keys: Any) -> Any:
        """Whether a row is of one of them. In the type of the column, so that row groups are passed by."""
        column, there = pc.field(self._typed.entity), self._dataset.schema.field(self._typed.entity).type
        if pa.types.is_dictionary(there):
            return column.cast(keys.type).isin(keys)
        # A key that is too large for the column becomes another one, whose row nobody asked for.
        return column.isin(keys.cast(there, safe=False))


def _filterable(schema: Any) -> Any:
    """With texts and bytes in place of views of such, of which Arrow cannot take some rows and leave others."""
    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return pa.schema([field.with_type(plain.get(field.type, field.type)) for field in schema], schema.metadata)


def _doubled(place: str, path: str, filesystem: Any) -> str:
    """What to say of a table in which several columns have one name."""
    from pyarrow import parquet

    twice = "columns of one name"
    try:
        names = parquet.read_schema(path, filesystem=filesystem).names
        twice = ", ".join(
            f"{names.count(name)} columns {name!r}" for name in dict.fromkeys(names) if names.count(name) > 1
        )
    except (OSError, pa.ArrowException):
        # A directory: which of its files it is, nothing says.
        pass
    return f"{place} has {twice}; write it with a name for each column"
