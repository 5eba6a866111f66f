"""How far a training on this machine is: told to who looks, and to nobody else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry.cli.photon_here import train_here
from ambry.cli.photon_rows import OpenRows, SaidRows
from ambry.ml.photon.effects import FixedEffect, RandomEffect
from ambry.ml.photon.models import Task
from ambry.ml.photon.reading import write_examples
from tests.support.photon_models import drawn_rows


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def rows(tmp_path: Path) -> OpenRows:
    write_examples(tmp_path / "rows.avro", drawn_rows(Task.LOGISTIC, 300, 20))
    return OpenRows((str(tmp_path / "rows.avro"),), SaidRows(("member",), {}))


def train(rows: OpenRows, *, quiet: bool = False) -> None:
    effects = [FixedEffect(l2=1.0), RandomEffect(name="own", entity="member")]
    _, count, metrics = train_here(quiet, rows, None, Task.LOGISTIC, effects, ["AUC"], start=None, name="")
    assert count == 300 and np.isfinite(metrics["AUC"])


def test_a_terminal_sees_what_is_done_and_for_how_long(rows: OpenRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes went by without a line."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    train(rows)
    assert "looking how good it is on 300 rows" in terminal.getvalue() and "0:00:0" in terminal.getvalue()


def test_each_pass_over_the_rows_is_told(rows: OpenRows, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Status:
        def __enter__(self) -> object:
            return told.append

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("ambry.cli.photon_here.status_line", lambda quiet: Status())
    train(rows)
    assert told[:2] == ["reading rows", "training on 300 rows"]
    assert told[2].startswith("training on 300 rows: pass 1 over them, the mean loss is 0.")


@pytest.mark.parametrize("looks", [True, False])
def test_a_pipe_and_who_wants_it_quiet_are_told_nothing(
    rows: OpenRows, looks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal() if looks else io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    train(rows, quiet=looks)
    assert stream.getvalue() == ""
