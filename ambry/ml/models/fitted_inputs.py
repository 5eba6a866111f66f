"""The features that are said of an estimator of scikit-learn, and the columns that it was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ambry.errors import InvalidRequest
from ambry.ml.features.urn import FeatureUrn


def check_inputs(model: Any, urns: Sequence[str]) -> None:
    """Raises InvalidRequest where features cannot be the inputs of a model: there are more of them than it takes columns, or it
    was fitted on columns with their names in another order.

    A tensor is several columns, so there may be fewer; columns that are called otherwise say nothing.
    """
    count = _told(model, "n_features_in_")
    if not urns or count is None:
        return
    what = f"the {type(model).__name__} was fitted on {int(count)} columns"
    if len(urns) > int(count):
        raise InvalidRequest(
            f"{what}, and {len(urns)} features are said to be its inputs: {', '.join(urns[:3])}, ...; name those that it takes"
        )
    names = _told(model, "feature_names_in_")
    columns = [] if names is None else [str(column) for column in names]
    for said in (list(urns), [FeatureUrn.parse(urn).name for urn in urns]):
        if sorted(columns) == sorted(said) and columns != said:
            place = next(place for place, (one, other) in enumerate(zip(columns, said, strict=True)) if one != other)
            raise InvalidRequest(
                f"{what}, of which number {place + 1} is {columns[place]!r}, and feature {place + 1} is {urns[place]}; name "
                "the features in the order of its columns"
            )


def _told(model: Any, name: str) -> Any:
    """What a fitted estimator says of its inputs; None for what says nothing."""
    try:
        return getattr(model, name, None)
    except Exception:
        # Of whatever kind: it is computed by libraries that are not ours, and a model that says nothing is not refused.
        return None
