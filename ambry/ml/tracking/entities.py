"""Datasets, versions and aliases as the entities that MLflow shows its users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlflow.entities import LoggedModelParameter as ModelParam
from mlflow.entities import Metric
from mlflow.entities.model_registry import (
    ModelVersion,
    ModelVersionTag,
    RegisteredModel,
    RegisteredModelAlias,
    RegisteredModelTag,
)

from ambry.client.datasets import AliasInfo, DatasetInfo
from ambry.ml.models.loading import StoredModel
from ambry.ml.tracking.model_artifacts import model_uri
from ambry.ml.tracking.notes import ModelNotes
from ambry.ml.tracking.numbers import number_of

OURS = "ambry."
"""How tags begin that are read from the version itself, and so cannot be set."""
SOURCE_KEY = "mlflow.source"
RUN_ID_KEY = "mlflow.run_id"
RUN_LINK_KEY = "mlflow.run_link"
MODEL_ID_KEY = "mlflow.model_id"
RUN_PARAMS_KEY = "mlflow.params"
"""Among the params of a manifest: where MLflow had the model from, and the parameters of its run by name."""
STAGE = "None"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenVersion:
    """What is known of a version where it is shown."""

    model: StoredModel
    created: datetime | None
    notes: ModelNotes
    aliases: tuple[str, ...]


def own_tags(model: StoredModel) -> dict[str, str]:
    """What the version itself says, for MLflow's pages and filters."""
    manifest = model.manifest
    told = {
        "version": model.version,
        "sha256": model.digest,
        "kind": manifest.kind,
        "snapshot": manifest.snapshot,
        "definitions": manifest.definitions,
        "code": manifest.code,
        "parent": manifest.parent,
    }
    return {OURS + name: text for name, text in told.items() if text}


def version_entity(seen: SeenVersion, account: str, container: str) -> Any:
    """A version of a model."""
    model, manifest = seen.model, seen.model.manifest
    created_ms = milliseconds(seen.created)
    files = model_uri(model, account, container)
    tags = {**seen.notes.tags, **own_tags(model)}
    return ModelVersion(
        name=model.place.dataset,
        version=str(number_of(model.version)),
        creation_timestamp=created_ms,
        last_updated_timestamp=created_ms,
        description=seen.notes.description or manifest.note or None,
        current_stage=STAGE,
        source=str(manifest.params.get(SOURCE_KEY) or files),
        run_id=_text(manifest.params, RUN_ID_KEY),
        run_link=_text(manifest.params, RUN_LINK_KEY),
        model_id=_text(manifest.params, MODEL_ID_KEY),
        tags=[ModelVersionTag(key, value) for key, value in sorted(tags.items())],
        aliases=list(seen.aliases),
        params=[
            ModelParam(key, str(value)) for key, value in sorted(_mapping(manifest.params, RUN_PARAMS_KEY).items())
        ],
        metrics=[Metric(key, value, created_ms, 0) for key, value in sorted(manifest.metrics.items())],
    )


def model_entity(
    dataset: DatasetInfo, notes: ModelNotes, aliases: Iterable[AliasInfo], newest: Any | None, first: datetime | None
) -> Any:
    """A model: a dataset, the newest of its versions, and where its aliases point."""
    created_ms = notes.created_ms or milliseconds(first)
    return RegisteredModel(
        name=dataset.name,
        creation_timestamp=created_ms,
        last_updated_timestamp=created_ms if newest is None else newest.last_updated_timestamp,
        description=notes.description or None,
        latest_versions=[] if newest is None else [newest],
        tags=[RegisteredModelTag(key, value) for key, value in sorted(notes.tags.items())],
        aliases=[
            RegisteredModelAlias(each.alias, str(number_of(each.version)))
            for each in aliases
            if each.version is not None
        ],
    )


def milliseconds(time: datetime | None) -> int:
    """Since 1970."""
    return 0 if time is None else int(time.timestamp() * 1000)


def _text(params: Mapping[str, Any], key: str) -> str | None:
    return str(params[key]) if params.get(key) else None


def _mapping(params: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Empty for what somebody else wrote there."""
    return found if isinstance(found := params.get(key), Mapping) else {}
