"""Typed features: from the text of the article to columns that any reader opens, at both ends of the world."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ambry.ml import features, snapshots
from ambry.ml.extras import needed
from deploy.demos.data import ARTICLE, OCCUPATIONS, marriages, rand_health
from deploy.demos.stage import Stage

URN = "urn:li:(flagship,historicalActionsInFeed,1,0)"
DAYS = 31
MEMBERS = 5_000
TABLE_BYTES_MIN = 32 << 20
COUPLES = """\
marriageRating: {
  doc: "From 1, very poor, to 5, very good, by what she and he do"
  valType: DOUBLE
  dims: [{name: wife, dim: occupations-1-0}, {name: husband, dim: occupations-1-0}]
}
occupations: {type: categorical : {idMappingFile: "occupations.csv"}}
// (occupations.csv)
"""
COUPLES_URN = "urn:li:(couples,marriageRating,1,0)"


def run(stage: Stage) -> None:
    """The whole demonstration."""
    definitions = _definitions(stage)
    _snapshot(stage, definitions)
    _couples(stage)
    _table(stage)


def _definitions(stage: Stage) -> features.LoadedFeatures:
    stage.step("Read the article's definitions as they were printed, and publish them")
    metadata = features.FeatureMetadata.of([features.parse_definitions(ARTICLE, "flagship")])
    kind = metadata.tensor_type(URN)
    stage.check(f"{URN} is an INT", kind.value_type is features.ValueType.INT)
    stage.check("its dims are (4, unknown)", kind.shape == (4, None), kind.shape)
    stage.check('"Reshare", which the vocabulary does not have, is 0', kind.encode(("Reshare", 3)) == (0, 3))
    ids = [kind.encode((name, 3))[0] for name in ("Comment", "Click", "Share")]
    stage.check("what it has is what its rows say", ids == [1, 2, 3], ids)
    published = features.publish(stage.dc1, "definitions", metadata)
    stage.check(
        "published", published.version == "1.0.0", f"version {published.version}, sha256 {published.digest[:16]}..."
    )
    try:
        broken = features.FeatureMetadata.of(
            [features.parse_definitions(ARTICLE.replace("2, Click", "2, Tap"), "flagship")]
        )
        features.publish(stage.dc1, "definitions", broken)
        stage.check("an id that changes its name is refused", False)
    except features.ChangeRefused as refused:
        stage.check("an id that changes its name is refused", True, refused.changes[0].words)
    stage.until("the definitions in dc2", lambda: features.load(stage.dc2, "definitions").version == "1.0.0")
    found = features.load(stage.dc2, "definitions", digest=published.digest)
    stage.check("the other datacenter reads the same", found.metadata == metadata)
    return found


def _snapshot(stage: Stage, definitions: features.LoadedFeatures) -> None:
    stage.step(f"Write a snapshot of {MEMBERS:,} members, and read it in three ways")
    chance = np.random.default_rng(7)
    names = ["Comment", "Click", "Share", "Reshare"]
    cells = [
        {(names[int(action)], int(day)): int(times) for action, day, times in zip(*drawn, strict=True)}
        for drawn in (
            (chance.permutation(3)[:2], chance.permutation(DAYS)[:2], chance.integers(1, 9, 2)) for _ in range(MEMBERS)
        )
    ]
    rows = {"member": chance.permutation(MEMBERS).tolist(), "historicalActionsInFeed": cells}
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
    written = snapshots.write(stage.dc1, "members", rows, [URN], metadata=definitions, entity="member", as_of=noon)
    stage.say(f"{written.rows:,} rows, {written.size:,} bytes, version {written.version}")
    by_member = dict(zip(rows["member"], cells, strict=True))
    with snapshots.open(stage.dc1, "members") as snapshot:
        asked = [17, 4_999, 0]
        table = snapshot.read([URN], asked)
        kind = snapshot.resolve(URN)
        same = [
            _told(kind, row) == by_member[member]
            for member, row in zip(asked, table.column(1).to_pylist(), strict=True)
        ]
        stage.check("three members by key are what was written", all(same))
        batch = next(snapshot.batches([URN]))
        values = batch.column(1).flatten().field("value").to_numpy(zero_copy_only=True)
        stage.check("a numpy view shares the memory of the mapped file", _is_mapped(stage, values))
    stage.until("the snapshot in dc2", lambda: _readable(stage))
    url = stage.dc2.presign("GET", written.id, expires=timedelta(minutes=5))
    whole = needed("polars").read_ipc(url)
    read = [_told(kind, row) for row in whole["historicalActionsInFeed"].to_list()]
    is_same = dict(zip(whole["member"].to_list(), read, strict=True)) == by_member
    stage.check("unmodified Polars reads in dc2, over http, what was written", is_same, url.partition("?")[0])


def _readable(stage: Stage) -> bool:
    with snapshots.open(stage.dc2, "members") as snapshot:
        return snapshot.rows == MEMBERS


def _is_mapped(stage: Stage, values: Any) -> bool:
    """Whether an array lies in a file of the cache that is mapped into this process (proc(5), maps)."""
    address = values.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5)
        first, end = (int(part, 16) for part in span.split("-"))
        if first <= address and address + values.nbytes <= end:
            return name.startswith(f"{stage.directory.parent}/cache-")
    return False


def _told(kind: features.TensorType, row: list[dict[str, int]]) -> dict[tuple[Any, int], int]:
    return {(kind.axes[0].decode(cell["feedActions"]), cell["numberOfDays"]): cell["value"] for cell in row}


def _couples(stage: Stage) -> None:
    stage.step("Two axes of one vocabulary: what couples do, of statsmodels' fair")
    frame = marriages()
    text = COUPLES + "0, OUT_OF_VOCAB\n" + "".join(f"{id}, {name}\n" for id, name in enumerate(OCCUPATIONS, 1))
    metadata = features.FeatureMetadata.of([features.parse_definitions(text, "couples")])
    shape = metadata.tensor_type(COUPLES_URN).shape
    stage.check("its dims are (7, 7): six occupations, and none of them", shape == (7, 7), shape)
    both = [[OCCUPATIONS[int(code) - 1] for code in frame[name]] for name in ("occupation", "occupation_husb")]
    cells = [{(her, his): rating} for her, his, rating in zip(*both, frame["rate_marriage"], strict=True)]
    rows = {"woman": list(range(len(frame))), "marriageRating": cells}
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
    written = snapshots.write(
        stage.dc1,
        "couples",
        rows,
        [COUPLES_URN],
        metadata=metadata,
        entity="woman",
        as_of=noon,
        layouts={COUPLES_URN: "sparse"},
    )
    polars = needed("polars")
    stage.until("the snapshot in dc2", lambda: stage.is_whole(written.id, "dc2"))
    read = polars.read_ipc(stage.dc2.presign("GET", written.id, expires=timedelta(minutes=5)))
    axes = ["wife", "husband"]
    flat = read.explode("marriageRating").unnest("marriageRating").group_by(axes).agg(polars.col("value").mean())
    found = {(her, his): mean for her, his, mean in flat.select([*axes, "value"]).iter_rows()}
    codes = [frame[name].astype(int) for name in ("occupation", "occupation_husb")]
    means = frame["rate_marriage"].groupby(codes).mean().to_dict()
    same = found.keys() == means.keys() and all(abs(found[pair] - mean) < 1e-12 for pair, mean in means.items())
    stage.check(f"means of {len(frame):,} women by both, in dc2 by Polars, are pandas'", same, f"{len(found)} pairs")


def _table(stage: Stage) -> None:
    stage.step("Read 2 of 10 columns of a real table, and count what moves")
    pandas, polars = needed("pandas"), needed("polars")
    parquet, arrow = needed("pyarrow.parquet"), needed("pyarrow")
    frame = rand_health()
    _as_snapshot(stage, frame, polars)
    copies = TABLE_BYTES_MIN // (frame.shape[0] * frame.shape[1] * 8) + 1
    tiled = pandas.concat([frame] * copies, ignore_index=True)
    tiled.columns = [str(name) for name in tiled.columns]
    path = stage.directory / "randhie.parquet"
    parquet.write_table(
        arrow.Table.from_pandas(tiled, preserve_index=False), path, compression="none", use_dictionary=False,
        row_group_size=100_000,
    )  # fmt: skip
    size = path.stat().st_size
    info = stage.dc1.put_file(path)
    stage.say(f"RAND HIE, {len(frame):,} rows of {frame.shape[1]} columns, {copies} times: {size:,} bytes of Parquet")
    wanted = list(tiled.columns[:2])
    url = stage.dc1.presign("GET", info.id, expires=timedelta(minutes=5))
    before = stage.counted("bytes_sent")
    scanned = polars.scan_parquet(url).select(wanted).collect()
    moved = stage.counted("bytes_sent") - before
    stage.check(
        "unmodified Polars over http gives the frame's columns", scanned.equals(polars.from_pandas(tiled[wanted]))
    )
    stage.check("it moved at most 40 % of the bytes", moved <= 0.4 * size, f"{moved / size:.0%}")


def _as_snapshot(stage: Stage, frame: Any, polars: Any) -> None:
    """The table itself as a snapshot of scalars, each row an entity."""
    names = [str(name) for name in frame.columns]
    text = "\n".join(f"{name}: {{valType: DOUBLE}}" for name in names)
    metadata = features.FeatureMetadata.of([features.parse_definitions(text, "health")])
    source = polars.from_pandas(frame.astype(float)).with_columns(person=polars.int_range(len(frame)))
    urns = [f"urn:li:(health,{name},1,0)" for name in names]
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
    written = snapshots.write(stage.dc1, "health", source, urns, metadata=metadata, entity="person", as_of=noon)
    read = polars.read_ipc(stage.dc1.presign("GET", written.id, expires=timedelta(minutes=5)))
    same = read.select(source.columns).equals(source)
    stage.check("unmodified Polars reads a snapshot of all of it over http", same, f"{read.shape[0]:,} rows")
