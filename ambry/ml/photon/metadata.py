"""What model-metadata.json says besides the task: the effects, how each was trained, and how many entities it has.

The number of entities is ours, and so is what rows had that is no feature, and the check of the part of a fixed effect,
xxh3-64 of the file in hexadecimal, as indexes have one of each entity. Photon passes them by, and so does a reader of a
release before they were written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ambry.ml.photon.models import PhotonModel

OBSERVED = "observed"
FIXED, RANDOM = "fixed-effect", "random-effect"
ENTITIES, CHECK = "entities", "check"
_SAID_OF = {FIXED: "fixedEffectOptimizationConfigurations", RANDOM: "randomEffectOptimizationConfigurations"}


def metadata_of(model: PhotonModel, checks: Mapping[str, str]) -> bytes:
    """The bytes of the file, the same for the same model. `checks` are those of the parts of fixed effects."""

    def told(effect: str, names: Mapping[str, Any]) -> dict[str, Any]:
        values: list[dict[str, Any]] = [
            {"name": name, "configuration": dict(model.configurations.get(name, {}))} for name in sorted(names)
        ]
        if effect == RANDOM:
            values = [{**each, ENTITIES: len(model.random[each["name"]].entities)} for each in values]
        else:
            values = [{**each, CHECK: checks[each["name"]]} for each in values]
        return {"configurations": effect, "values": values}

    said = {
        "modelType": model.task.value,
        "modelName": model.name,
        _SAID_OF[FIXED]: told(FIXED, model.fixed),
        _SAID_OF[RANDOM]: told(RANDOM, model.random),
        **({OBSERVED: list(model.observed)} if model.observed else {}),
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


def checks_said(said: Mapping[str, Any]) -> dict[str, str]:
    """The checks of the parts of fixed effects, of those of which one is said."""
    told = ((each.get("name"), each.get(CHECK)) for each in _values_said(said, _SAID_OF[FIXED]))
    return {name: check for name, check in told if isinstance(name, str) and isinstance(check, str)}


def observed_said(said: Mapping[str, Any]) -> tuple[str, ...]:
    """What of rows was no feature, if that is said."""
    told = said.get(OBSERVED)
    return tuple(each for each in told if isinstance(each, str)) if isinstance(told, list) else ()


def _values_said(said: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    told = said.get(key)
    values = told.get("values") if isinstance(told, dict) else None
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []
