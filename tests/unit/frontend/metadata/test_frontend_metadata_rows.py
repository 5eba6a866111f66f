"""No bit of a row turns over unnoticed."""

from __future__ import annotations

import pytest

from ambry.errors import DataCorrupt
from frontend.metadata.rows import VersionColumns, local_of, local_row_of, row_of, version_of
from frontend.metadata.store import LocalRow, Stamp, Version

VERSION = Version(5, 0xFFFFFFFF00000001, b"name", Stamp(1 << 57, 3), b"value", 12)


@pytest.mark.parametrize("value", [None, b"", b"value"])
@pytest.mark.parametrize("scope", [0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_a_version_comes_back_from_its_row(value: bytes | None, scope: int) -> None:
    version = Version(5, scope, b"name", Stamp(1 << 57, 3), value, 12)
    row = row_of(version)
    assert -(1 << 63) <= row[1] < 1 << 63
    assert version_of(row) == version


@pytest.mark.parametrize("column", range(8))
def test_a_row_with_any_column_changed_is_refused(column: int) -> None:
    row = list(row_of(VERSION))
    found = row[column]
    row[column] = found + 1 if isinstance(found, int) else b"Name" if column == 2 else None
    changed: VersionColumns = tuple(row)  # type: ignore[assignment]
    with pytest.raises(DataCorrupt, match="ambry meta check"):
        version_of(changed)


def test_what_moves_between_key_and_value_is_noticed() -> None:
    space, scope, _, time, datacenter, _, seq, checksum = row_of(VERSION)
    with pytest.raises(DataCorrupt):
        version_of((space, scope, b"namev", time, datacenter, b"alue", seq, checksum))


@pytest.mark.parametrize("expires_ms", [None, 5])
def test_a_local_row_is_held_against_its_check(expires_ms: int | None) -> None:
    row = LocalRow(1, b"key", b"value", expires_ms)
    columns = local_row_of(row)
    assert local_of(columns) == row
    with pytest.raises(DataCorrupt):
        local_of((1, b"key", b"valuf", expires_ms, columns[4]))
    with pytest.raises(DataCorrupt):
        local_of((1, b"key", b"value", 6, columns[4]))
