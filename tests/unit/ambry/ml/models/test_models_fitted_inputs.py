"""The features that are said of an estimator are held against the columns that it was fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ambry import AmbryClient, InvalidRequest
from ambry.ml import models
from ambry.ml.models.fitted_inputs import check_inputs

A, B, C = (f"urn:li:(n,{name},1,0)" for name in "abc")


class Fitted:
    """What scikit-learn sets when it fits."""

    def __init__(self, count: int, *names: str) -> None:
        self.n_features_in_ = count
        if names:
            self.feature_names_in_ = np.array(names, dtype=object)


@pytest.mark.parametrize(
    ("model", "urns"),
    [
        (Fitted(2), [A, B]),
        (Fitted(7), [A, B]),  # tensors are several columns
        (Fitted(2), []),
        (Fitted(2, A, B), [A, B]),
        (Fitted(2, "a", "b"), [A, B]),
        (Fitted(2, "age", "income"), [A, B]),
        (Fitted(3, "b", "a", "c"), [A, B]),
        (object(), [A, B, C]),
    ],
)
def test_features_that_can_be_its_inputs_are_taken(model: Any, urns: list[str]) -> None:
    check_inputs(model, urns)


@pytest.mark.parametrize(
    ("model", "urns", "words"),
    [
        (Fitted(1), [A, B], "was fitted on 1 columns, and 2 features are said to be its inputs"),
        (Fitted(2, B, A), [A, B], "number 1 is 'urn:li:.n,b,1,0.', and feature 1 is urn:li:.n,a,1,0."),
        (Fitted(3, "a", "c", "b"), [A, B, C], "number 2 is 'c', and feature 2 is"),
    ],
)
def test_features_that_cannot_be_its_inputs_are_refused(model: Any, urns: list[str], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        check_inputs(model, urns)


def test_a_model_whose_features_cannot_be_is_not_published(client: AmbryClient, name: str) -> None:
    """It was published, and each request that named its features was refused."""
    linear = pytest.importorskip("sklearn.linear_model")
    fitted = linear.LogisticRegression().fit(np.eye(2), [0, 1])
    with pytest.raises(InvalidRequest, match="LogisticRegression was fitted on 2 columns, and 3 features"):
        models.publish(client, name, fitted, features=[A, B, C])
    assert list(client.list(f"{name}.parts/")) == []
    assert models.publish(client, name, fitted, features=[A, B]).version == "1.0.0"
