"""Spark: snapshots, Parquet and Arrow of the store as data frames, and data frames as versions of datasets.

    from ambry.spark import register

    register(spark)
    frame = spark.read.format("ambry").option("columns", "member,clicks").load("members@1764201600000")
    frame.write.format("ambry").mode("append").save("clicks")

Needs pyspark and pyarrow: pip install 'ambry[spark]'. Options, types, and what is moved: docs/guide/spark.md.
"""

from __future__ import annotations

from typing import Any

from ambry.ml.extras import needed

__all__ = ["register"]


def register(session: Any) -> None:
    """Let a session of Spark know `ambry`. Raises ModuleNotFoundError."""
    needed("pyspark")
    from ambry.spark.source import AmbryDataSource

    session.dataSource.register(AmbryDataSource)
