"""What model-metadata.json says besides the task: the effects, how each was trained, and how many entities it has.

The number of entities is ours; Photon passes it by, and so does a reader of a release before it was written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ambry.ml.photon.models import PhotonModel

FIXED, RANDOM = "fixed-effect", "random-effect"
ENTITIES = "entities"
_SAID_OF = {FIXED: "fixedEffectOptimizationConfigurations", RANDOM: "randomEffectOptimizationConfigurations"}


def metadata_of(model: PhotonModel) -> bytes:
    """The bytes of the file, the same for the same model."""

    def told(effect: str, names: Mapping[str, Any]) -> dict[str, Any]:
        values: list[dict[str, Any]] = [
            {"name": name, "configuration": dict(model.configurations.get(name, {}))} for name in sorted(names)
        ]
        if effect == RANDOM:
            values = [{**each, ENTITIES: len(model.random[each["name"]].entities)} for each in values]
        return {"configurations": effect, "values": values}

    said = {
        "modelType": model.task.value,
        "modelName": model.name,
        _SAID_OF[FIXED]: told(FIXED, model.fixed),
        _SAID_OF[RANDOM]: told(RANDOM, model.random),
    }
    return (json.dumps(said, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def configurations_of(said: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """How each effect was trained, as the metadata say it."""
    found: dict[str, Mapping[str, Any]] = {}
    for key in _SAID_OF.values():
        for each in _values_said(said, key):
            if isinstance(each.get("configuration"), dict):
                found[str(each.get("name"))] = each["configuration"]
    return found


def effects_said(said: Mapping[str, Any]) -> dict[str, set[str]]:
    """The names of fixed and of random effects that the metadata know; none of models from before they were said."""
    return {
        effect: {each["name"] for each in _values_said(said, key) if isinstance(each.get("name"), str)}
        for effect, key in _SAID_OF.items()
    }


def entities_said(said: Mapping[str, Any]) -> dict[str, int]:
    """How many entities random effects have, of those of which it is said."""
    told = ((each.get("name"), each.get(ENTITIES)) for each in _values_said(said, _SAID_OF[RANDOM]))
    return {name: count for name, count in told if isinstance(name, str) and type(count) is int}


def _values_said(said: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    told = said.get(key)
    values = told.get("values") if isinstance(told, dict) else None
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []
