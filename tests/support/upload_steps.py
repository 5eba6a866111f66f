"""Frontends that die between two steps of an upload or of a change of names, and janitors that come at once.

Planted in real processes.

See tests/support/planted_process.py.
"""

from __future__ import annotations

import functools
import inspect
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
    from frontend.uploads import janitor as uploads_janitor

    patch.setattr(intents, "MARGIN_S", 1.0)
    patch.setattr(janitor, "TICK_S", 1.0)
    patch.setattr(uploads_janitor, "TICK_S", 1.0)


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


def notes_intents(patch: pytest.MonkeyPatch) -> None:
    """Adds the ids of blobs for which an intent is written to the same file, before anything is written."""
    from frontend.names.intents import Intents

    file = Path(os.environ[ANNOUNCED])
    row = Intents.row

    def noted(intents: Intents, kind: Any, blob_id: BlobId, *args: Any, **kwargs: Any) -> Any:
        _note(file, blob_id)
        return row(intents, kind, blob_id, *args, **kwargs)

    patch.setattr(Intents, "row", noted)


def _dying(method: Any, *, before: bool) -> Any:
    if not inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        def dies_at_once(*args: Any, **kwargs: Any) -> Any:
            if not before:
                method(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)

        return dies_at_once

    @functools.wraps(method)
    async def dies(*args: Any, **kwargs: Any) -> Any:
        if not before:
            await method(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    return dies
