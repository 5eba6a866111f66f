"""Snapshots: the features of many entities at one point in time, as a version that never changes.

    from ambry.ml import snapshots

    snapshots.write(client, "members", frame, [urn], metadata=definitions, entity="member", as_of=client.store_time())
    with snapshots.open(client, "members") as snapshot:
        table = snapshot.read([urn], [17, 42])      # a range of the blob for each batch that they lie in
        whole = snapshot.table()                    # over the mapped file of the cache

Needs pyarrow and numpy: pip install 'ambry[features]'.
"""

from __future__ import annotations

from ambry.ml.snapshots.arrays import RowArrays, RowReader
from ambry.ml.snapshots.flat import flat_table, to_frame
from ambry.ml.snapshots.reading import Snapshot, open_snapshot
from ambry.ml.snapshots.writing import WrittenSnapshot
from ambry.ml.snapshots.writing import write_snapshot as write

__all__ = ["RowArrays", "RowReader", "Snapshot", "WrittenSnapshot", "flat_table", "to_frame", "write"]

open = open_snapshot
"""Not among the names of `import *`, which would hide the builtin of who says so."""
