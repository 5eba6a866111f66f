"""Typed features: what they are called, over which dimensions they lie, and which values they have.

from ambry.ml import features

definitions = features.parse_definitions(text, "flagship")
urn = features.FeatureUrn.parse("urn:li:(flagship,historicalActionsInFeed,1,0)")
"""

from __future__ import annotations

from ambry.ml.features.definitions import (
    Availability,
    Categorical,
    Definitions,
    Dimension,
    Discrete,
    EntityKey,
    Feature,
    FeatureDim,
    Hashed,
    ValueType,
)
from ambry.ml.features.reading import check_references, parse_definitions, with_vocabularies
from ambry.ml.features.text import DefinitionInvalid, Place
from ambry.ml.features.urn import FeatureUrn, FeatureVersion, Reference
from ambry.ml.features.vocabulary import OUT_OF_VOCAB, Vocabulary, format_vocabulary, parse_vocabulary
from ambry.ml.features.writing import format_definitions

__all__ = [
    "OUT_OF_VOCAB",
    "Availability",
    "Categorical",
    "DefinitionInvalid",
    "Definitions",
    "Dimension",
    "Discrete",
    "EntityKey",
    "Feature",
    "FeatureDim",
    "FeatureUrn",
    "FeatureVersion",
    "Hashed",
    "Place",
    "Reference",
    "ValueType",
    "Vocabulary",
    "check_references",
    "format_definitions",
    "format_vocabulary",
    "parse_definitions",
    "parse_vocabulary",
    "with_vocabularies",
]
