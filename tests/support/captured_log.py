"""What some modules log, as a list of events: in any order of tests, whatever others did to the logging of the process."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

Events = list[dict[str, Any]]


def capture_log(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> Events:
    """The events that `modules` log from now on, in order: `event`, `log_level`, and their pairs."""
    capture = LogCapture()
    logger = structlog.wrap_logger(
        None,
        processors=[capture],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=True,
    )
    for module in modules:
        monkeypatch.setattr(module, "log", logger)
    return capture.entries  # type: ignore[return-value]


def said(events: Events, event: str) -> Events:
    """Those of one kind."""
    return [item for item in events if item["event"] == event]
