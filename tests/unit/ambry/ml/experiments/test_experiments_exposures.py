"""Exposures are stored in files, from several processes, and read back; what the store does not take is kept, within bounds."""

from __future__ import annotations

import json
import math
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ambry import AmbryClient, DataCorrupt, InvalidRequest, Unavailable
from ambry.ml import line_log as module
from ambry.ml.experiments.exposures import ExposureLog, first_exposures, read_exposures

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def test_exposures_are_read_as_they_were_taken(client: AmbryClient, name: str) -> None:
    with ExposureLog(client, name) as log:
        log.record(1, "control", at=NOON)
        log.record("zoë", "treatment", {"country": "de", "age": 30}, at=NOON + timedelta(seconds=1))
    found = list(read_exposures(client, name))
    assert [(each.unit, each.arm, each.at, dict(each.attributes)) for each in found] == [
        (1, "control", NOON, {}),
        ("zoë", "treatment", NOON + timedelta(seconds=1), {"country": "de", "age": 30}),
    ]


def test_files_fill_up_and_threads_share_a_log(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINES_MAX", 10)
    with ExposureLog(client, name) as log:

        def take(first: int) -> None:
            for step in range(25):
                log.record(first + step, "control")

        threads = [threading.Thread(target=take, args=(first,)) for first in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(int(each.unit) for each in read_exposures(client, name)) == [
        first + step for first in (0, 100, 200) for step in range(25)
    ]
    assert len(client.list(f"{name}.exposures/").all()) >= 7


def test_what_the_store_does_not_take_is_kept_within_bounds(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINES_MAX", 2)
    monkeypatch.setattr(module, "KEPT_MAX", 6)
    put = AmbryClient.put
    away = True

    def refusing(self: AmbryClient, *arguments: Any, **options: Any) -> Any:
        if away:
            raise Unavailable("nobody is there")
        return put(self, *arguments, **options)

    monkeypatch.setattr(AmbryClient, "put", refusing)
    log = ExposureLog(client, name)
    for unit in range(10):
        log.record(unit, "control")
    with pytest.raises(Unavailable):
        log.flush()
    away = False
    log.close()
    assert [each.unit for each in read_exposures(client, name)] == [4, 5, 6, 7, 8, 9]
    assert log.dropped == 4


def test_the_first_exposure_of_a_unit_counts(client: AmbryClient, name: str) -> None:
    with ExposureLog(client, name) as log:
        for seconds, unit, arm in ((5, 7, "treatment"), (1, "7", "control"), (9, 7, "treatment")):
            log.record(unit, arm, at=NOON + timedelta(seconds=seconds))
    assert {unit: each.arm for unit, each in first_exposures(read_exposures(client, name)).items()} == {7: "control"}


def test_when_a_unit_saw_an_arm_is_told_by_the_store(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose clock was behind had seen everything first: what a unit counted for was chance."""
    monkeypatch.setattr(AmbryClient, "store_time", lambda _: NOON - timedelta(days=400))
    with ExposureLog(client, name) as log:
        log.record(7, "control")
        log.record(8, "treatment", at=NOON)
    found = {each.unit: each.at for each in read_exposures(client, name)}
    assert timedelta() <= NOON - timedelta(days=400) - found[7] < timedelta(minutes=1) and found[8] == NOON
    [entry] = client.list(f"{name}.exposures/")
    assert entry.name.startswith(f"{name}.exposures/2025-10-23/")


def test_any_text_is_a_unit_and_a_version_names_its_experiment(client: AmbryClient, name: str) -> None:
    """One unit that UTF-8 does not hold blocked every flush; NAME@3 had exposures of its own."""
    with ExposureLog(client, f"{name}@3") as log:
        log.record("\ud800", "control")
    assert [each.unit for each in read_exposures(client, name)] == ["\ud800"]


def test_a_line_that_is_none_is_told(client: AmbryClient, name: str) -> None:
    client.put(b'{"unit": 1, "arm": "a", "at": 0}\nnonsense\n', name=f"{name}.exposures/2026-11-27/x.jsonl")
    with pytest.raises(DataCorrupt, match=r"x\.jsonl: line 2 is no exposure"):
        list(read_exposures(client, name))
    assert list(read_exposures(client, f"{name}-none")) == []


@pytest.mark.parametrize(
    ("unit", "attributes", "words"),
    [
        ("", {}, "no unit"),
        (True, {}, "no unit"),
        (None, {}, "no unit"),
        (1, {"a": math.nan}, "JSON"),
        (1, {"a": {1}}, "JSON"),
    ],
)
def test_what_would_be_in_the_way_of_every_evaluation_is_not_taken(
    client: AmbryClient, name: str, unit: Any, attributes: Any, words: str
) -> None:
    with ExposureLog(client, name) as log, pytest.raises(InvalidRequest, match=words):
        log.record(unit, "control", attributes)
    assert list(read_exposures(client, name)) == []


@pytest.mark.parametrize(
    "line",
    [
        {"unit": [], "arm": "a"},
        {"unit": "", "arm": "a"},
        {"unit": 1, "arm": 2},
        {"unit": 1, "arm": "a", "attributes": []},
    ],
)
def test_a_line_of_strangers_is_told_where_it_is(client: AmbryClient, name: str, line: Any) -> None:
    client.put(json.dumps({"at": 1, **line}).encode(), name=f"{name}.exposures/2026-11-27/x-000000.jsonl")
    with pytest.raises(DataCorrupt, match="line 1 is no exposure"):
        list(read_exposures(client, name))


@pytest.mark.parametrize(
    ("arm", "attributes", "at"),
    [
        (None, None, NOON),
        (7, None, NOON),
        ("control", [1], NOON),
        ("control", None, datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_what_would_be_in_the_way_of_the_others_is_refused(
    client: AmbryClient, name: str, arm: Any, attributes: Any, at: datetime
) -> None:
    """A time of which no day is known had taken all lines of its file along; an arm that is none, all that is read."""
    with ExposureLog(client, name) as log:
        with pytest.raises(InvalidRequest):
            log.record(0, arm, attributes, at=at)
        for unit in range(1, 10):
            log.record(unit, "control", at=NOON)
    assert sorted(each.unit for each in read_exposures(client, name) if isinstance(each.unit, int)) == list(
        range(1, 10)
    )
