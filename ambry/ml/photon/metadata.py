"""What model-metadata.json says besides the task: the effects, how each was trained, and how many entities it has.

The number of entities is ours, and so are what rows had that is no feature, what `id-info` of an effect says, and its check,
xxh3-64 in hexadecimal: of the part of a fixed effect, and of the index of a random one, which has one of each entity. Photon
passes them by, and so does a reader of a release before they were written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ambry.errors import InvalidRequest
from ambry.ml.photon.models import FixedModel, PhotonModel, RandomModel

OBSERVED = "observed"
FIXED, RANDOM = "fixed-effect", "random-effect"
ENTITIES, CHECK, ID_INFO_SAID = "entities", "check", "idInfo"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,150}")
_SAID_OF = {FIXED: "fixedEffectOptimizationConfigurations", RANDOM: "randomEffectOptimizationConfigurations"}


def metadata_of(model: PhotonModel, checks: Mapping[str, str]) -> bytes:
    """The bytes of the file, the same for the same model. `checks` are those of effects."""

    def told(effect: str, names: Mapping[str, Any]) -> dict[str, Any]:
        values: list[dict[str, Any]] = [
            {"name": name, "configuration": dict(model.configurations.get(name, {}))} for name in sorted(names)
        ]
        if effect == RANDOM:
            values = [{**each, ENTITIES: len(model.random[each["name"]].entities)} for each in values]
        values = [
            {**each, ID_INFO_SAID: id_info(model.coordinates[each["name"]]), CHECK: checks[each["name"]]}
            for each in values
        ]
        return {"configurations": effect, "values": values}

    said = {
        "modelType": model.task.value,
        "modelName": model.name,
        _SAID_OF[FIXED]: told(FIXED, model.fixed),
        _SAID_OF[RANDOM]: told(RANDOM, model.random),
        **({OBSERVED: list(model.observed)} if model.observed else {}),
    }
    return (json.dumps(said, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def check_names(effects: Iterable[str], lines: Iterable[str]) -> None:
    """Raises InvalidRequest for an effect that no directory can be called by, and a shard or kind that is no line."""
    for name in effects:
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"{name!r} cannot be the name of an effect: letters, digits, _, . and -")
    for told in lines:
        if not told or "\n" in told or told != told.strip():
            raise InvalidRequest(f"{told!r} cannot be the name of a shard or of a kind of entity: it is one line")


def id_info(effect: FixedModel | RandomModel) -> list[str]:
    """What its file of that name says: the kind of entity of a random one, and the shard."""
    return [effect.shard] if isinstance(effect, FixedModel) else [effect.entity, effect.shard]


def configurations_of(said: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """How each effect was trained, as the metadata say it."""
    found: dict[str, Mapping[str, Any]] = {}
    for key in _SAID_OF.values():
        for each in _values_said(said, key):
            if isinstance(each.get("configuration"), dict):
                found[str(each.get("name"))] = each["configuration"]
    return found


def effects_said(said: Mapping[str, Any]) -> dict[str, set[str]]:
    """The names of fixed and of random effects, as far as the metadata list them; models from before say nothing."""
    return {
        effect: {each["name"] for each in _values_said(said, key) if isinstance(each.get("name"), str)}
        for effect, key in _SAID_OF.items()
        if key in said
    }


def entities_said(said: Mapping[str, Any]) -> dict[str, int]:
    """How many entities random effects have, of those of which it is said."""
    told = ((each.get("name"), each.get(ENTITIES)) for each in _values_said(said, _SAID_OF[RANDOM]))
    return {name: count for name, count in told if isinstance(name, str) and type(count) is int}


def checks_said(said: Mapping[str, Any]) -> dict[str, str]:
    """The checks of effects, of those of which one is said."""
    told = ((each.get("name"), each.get(CHECK)) for key in _SAID_OF.values() for each in _values_said(said, key))
    return {name: check for name, check in told if isinstance(name, str) and isinstance(check, str)}


def id_infos_said(said: Mapping[str, Any]) -> dict[str, list[str]]:
    """What `id-info` of effects says, of those of which it is said."""
    told = ((each.get("name"), each.get(ID_INFO_SAID)) for key in _SAID_OF.values() for each in _values_said(said, key))
    return {name: lines for name, lines in told if isinstance(name, str) and isinstance(lines, list)}


def observed_said(said: Mapping[str, Any]) -> tuple[str, ...]:
    """What of rows was no feature, if that is said."""
    told = said.get(OBSERVED)
    return tuple(each for each in told if isinstance(each, str)) if isinstance(told, list) else ()


def _values_said(said: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    told = said.get(key)
    values = told.get("values") if isinstance(told, dict) else None
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []
