"""What a model of `ambry photon train` was made from, settled before it is trained, and written down with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ambry.cli.arguments import ChosenCluster
from ambry.cli.photon_rows import OpenRows, SaidRows

if TYPE_CHECKING:
    from ambry.ml.models.publishing import SaidOfModel
    from ambry.ml.photon.effects import ModelEffect
    from ambry.ml.photon.models import Task


@dataclass(frozen=True, slots=True)
class RowsOrigin:
    """Where rows come from."""

    told: tuple[Mapping[str, str], ...] = ()
    """Each place without what may be a secret; of the store each file, with its id."""
    snapshot: str = ""
    """With its number."""
    definitions: str = ""
    features: tuple[str, ...] = ()
    """Of the snapshot, that the model scores by."""
    inputs: Mapping[str, Any] | None = None
    """A summary of these."""


def rows_origin(rows: OpenRows) -> RowsOrigin:
    """Of what was settled: nothing is asked for."""
    from ambry.shown_urls import shown_place

    if rows.snapshot is not None and rows.columns is not None:
        exact = str(rows.data[0])
        return RowsOrigin(({"place": exact},), exact, rows.snapshot.about.definitions, tuple(rows.columns.inputs))
    told = []
    for each in rows.data:
        blob = "" if isinstance(each, str) else each.id
        told.append({"place": shown_place(each)} | ({"id": blob} if blob else {}))
    return RowsOrigin(tuple(told))


def settled_origin(cluster: ChosenCluster, rows: RowsOrigin) -> RowsOrigin:
    """What publishing asks of a snapshot, asked before the training, as long as it is there: its definitions and a summary.

    Raises BlobNotFound, InvalidRequest.
    """
    from ambry.ml.models.inputs import summary_of_snapshot
    from ambry.ml.models.publishing import found_definitions, is_elsewhere

    if not rows.snapshot:
        return rows
    with cluster.connect() as client:
        definitions = found_definitions(client, rows.definitions, rows.features)
        there = "" if is_elsewhere(definitions) else definitions
        inputs = summary_of_snapshot(client, rows.snapshot, rows.features, there) if rows.features else None
    return replace(rows, definitions=definitions, inputs=inputs)


def said_of_trained(
    task: Task,
    effects: Sequence[ModelEffect],
    said: SaidRows,
    evaluators: Sequence[str],
    *,
    rows: RowsOrigin,
    held_out: RowsOrigin | None,
    parent: str,
    start: str,
    engine: str,
    sweeps: int,
) -> SaidOfModel:
    """What made it, how, and of what, for `publish_model`. `start` is a directory; one of the store is the parent."""
    from ambry.ml.models.inputs import INPUTS
    from ambry.ml.models.publishing import is_elsewhere
    from ambry.ml.models.saving import package_versions
    from ambry.ml.places import settled
    from ambry.ml.provenance import code_of_ambry

    params: dict[str, Any] = {
        "task": task.value,
        "engine": engine,
        "effects": {effect.name: effect.told for effect in effects},
        "data": list(rows.told),
    }
    if held_out is not None:
        params["validate"] = list(held_out.told)
    if said.bags:
        params["bags"] = dict(said.bags)
    if said.response:
        params["response"] = said.response
    params |= {what: name for what, name in said.numbers.items() if name is not None}
    if evaluators:
        params["evaluators"] = list(evaluators)
    if engine == "spark":
        params["sweeps"] = sweeps
    if start:
        params["start"] = start
    if rows.inputs is not None:
        params[INPUTS] = dict(rows.inputs)
    return {
        "framework": package_versions("scipy", "tabmat", "pyarrow", *(("pyspark",) if engine == "spark" else ())),
        "features": rows.features,
        "definitions": rows.definitions if is_elsewhere(rows.definitions) else settled(rows.definitions),
        "snapshot": settled(rows.snapshot),
        "parent": settled(parent),
        "code": code_of_ambry(),
        "params": params,
    }
