"""What the metadata of a model say, and that what somebody else wrote there says nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ambry.ml.photon.metadata import (
    FIXED,
    RANDOM,
    checks_said,
    configurations_of,
    effects_said,
    entities_said,
    metadata_of,
    observed_said,
)
from tests.support.photon_models import many_entities


def test_effects_and_their_entities_are_said() -> None:
    model = many_entities(7)
    said = json.loads(metadata_of(model, dict.fromkeys(model, "0f")))
    assert effects_said(said) == {FIXED: set(model.fixed), RANDOM: set(model.random)}
    assert entities_said(said) == dict.fromkeys(model.random, 7)
    assert checks_said(said) == dict.fromkeys(model, "0f")
    assert observed_said(said) == ()
    said = json.loads(metadata_of(replace(model, observed=("clicked", "job")), dict.fromkeys(model, "0f")))
    assert observed_said(said) == ("clicked", "job")


@pytest.mark.parametrize("values", [5, None, "ab", {"a": 1}, [3, None, {"name": 1, "entities": 2}]])
def test_what_is_of_another_shape_says_nothing(values: object) -> None:
    assert configurations_of({"fixedEffectOptimizationConfigurations": {"values": values}}) == {}
    assert entities_said({"randomEffectOptimizationConfigurations": {"values": values}}) == {}
    assert checks_said({"fixedEffectOptimizationConfigurations": {"values": values}}) == {}
    assert observed_said({"observed": values}) == ()
