"""Frontends that die between two steps of an upload, and janitors that come at once; planted in real processes.

See tests/support/planted_process.py.
"""

from __future__ import annotations

import functools
import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ambry.ids import BlobId

STEP = "AMBRY_TEST_STEP"
"""`module:Class.method:before` or `:after`: where the process dies, for ever; empty: nowhere."""
ANNOUNCED = "AMBRY_TEST_ANNOUNCED"
"""A file that the ids of puts with keys are added to, before anything is sent under them."""


def hasty(patch: pytest.MonkeyPatch) -> None:
    from frontend.names import intents, janitor

    patch.setattr(intents, "MARGIN_S", 1.0)
    patch.setattr(janitor, "TICK_S", 1.0)


def dies_at_step(patch: pytest.MonkeyPatch) -> None:
    step = os.environ.get(STEP, "")
    if not step:
        return
    module, where, when = step.split(":")
    *holder, name = where.split(".")
    place: Any = import_module(module)
    for each in holder:
        place = getattr(place, each)
    patch.setattr(place, name, _dying(getattr(place, name), before=when == "before"))


def notes_announced(patch: pytest.MonkeyPatch) -> None:
    from frontend.idempotency.keys import KeyedPut

    file = Path(os.environ[ANNOUNCED])
    announce = KeyedPut.announce

    async def noted(keyed: KeyedPut, blob_id: BlobId) -> None:
        _note(file, blob_id)
        await announce(keyed, blob_id)

    patch.setattr(KeyedPut, "announce", noted)


def _note(file: Path, blob_id: BlobId) -> None:
    with file.open("a") as ids:
        ids.write(f"{blob_id}\n")


def _dying(method: Any, *, before: bool) -> Any:
    @functools.wraps(method)
    async def dies(*args: Any, **kwargs: Any) -> Any:
        if not before:
            await method(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    return dies
