"""Models of Photon's kind behind the protocol: who is asked about is an input, and so is each feature of a row.

    memberId         an input for each kind of entity: texts, or whole numbers
    age, title/boss  an input for each feature, by its name, or name/term: numbers, one for each row
    title            texts: of each row the term, whose value is 1
    offset           added to the score, where the rows have one
    offset/          a feature that is called as one of these is: with a slash

An entity without a model has the score of the other effects, a feature that is not among the inputs is 0, and a term that the
model does not know adds nothing, as in Photon. A name that it was not trained on is refused where the model says its names, and
so are a text for a number and a number for a text. What is left out, and what is not known, is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.listed import listed
from ambry.ml.models.columns import Columns
from ambry.ml.models.loading import StoredModel
from ambry.ml.photon.examples import INTERCEPT, Feature, feature_text
from ambry.ml.photon.serving import PhotonScorer
from ambry.ml.photon.unmatched import UnmatchedCounts
from ambry.ml.serving.predictors import Predictor
from ambry.ml.serving.signatures import ANY, TensorSpec

OFFSET = "offset"
TOLD_MAX = 1_000
"""Features that the metadata name; of more they name none."""


def photon_predictor(model: StoredModel) -> Predictor:
    """Its means and scores, out of the cache: once it is loaded, no request asks the store.

    Raises InvalidRequest for a model without a task or an index, DataCorrupt.
    """
    scorer = PhotonScorer(model).fetch()
    kinds, known = scorer.entity_kinds, scorer.features
    spelled: dict[str, list[Feature]] = {}
    for feature in sorted(known):
        spelled.setdefault(feature_text(feature), []).append(feature)
    numbers = {name for name, term in known if not term}
    texts = {name for name, term in known if term}
    trained, unmatched = (scorer.names or frozenset()) - {INTERCEPT[0]}, UnmatchedCounts()
    clashing = {OFFSET, *kinds} & (trained | numbers | texts)

    def meant(name: str) -> Feature:
        """Raises InvalidRequest for what may be one or another feature."""
        found = spelled.get(name) or [
            (each, name[len(each) + 1 :]) for each in sorted(trained) if name == each or name.startswith(f"{each}/")
        ]
        if len(found) > 1:
            names = listed(sorted({each for each, _ in found}))
            raise InvalidRequest(
                f"the input {name[:100]!r} may be a term of several features, {names}; say one of these as texts (BYTES), of "
                "each row its term"
            )
        return found[0] if found else _split(name)

    def unslashed(name: str) -> str:
        """The name of a feature that is called as an id or the offset is."""
        return name[:-1] if name.endswith("/") and name[:-1] in clashing else name

    def check_clashing(inputs: Mapping[str, Any]) -> None:
        """Raises InvalidRequest."""
        for name in sorted(clashing & inputs.keys()):
            if not any(each.startswith(f"{name}/") for each in inputs):
                what = "who is scored" if name in kinds else "what is added to the score"
                raise InvalidRequest(
                    f"the model has a feature that is called {name!r}, and the input of that name says {what}; say the "
                    f"feature as {name}/ or {name}/TERM, 0 where there is none"
                )

    def check(name: str, is_text: bool) -> Feature:
        """What one input is, of texts without a term. Raises InvalidRequest."""
        feature = (name, "") if is_text else meant(name)
        scorer.check_names([feature[0]])
        if is_text and name in numbers - texts:
            raise InvalidRequest(f"the input {name[:100]!r} is numbers, and not BYTES")
        if not is_text and not feature[1] and name in texts - numbers:
            raise InvalidRequest(
                f"the input {name[:100]!r} is texts (BYTES), and not numbers; one of its terms is {name}/TERM"
            )
        return feature

    def predict(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        if missing := [kind for kind in kinds if kind not in inputs]:
            raise InvalidRequest(f"the model scores by {listed(kinds)}; missing: {listed(missing)}")
        ids = {kind: _ids(kind, inputs[kind]) for kind in kinds}
        offset = _numbers(OFFSET, inputs[OFFSET]) if OFFSET in inputs else None
        check_clashing(inputs)
        told: dict[str, list[Any]] = {}
        numbers_at: dict[str, Feature] = {}
        for said, array in inputs.items():
            if said == OFFSET or said in ids:
                continue
            name = unslashed(said)
            told[name] = _column(said, array)
            feature = check(name, array.dtype == object)
            if array.dtype != object:
                numbers_at[name] = feature
        rows = len(next(iter(inputs.values())))
        left_out = trained - {numbers_at[name][0] if name in numbers_at else name for name in told}
        scores = np.empty(rows)
        for row in range(rows):
            features: dict[Feature, float] = {}
            for name, values in told.items():
                value = values[row]
                if isinstance(value, str):
                    features[name, value] = 1.0
                elif value:
                    features[numbers_at[name]] = value
            scores[row] = scorer.sum_of(
                {kind: found[row] for kind, found in ids.items()},
                features,
                {},
                0.0 if offset is None else offset[row],
                unmatched,
            )
        unmatched.add(names=rows * len(left_out))
        with np.errstate(over="ignore"):
            return {"predict": np.asarray(scorer.task.mean(scores)), "score": scores}

    features = sorted(spelled) if len(spelled) <= TOLD_MAX else []
    return Predictor(
        predict,
        Columns(model.manifest.features),
        (
            *(TensorSpec(kind, "BYTES", (ANY,)) for kind in kinds),
            *(TensorSpec(f"{name}/" if name in clashing else name, "FP64", (ANY,)) for name in features),
        ),
        tuple(TensorSpec(name, "FP64", (ANY,)) for name in ("predict", "score")),
        unmatched,
    )


def _split(name: str) -> Feature:
    """Of a feature that no fixed effect has: what stands before the first `/` is its name."""
    before, _, term = name.partition("/")
    return before, term


def _flat(name: str, array: Any) -> Any:
    if array.size != len(array):
        raise InvalidRequest(f"the input {name[:100]!r} has the shape {array.shape}; it is one value for each row")
    return array.reshape(-1)


def _ids(kind: str, array: Any) -> list[str]:
    if array.dtype.kind not in "iuO":
        raise InvalidRequest(f"the input {kind!r} says who is scored: texts or whole numbers, and not {array.dtype}")
    return [str(each) for each in _flat(kind, array).tolist()]


def _numbers(name: str, array: Any) -> list[float]:
    if array.dtype == object:
        raise InvalidRequest(f"the input {name[:100]!r} is numbers, and not BYTES")
    found: list[float] = _flat(name, array).astype(np.float64).tolist()
    return found


def _column(name: str, array: Any) -> list[Any]:
    """Texts, or floats."""
    if array.dtype == object:
        texts: list[Any] = _flat(name, array).tolist()
        return texts
    return _numbers(name, array)
