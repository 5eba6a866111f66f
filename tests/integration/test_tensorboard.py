"""TensorBoard, unmodified, with its runs in the store: what it writes, and what it reads."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.tensorboard import open_by_fsspec
from tests.support.tensorboard_program import tensorboard
from tests.support.waiting import eventually

pytest.importorskip("tensorboard", reason="TensorBoard is not installed; `make venv` does it")


@pytest.fixture
def runs(dc1: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AMBRY_ENDPOINTS", dc1)
    open_by_fsspec()
    return f"ambry://default/default/runs/{uuid.uuid4().hex}"


def write(directory: str, steps: range) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(directory)
    for step in steps:
        loss = Summary.Value(tag="loss", simple_value=1 / (1 + step))
        writer.add_event(Event(step=step, wall_time=1e9 + step, summary=Summary(value=[loss])))
    writer.close()


def scalars(directory: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: Any = EventAccumulator(directory)
    found.Reload()
    return [(each.step, each.value) for each in found.Scalars("loss")]


def test_what_it_writes_by_url_it_reads_by_url(runs: str) -> None:
    """It opens files for bytes with an encoding of None, which was taken for something that a put knows."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    write(f"{runs}/a", range(20))
    write(f"{runs}/deep/b", range(5))
    found_scalars = scalars(f"{runs}/a")
    assert [step for step, _ in found_scalars] == list(range(20))
    assert [value for _, value in found_scalars] == pytest.approx([1 / (1 + step) for step in range(20)])
    found: Any = EventMultiplexer()
    found.AddRunsFromDirectory(runs)
    found.Reload()
    assert {name: each["scalars"] for name, each in found.Runs().items()} == {"a": ["loss"], "deep/b": ["loss"]}


def test_a_reader_goes_on_where_a_run_that_was_uploaded_again_does(runs: str, dc1: str, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(str(tmp_path), range(10))
    [file] = tmp_path.iterdir()
    body = file.read_bytes()
    cut = len(body) // 2
    place = runs.removeprefix("ambry://default/default/")
    with AmbryClient([dc1]) as client:
        client.put(body[:cut], name=f"{place}/{file.name}")
        reader: Any = EventAccumulator(runs)
        reader.Reload()
        seen = len(reader.Scalars("loss"))
        assert 0 < seen < 10
        client.put(body, name=f"{place}/{file.name}")
        reader.Reload()
    assert [each.step for each in reader.Scalars("loss")] == list(range(10))


@pytest.mark.slow
def test_the_program_shows_runs_of_the_store(runs: str, tmp_path: Path) -> None:
    write(f"{runs}/a", range(20))
    write(f"{runs}/deep/b", range(5))
    with tensorboard(runs, tmp_path / "tensorboard.log", {}) as shown:
        eventually(lambda: len(shown.scalars("deep/b", "loss")) == 5, "it has read both runs", timeout_s=180)
        assert sorted(shown.runs()) == ["a", "deep/b"]
        found = shown.scalars("a", "loss")
        assert [step for step, _ in found] == list(range(20))
        assert [value for _, value in found] == pytest.approx([1 / (1 + step) for step in range(20)])
        write(f"{runs}/later", range(3))
        eventually(lambda: len(shown.scalars("later", "loss")) == 3, "it has read a run that came later", timeout_s=60)
