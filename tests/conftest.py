"""What every run of tests has: how they are spread over processes, how a run ends that is told to, and where the time went."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.home import leave_home
from tests.support.left_memory import LeftMemory, freeze
from tests.support.spread import part_of, unit_of_work

# How long an example takes depends on what else the machine does. A failure says how to repeat it.
settings.register_profile("ambry", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("ambry")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `pytest -n`: units of work in the order of collection, each to whoever is done first; unless `--dist` is given."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False
    made = LoadScopeScheduling(config, log)
    made._split_scope = unit_of_work
    return made


def pytest_configure() -> None:
    """A run that is ended by `timeout` or a supervisor takes its clusters down, and the next one removes what it left.
    What a user configured for clients is neither read nor changed."""
    leave_home()
    # A shell lets what runs in its background ignore SIGINT, and all that it starts: commands that tests interrupt went on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


ENGINE_TEST_S = 900
"""For a test on a real engine with its setup and teardown; an engine hangs without a word where others fail."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("engine") is not None:
            item.add_marker(pytest.mark.timeout(ENGINE_TEST_S))


def pytest_collection_finish() -> None:
    freeze()


_left = LeftMemory()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    done = yield
    _left.look()
    return done


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """With `--durations`: seconds by part, over all processes."""
    if terminalreporter.config.getoption("durations") is None:
        return
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[part_of(report.nodeid)] += report.duration  # type: ignore[assignment]
    shown = ", ".join(f"{part} {total:.0f}" for part, total in seconds.most_common() if total >= 0.5)
    terminalreporter.write_line(f"seconds by part: {shown}")
