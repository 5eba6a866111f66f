"""Whether a model is whole, and its parts, effects and tasks are those that it was written with: told while they are read.

Of a part, 24 bytes a record are held, and of its bytes what is read at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

from ambry.errors import InvalidRequest
from ambry.ml.photon.entities import EntityIndex
from ambry.ml.photon.metadata import checks_said, effects_said, id_info, id_infos_said
from ambry.ml.photon.models import FixedModel, RandomModel, Task


class PartCheck:
    """Whether the records of a part are those of an index. It is given the bytes of the part in their order."""

    def __init__(self, index: EntityIndex, part: str) -> None:
        self._offset, self._size, self._check = index.checks(part)
        self._record = 0
        """The one that is read, or comes next."""
        self._at = 0
        """How many bytes came."""
        self._next = 0
        """The place of the next byte of a record: at its beginning, where the one before it ended."""
        self._sum: Any = xxhash.xxh3_64()
        self._wrong = False

    def update(self, data: bytes) -> None:
        """The next bytes."""
        view, start = memoryview(data), self._at
        self._at += len(data)
        while not self._wrong and self._record < len(self._offset):
            begin, size = int(self._offset[self._record]), int(self._size[self._record])
            # Of one that begins within another, bytes are missed, and it is not what it was.
            here, end = max(begin, self._next), min(begin + size, self._at)
            if here >= end:
                return
            self._sum.update(view[here - start : end - start])
            self._next = end
            if end < begin + size:
                return
            self._wrong = self._sum.intdigest() != int(self._check[self._record])
            self._sum.reset()
            self._record += 1

    @property
    def intact(self) -> bool:
        """Behind the last bytes: whether all records of the index were there, as they were."""
        return not self._wrong and self._record == len(self._offset)


def changed(part: Path, said_by: Path, to_take: str) -> InvalidRequest:
    """What is raised for a part that is not the one which was written."""
    return InvalidRequest(
        f"{part} is not what {said_by} says: it is of another model, or was changed; copy the model again, or take {to_take} "
        "if the part is as it is to be"
    )


def incomplete(what: str) -> InvalidRequest:
    """What is raised for a model that lacks something."""
    return InvalidRequest(f"{what}: the model is not whole; copy or write it again")


def check_effects(
    metadata: Path, said: Mapping[str, Any], there: Mapping[str, Mapping[str, FixedModel | RandomModel]]
) -> None:
    """Raises InvalidRequest where the metadata name others than those that are there, by kind, or say another id-info."""
    directory = metadata.parent
    for effect, names in effects_said(said).items():
        if lacking := names - there[effect].keys():
            raise incomplete(f"{metadata} names the effect {min(lacking)!r}, and there is no {effect} of it")
        # Photon does not name those that it has only kept, as of a partial retraining.
        if (more := there[effect].keys() - names) and checks_said(said):
            raise InvalidRequest(
                f"{directory / effect / min(more)} is an effect that {metadata} does not name, and would be added to each "
                "score; move it away"
            )
    infos = id_infos_said(said)
    for effect, models in there.items():
        for name, model in models.items():
            if name in infos and infos[name] != id_info(model):
                raise InvalidRequest(
                    f"id-info in {directory / effect / name} says {', '.join(id_info(model))}, and {metadata} "
                    f"{', '.join(map(str, infos[name]))}: one of them is of another model, or was changed; copy the model again"
                )


def check_classes(directory: Path, task: Task, classes: set[str]) -> None:
    """Raises InvalidRequest where records are of another task; a class that we do not know says nothing."""
    other = next((each for each in Task if each is not task and each.model_class in classes), None)
    if other is not None:
        raise InvalidRequest(
            f"{directory} is a model of {task.value}, and records in it are of {other.value}: a part or the metadata are of "
            "another model, or were changed; copy the model again"
        )


def check_count(said_by: Path, said: int, coefficients: Path, found: int) -> None:
    """Raises InvalidRequest where there are fewer entities than are said; somebody may have added some."""
    if found < said:
        raise incomplete(f"{said_by} says {said:,} entities, and {coefficients} has {found:,}")
