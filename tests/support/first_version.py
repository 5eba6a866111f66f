"""Features of members as jobs left them before they had types: written to Avro, and to come out as typed snapshots."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions

METADATA = FeatureMetadata.of(
    [
        parse_definitions(
            "age: {valType: INT}\nweek: {valType: FLOAT, dims: [days-1-0]}\ndays: {type: discrete : {size: 3}}\n", "n"
        )
    ]
)
URNS = [str(urn) for urn in METADATA.urns]
WHEN = datetime(2026, 11, 27, tzinfo=UTC)


def rows(keys: range) -> dict[str, list[Any]]:
    return {
        "member": list(keys),
        "age": [None if key % 5 == 0 else key for key in keys],
        "week": [[key + 0.5, 0.0, 1.0] for key in keys],
    }
