"""Which column of a frame each column of a Parquet file belongs to, and which of them are instants. Pure.

A column of Parquet is a leaf of the tree that the schema is, in the order in which one comes to them. What a leaf is called
says less: `a.b` is the field b of a struct a, or a column of that name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

INSTANT = pa.timestamp("us", "UTC")


def leaf_count(kind: Any) -> int:
    """How many columns of Parquet a pyarrow type is."""
    if isinstance(kind, pa.ExtensionType | pa.BaseExtensionType):
        return leaf_count(kind.storage_type)
    if pa.types.is_map(kind):
        return leaf_count(kind.key_type) + leaf_count(kind.item_type)
    if pa.types.is_struct(kind):
        return sum(leaf_count(each.type) for each in kind)
    return leaf_count(kind.value_type) if _is_list(kind) else 1


def flat_columns(schema: Any) -> dict[int, str]:
    """The names of the columns that are one leaf and no list, by the number of the leaf."""
    found: dict[int, str] = {}
    place = 0
    for field in schema:
        if not (pa.types.is_nested(field.type) or isinstance(field.type, pa.ExtensionType | pa.BaseExtensionType)):
            found[place] = field.name
        place += leaf_count(field.type)
    return found


def with_instants(schema: Any, physical: Sequence[str]) -> Any:
    """The pyarrow Schema of a file with leaves of these physical types: times of 96 bits (INT96) are instants, at any depth.

    Spark and Hive write them, and nothing else in the file says that they are.
    """
    leaves = iter(physical)
    return pa.schema([each.with_type(_with_instants(each.type, leaves)) for each in schema], metadata=schema.metadata)


def _with_instants(kind: Any, leaves: Iterator[str]) -> Any:
    if isinstance(kind, pa.ExtensionType | pa.BaseExtensionType):
        for _ in range(leaf_count(kind)):
            next(leaves, "")
        return kind
    if pa.types.is_map(kind):
        key = kind.key_field.with_type(_with_instants(kind.key_type, leaves))
        return pa.map_(key, kind.item_field.with_type(_with_instants(kind.item_type, leaves)))
    if pa.types.is_struct(kind):
        return pa.struct([each.with_type(_with_instants(each.type, leaves)) for each in kind])
    if not _is_list(kind):
        return INSTANT if next(leaves, "") == "INT96" else kind
    inner = kind.value_field.with_type(_with_instants(kind.value_type, leaves))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(inner, kind.list_size)
    return pa.large_list(inner) if pa.types.is_large_list(kind) else pa.list_(inner)


def _is_list(kind: Any) -> bool:
    views = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(views or lists)
