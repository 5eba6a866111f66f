"""Typed features: what they are called, over which dimensions they lie, and which values they have.

from ambry.ml import features

definitions = features.parse_definitions(text, "flagship")
urn = features.FeatureUrn.parse("urn:li:(flagship,historicalActionsInFeed,1,0)")
"""

from __future__ import annotations

from ambry.ml.features.axes import Axis, TensorType
from ambry.ml.features.compatibility import DefinitionChange, Level, compare
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
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.package import digest
from ambry.ml.features.publishing import ChangeRefused, LoadedFeatures, PublishedFeatures, load, publish, publish_change
from ambry.ml.features.reading import check_references, parse_definitions, with_vocabularies
from ambry.ml.features.text import DefinitionInvalid, TextPlace
from ambry.ml.features.tree import check_tree, read_tree
from ambry.ml.features.urn import FeatureUrn, FeatureVersion, Reference
from ambry.ml.features.vocabulary import OUT_OF_VOCAB, Vocabulary, format_vocabulary, parse_vocabulary
from ambry.ml.features.wheel import build_wheel, installed, write_wheel
from ambry.ml.features.writing import format_definitions

__all__ = [
    "OUT_OF_VOCAB",
    "Availability",
    "Axis",
    "Categorical",
    "ChangeRefused",
    "DefinitionChange",
    "DefinitionInvalid",
    "Definitions",
    "Dimension",
    "Discrete",
    "EntityKey",
    "Feature",
    "FeatureDim",
    "FeatureMetadata",
    "FeatureNotDefined",
    "FeatureUrn",
    "FeatureVersion",
    "Hashed",
    "Level",
    "LoadedFeatures",
    "PublishedFeatures",
    "Reference",
    "TensorType",
    "TextPlace",
    "ValueType",
    "Vocabulary",
    "build_wheel",
    "check_references",
    "check_tree",
    "compare",
    "digest",
    "format_definitions",
    "format_vocabulary",
    "installed",
    "load",
    "parse_definitions",
    "parse_vocabulary",
    "publish",
    "publish_change",
    "read_tree",
    "with_vocabularies",
    "write_wheel",
]
