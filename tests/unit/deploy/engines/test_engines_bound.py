"""How long a test on an engine may take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest


def test_a_test_on_an_engine_has_a_bound_and_no_other_has() -> None:
    marks: dict[str, list[pytest.Mark]] = {"engine": [], "light": []}

    def item(name: str) -> Any:
        return SimpleNamespace(
            get_closest_marker=lambda marker: marker == name or None,
            add_marker=lambda made: marks[name].append(made.mark),
        )

    conftest.pytest_collection_modifyitems([item("engine"), item("light")])
    assert [(mark.name, mark.args) for mark in marks["engine"]] == [("timeout", (900,))] and not marks["light"]
