"""An experiment is a JSON document that never changes: who is in it, which arms there are, and how far it is exposed.

    {"format": 1, "name": "ranker-2", "salt": "9f86d081884c7d65",
     "arms": [{"name": "control", "share": 0.5, "model": "ranker@1.4.0"},
              {"name": "treatment", "share": 0.5, "model": "ranker@2.0.0"}],
     "exposed": 0.1, "targeting": {"country": ["de", "at"]},
     "layer": {"name": "feed", "from": 0.0, "to": 0.5}, "holdout": {"name": "2026", "share": 0.05}, "metrics": ["clicks"]}

Ramping makes the next document, which may only widen: see `check_ramp`. A unit's arm is decided by the document and the unit
alone. Layers: experiments of one layer have stretches of it that do not overlap, so a unit is in at most one of them. A holdout
is a share of all units that none of the experiments naming it ever sees.

Targeting compares as JSON has it, so that a service in another language sees the same: a text is the same text, code point by
code point, a boolean the same boolean, and a number the same number, however it is written. 1 is 1.0, and neither true nor "1".
A field that nobody knows is refused: one that is misspelt would be an experiment for everybody.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ambry.errors import MALFORMED, InvalidRequest
from ambry.ml.experiments.assignment import (
    Stretch,
    Unit,
    arm_at,
    arms_at,
    exposed_stretches,
    key_of,
    keys_of,
    place_at,
    places_at,
    salt_of,
)
from ambry.ml.experiments.checks import (
    check_fields,
    check_name,
    check_part,
    check_text,
    check_values,
    fields_once,
    listed,
    typed,
)

FORMAT = 1
CONTENT_TYPE = "application/vnd.ambry.experiment+json"
ARMS_MAX = 64
NOTE_CHARACTERS_MAX = 10_000
_SALT = re.compile(r"[0-9a-f]{16}")
_SHARES_SLACK = 1e-9
Attributes = Mapping[str, Any]
"""Of a unit, when it is looked at: texts, numbers, booleans."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What units may see. `model` is what serves them, as text that names a version."""

    name: str
    share: float
    model: str = ""


@dataclass(frozen=True, slots=True)
class LayerRange:
    """The stretch of a layer that an experiment has: from `begin` up to `end`, of [0, 1)."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Holdout:
    """A share of all units that is kept out."""

    name: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seeds:
    """By what units are hashed: for their arm, for a holdout and for a layer."""

    arm: int
    holdout: int
    layer: int


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One document. The first arm is the one that others are compared with."""

    name: str
    arms: tuple[Arm, ...]
    exposed: float = 1.0
    """Which part of each arm sees it; 0 is nobody."""
    salt: str = ""
    """16 hexadecimal digits; empty is made of the name."""
    targeting: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """A unit is in it if each of these attributes has one of these values."""
    layer: LayerRange | None = None
    holdout: Holdout | None = None
    metrics: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        check_name("an experiment", self.name)
        if not self.salt:
            object.__setattr__(self, "salt", f"{salt_of(self.name):016x}")
        if not isinstance(self.salt, str) or not _SALT.fullmatch(self.salt):
            raise InvalidRequest(f"{self.salt!r} is no salt; one has 16 hexadecimal digits")
        _check_arms(self.arms)
        check_part("exposed", self.exposed)
        object.__setattr__(self, "exposed", float(self.exposed))
        if self.layer is not None:
            check_name("a layer", self.layer.name)
            for end in (self.layer.begin, self.layer.end):
                check_part("the end of a stretch of a layer", end)
            if not self.layer.begin < self.layer.end:
                raise InvalidRequest(
                    f"a stretch of a layer goes from a smaller number to a greater one, not from {self.layer.begin} "
                    f"to {self.layer.end}"
                )
        if self.holdout is not None:
            check_name("a holdout", self.holdout.name)
            check_part("the share of a holdout", self.holdout.share)
        for attribute, values in self.targeting.items():
            check_text("an attribute of the targeting", attribute)
            check_values(attribute, values)
        if isinstance(self.metrics, str):
            raise InvalidRequest(f"metrics are a list of names, not the text {self.metrics!r}")
        for metric in self.metrics:
            check_text("a metric", metric)
        check_text("the note", self.note, characters_max=NOTE_CHARACTERS_MAX, is_needed=False)

    # --- who sees what ---

    def arm_of(self, unit: Unit, attributes: Attributes | None = None) -> Arm | None:
        """What a unit sees; None for one that is not in it. Raises InvalidRequest for what is no unit."""
        if self.targeting and not self._targets(attributes or {}):
            return None
        seeds, key = self._seeds, key_of(unit)
        if self.holdout is not None and place_at(seeds.holdout, key) < self.holdout.share:
            return None
        if self.layer is not None and not self.layer.begin <= place_at(seeds.layer, key) < self.layer.end:
            return None
        arm = arm_at(place_at(seeds.arm, key), self._stretches)
        return None if arm is None else self.arms[arm]

    def arms_of(self, units: Any) -> Any:
        """`arm_of` of each, without targeting, as a numpy array of indices of `arms`; -1 for None."""
        import numpy as np

        seeds, keys = self._seeds, keys_of(units)
        found = arms_at(places_at(seeds.arm, keys), self._stretches)
        if self.holdout is not None:
            held = places_at(seeds.holdout, keys) < self.holdout.share
            found = np.where(held, -1, found)
        if self.layer is not None:
            places = places_at(seeds.layer, keys)
            found = np.where((self.layer.begin <= places) & (places < self.layer.end), found, -1)
        return found

    def _targets(self, attributes: Attributes) -> bool:
        return all(name in attributes and typed(attributes[name]) in values for name, values in self._targeting.items())

    @cached_property
    def _targeting(self) -> Mapping[str, frozenset[Any]]:
        return {name: frozenset(map(typed, values)) for name, values in self.targeting.items()}

    @cached_property
    def _stretches(self) -> tuple[Stretch, ...]:
        return exposed_stretches([arm.share for arm in self.arms], self.exposed)

    @cached_property
    def _seeds(self) -> _Seeds:
        return _Seeds(
            arm=int(self.salt, 16),
            holdout=0 if self.holdout is None else salt_of(f"holdout/{self.holdout.name}"),
            layer=0 if self.layer is None else salt_of(f"layer/{self.layer.name}"),
        )

    # --- text ---

    def encode(self) -> bytes:
        """Canonical JSON: the same experiment is the same document."""
        told: dict[str, Any] = {
            "format": FORMAT,
            "name": self.name,
            "salt": self.salt,
            "arms": [
                {"name": arm.name, "share": arm.share, **({"model": arm.model} if arm.model else {})}
                for arm in self.arms
            ],
            "exposed": self.exposed,
            "targeting": {name: list(values) for name, values in self.targeting.items()},
            "metrics": list(self.metrics),
            "note": self.note,
        }
        if self.layer is not None:
            told["layer"] = {"name": self.layer.name, "from": self.layer.begin, "to": self.layer.end}
        if self.holdout is not None:
            told["holdout"] = {"name": self.holdout.name, "share": self.holdout.share}
        said = {name: value for name, value in told.items() if value not in ("", [], {})}
        return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_experiment(data: bytes | str) -> Experiment:
    """Raises InvalidRequest for what is no experiment, contradicts itself, or is of a later format."""
    try:
        said = json.loads(data, object_pairs_hook=fields_once)
        number = said.get("format", FORMAT)
        if isinstance(number, bool) or number != FORMAT:
            raise InvalidRequest(
                f"this is an experiment of the format {number!r}, which this release does not read; take a newer one"
            )
        check_fields("an experiment", said)
        for arm in listed("arms", said["arms"]):
            check_fields("an arm", arm)
        layer, holdout = said.get("layer"), said.get("holdout")
        for kind, part in (("a layer", layer), ("a holdout", holdout)):
            if part is not None:
                check_fields(kind, part)
        targeting = said.get("targeting", {})
        if not isinstance(targeting, dict):
            raise InvalidRequest(f"'targeting' is an object of lists in an experiment, not {targeting!r:.60}")
        fields: dict[str, Any] = {
            "name": said["name"],
            "arms": tuple(Arm(arm["name"], arm["share"], arm.get("model", "")) for arm in said["arms"]),
            "exposed": said.get("exposed", 1.0),
            "salt": said.get("salt", ""),
            "targeting": {name: listed(name, values) for name, values in targeting.items()},
            "layer": None if layer is None else LayerRange(layer["name"], layer["from"], layer["to"]),
            "holdout": None if holdout is None else Holdout(holdout["name"], holdout["share"]),
            "metrics": listed("metrics", said.get("metrics", [])),
            "note": said.get("note", ""),
        }
    except InvalidRequest:
        raise
    except KeyError as error:
        raise InvalidRequest(f"this is no experiment: it has no field {error}") from error
    except MALFORMED as error:
        raise InvalidRequest(f"this is no experiment: {error}") from error
    return Experiment(**fields)


def check_ramp(now: Experiment, after: Experiment) -> None:
    """Raises InvalidRequest where the next document would move a unit from one arm to another, or back.

    It may be exposed further, to more values of an attribute, to a longer stretch of its layer; or to nobody (`exposed` 0),
    which ends it. Arms, shares, salt, holdout and names stay.
    """
    if after.exposed == 0:
        return
    if (after.name, after.salt, after.holdout) != (now.name, now.salt, now.holdout):
        raise InvalidRequest("a ramp keeps the name, the salt and the holdout; another experiment has another name")
    if [(arm.name, arm.share) for arm in after.arms] != [(arm.name, arm.share) for arm in now.arms]:
        raise InvalidRequest("a ramp keeps the arms and their shares; who saw one would see another")
    if after.exposed < now.exposed:
        raise InvalidRequest(
            f"exposed {now.exposed} may grow, and not fall to {after.exposed}; 0 ends the experiment for all"
        )
    for name, values in after.targeting.items():
        before_values = now.targeting.get(name)
        if before_values is None or not set(map(typed, before_values)) <= set(map(typed, values)):
            raise InvalidRequest(f"targeting by {name!r} would leave out units that are in it")
    before, later = now.layer, after.layer
    if (before is None) != (later is None) or (
        before is not None
        and later is not None
        and (before.name != later.name or later.begin > before.begin or later.end < before.end)
    ):
        raise InvalidRequest("the stretch of the layer may grow, and not move")


def ramped(now: Experiment, exposed: float) -> Experiment:
    """The next document, exposed to this part. Raises InvalidRequest."""
    after = replace(now, exposed=exposed)
    check_ramp(now, after)
    return after


def _check_arms(arms: tuple[Arm, ...]) -> None:
    if not 1 <= len(arms) <= ARMS_MAX:
        raise InvalidRequest(f"an experiment has 1 to {ARMS_MAX} arms, not {len(arms)}")
    for arm in arms:
        check_text("an arm", arm.name)
        check_text(f"the model of {arm.name!r}", arm.model, is_needed=False)
        check_part(f"the share of {arm.name!r}", arm.share)
        if not arm.share:
            raise InvalidRequest(f"nobody ever sees the arm {arm.name!r}, whose share is 0; leave it out")
    names = [arm.name for arm in arms]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InvalidRequest(f"two arms are called {twice[0]!r}; each has a name of its own")
    total = math.fsum(arm.share for arm in arms)
    if abs(total - 1) > _SHARES_SLACK:
        raise InvalidRequest(f"the shares of the arms are {total:g} together, and have to be 1")
