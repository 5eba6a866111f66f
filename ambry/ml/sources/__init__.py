"""Feature stores: one question (`read(urns, keys)`), and the same answer from wherever the features lie.

    from ambry.ml import sources

    store = sources.FeatureStore(definitions, {
        "flagship": sources.SnapshotSource(snapshots.open(client, "members")),
        "urn:li:(jobs,clicks,1,0)": sources.LmdbSource("/var/lib/features", definitions),
    })
    reader = store.reader(urns)             # refuses here what could not be served later
    table = reader.read([17, 42])           # the entity, and a column for each URN, in the order of the keys

Needs pyarrow and numpy: pip install 'ambry[features]'. Each source says what else it needs.
"""

from __future__ import annotations

from ambry.ml.features.availability import WrongSource
from ambry.ml.sources.answers import FeatureSource
from ambry.ml.sources.avro import AvroSource, write_avro
from ambry.ml.sources.lmdb import LmdbSource, write_lmdb
from ambry.ml.sources.parquet import ParquetSource
from ambry.ml.sources.reader import FeatureReader
from ambry.ml.sources.snapshot import SnapshotSource
from ambry.ml.sources.sql import SqlSource, write_sql
from ambry.ml.sources.store import FeatureStore

__all__ = [
    "AvroSource",
    "FeatureReader",
    "FeatureSource",
    "FeatureStore",
    "LmdbSource",
    "ParquetSource",
    "SnapshotSource",
    "SqlSource",
    "WrongSource",
    "write_avro",
    "write_lmdb",
    "write_sql",
]
