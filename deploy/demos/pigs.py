"""Weighings of 72 pigs that statsmodels ships (dietox): as a table, as features with vocabularies, and as models score them.

A pig's weekly weight is what is to be known. Its doses of copper and vitamin E, its weight in the first week and the number of
the week say something of it; which pig it is, more. The pigs of the last litters came when all others were known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ambry.ml import photon
from ambry.ml.extras import needed
from ambry.ml.models.loading import StoredModel
from ambry.ml.photon.examples import Feature

NAMESPACE = "pigs"
ENTITY = "weighing"
COPPER = ("0 mg/kg", "35 mg/kg", "175 mg/kg")
VITAMIN = ("0 mg/kg", "100 mg/kg", "200 mg/kg")
NEW_FROM = 8269
"""The number of the first pig of the last litters."""
DEFINITIONS = f"""\
week: {{valType: INT, doc: "Weeks since the first weighing"}}
start: {{valType: DOUBLE, doc: "Weight at the first weighing, in kg"}}
copper: {{valType: FLOAT, dims: [copperDoses-1-0], doc: "1 for the dose of copper in its feed"}}
vitamin: {{valType: FLOAT, dims: [vitaminDoses-1-0], doc: "1 for the dose of vitamin E in its feed"}}
pig: {{valType: INT}}
weight: {{valType: DOUBLE, doc: "Weight in kg", availability: OFFLINE}}
copperDoses: {{type: categorical : {{idMappingFile: "copper.csv"}}}}
vitaminDoses: {{type: categorical : {{idMappingFile: "vitamin.csv"}}}}
//////////
// Categorical definition (copper.csv):
0, OUT_OF_VOCAB
{"".join(f"{id}, {dose}" + chr(10) for id, dose in enumerate(COPPER, 1))}\
//////////
// Categorical definition (vitamin.csv):
0, OUT_OF_VOCAB
{"".join(f"{id}, {dose}" + chr(10) for id, dose in enumerate(VITAMIN, 1))}\
"""


def urn(name: str) -> str:
    return f"urn:li:({NAMESPACE},{name},1,0)"


KNOWN = ("week", "start", "copper", "vitamin")
"""What is known of any pig."""
FEATURES = tuple(urn(name) for name in KNOWN)
PIG, WEIGHT = urn("pig"), urn("weight")
DAYS: Mapping[str, str] = {
    "training": f"pig < {NEW_FROM} and (pig + week) % 3 = 0",
    "serving": f"pig < {NEW_FROM} and (pig + week) % 3 > 0",
    "later": f"pig >= {NEW_FROM}",
}
"""Each day's weighings, as SQL: those that are trained on, those that are served, and those of the litters that came later."""


def weighings() -> Any:
    """The table as it is shipped, 861 rows of a pandas frame."""
    root = Path(needed("statsmodels").__file__).parent
    return needed("pandas").read_csv(root / "regression" / "tests" / "results" / "dietox.csv")


def rows_of(day: str) -> dict[str, Any]:
    """What the snapshot of a day has to say, by column, sorted by its keys: reckoned here, without Spark."""
    table = weighings()
    start = table[table.Time == 1].set_index("Pig").Weight
    table = table[table.Time > 1].rename(columns={"Pig": "pig", "Time": "week", "Weight": "weight"})
    table = table.query(DAYS[day].replace(" = ", " == ")).assign(weighing=table.pig * 100 + table.week)
    table = table.sort_values(ENTITY)
    doses = {"copper": (table.Cu, len(COPPER)), "vitamin": (table.Evit, len(VITAMIN))}
    return {
        **{name: table[name].to_numpy() for name in (ENTITY, "week", "pig", "weight")},
        "start": start.loc[table.pig].to_numpy(),
        **{name: np.eye(count + 1, dtype=np.float32)[dose.to_numpy()] for name, (dose, count) in doses.items()},
    }


def make(model: StoredModel) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """How either model scores (`ambry serve --function deploy.demos.pigs:make`): weights in kg, of rows by feature."""
    return _glmix(model) if model.manifest.kind == "photon" else _network(model)


def _network(model: StoredModel) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    told = {name: np.asarray(value, np.float64) for name, value in model.load().items()}

    def predict(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = np.column_stack([np.asarray(inputs[name], np.float64) for name in KNOWN])
        hidden = np.tanh((rows - told["mean"]) / told["scale"] @ told["hidden.weight"].T + told["hidden.bias"])
        scaled = hidden @ told["out.weight"].T + told["out.bias"]
        return {"weight": scaled[:, 0] * told["out_scale"] + told["out_mean"]}

    return predict


def _glmix(model: StoredModel) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    scorer = photon.PhotonScorer(model).fetch()

    def predict(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        pigs = np.asarray(inputs["pig"]).tolist()
        told = [
            scorer.predict({"pig": str(pig)}, features_of(inputs, row), by_shard={"growth": growth_of(inputs, row)})
            for row, pig in enumerate(pigs)
        ]
        return {"weight": np.array(told)}

    return predict


def features_of(inputs: Mapping[str, Any], row: int) -> dict[Feature, float]:
    """A row as names, terms and values, as a snapshot's are for Photon."""
    told: dict[Feature, float] = {(name, ""): float(inputs[name][row]) for name in ("week", "start")}
    for name, doses in (("copper", COPPER), ("vitamin", VITAMIN)):
        told |= {
            (name, dose): float(value)
            for dose, value in zip(("OUT_OF_VOCAB", *doses), inputs[name][row], strict=True)
            if value
        }
    return told


def growth_of(inputs: Mapping[str, Any], row: int) -> dict[Feature, float]:
    """What a pig's own coefficients are of."""
    return {("week", ""): float(inputs["week"][row])}
