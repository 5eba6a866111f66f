"""Faults of tests/support/planted.py, and other changes of the product, in real processes.

What is started within `planted_in_children` imports a sitecustomize.py of this module's making before anything of its own
(https://docs.python.org/3/library/site.html), which makes the changes. A process that cannot make them ends with PLANT_FAILED.
The product has no switch for any of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "AMBRY_TEST_PLANTS"
PLANT_FAILED = 70
SITE = f"""
import os, traceback
try:
    from tests.support.planted_process import make_changes
    make_changes()
except BaseException:
    traceback.print_exc()
    os._exit({PLANT_FAILED})
"""


def make_changes() -> None:
    """Those that the environment names, for as long as this process lives."""
    patch = pytest.MonkeyPatch()
    for place in filter(None, os.environ.get(VARIABLE, "").split(",")):
        module, _, name = place.partition(":")
        getattr(import_module(module), name)(patch)


@contextmanager
def planted_in_children(directory: Path, *plants: Callable[[pytest.MonkeyPatch], None]) -> Iterator[None]:
    """What is started meanwhile is changed by `plants`, functions of a module. `directory` is for a file of this one's."""
    site = directory / "planted-site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE)
    path = os.pathsep.join(filter(None, [str(site), str(ROOT), os.environ.get("PYTHONPATH")]))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", path)
        environment.setenv(VARIABLE, ",".join(f"{plant.__module__}:{plant.__name__}" for plant in plants))
        yield
