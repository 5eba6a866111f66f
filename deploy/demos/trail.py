"""What went into each step of a walk and what came out, as ids: told, and compared with those of another walk.

An id is of one of two kinds. What is named by its content, or by a number that follows from it, is the same in every store:
versions, digests, names of jobs. A blob has an id of one store, and with it the manifest that names the blob.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

from deploy.demos.stage import Stage


@dataclass(slots=True)
class Trail:
    """The ids of one walk by what they are, and what each step took in seconds."""

    stage: Stage
    everywhere: dict[str, str] = field(default_factory=dict)
    here: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    _step: str = ""
    _began: float = 0.0

    def step(self, title: str, **inputs: str) -> None:
        self.end_step()
        self.stage.step(title)
        self._step, self._began = title, time.monotonic()
        for what, id in inputs.items():
            click.echo(f"   in      {what.replace('_', ' ')}: {id}")

    def end_step(self) -> None:
        if self._step:
            self.seconds[self._step] = time.monotonic() - self._began
        self._step = ""

    def out(self, what: str, id: str, *, here: str = "") -> None:
        """`id` is the same in every store, `here` one of this store that belongs to it."""
        click.echo(f"   out     {what}: {id}{f', {here}' if here else ''}")
        self.everywhere[what] = id
        if here:
            self.here[what] = here


def compare_walks(stage: Stage, first: Trail, second: Trail) -> None:
    """Whether a second walk in the same store came out at the same ids, all of them."""
    for kind, one, other in (
        ("version, digest and job is", first.everywhere, second.everywhere),
        ("id of a blob and digest of a manifest is", first.here, second.here),
    ):
        stage.check(f"each {kind} that of the first time", one == other, _told(one, other))


def compare_stores(stage: Stage, trail: Trail, path: Path) -> None:
    """Compare with the walk whose ids a file has, which may be of another store; where there is none, it is written."""
    own = {"everywhere": trail.everywhere, "here": trail.here}
    if not path.exists():
        path.write_text(json.dumps(own, indent=1) + "\n", "utf-8")
        stage.say(f"{path} has the ids of this walk; the next one with --ids {path} is compared with it")
        return
    told: Mapping[str, Mapping[str, str]] = json.loads(path.read_text("utf-8"))
    one = told["everywhere"]
    what = f"each version, digest and job is that of {path.name}, of another store"
    stage.check(what, one == trail.everywhere, _told(one, trail.everywhere))
    others = sum(told["here"].get(what) != id for what, id in trail.here.items())
    stage.say(f"{others} of {len(trail.here)} ids of blobs and manifests are others: they are of one store")


def _told(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    apart = [
        f"{what} {one.get(what)} and {other.get(what)}" for what in {**one, **other} if one.get(what) != other.get(what)
    ]
    return "; ".join(apart) or f"{len(one)} of {len(one)}"
