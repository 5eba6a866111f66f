"""`ambry health`, whole commands against a frontend with a metadata store."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from ambry import AmbryClient
from ambry.ml import models
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.line_log import LineLog
from ambry.ml.places import version_of
from ambry.ml.scored import scored_folder
from ambry.ml.snapshots.writing import write_snapshot
from tests.support.whole_commands import run, said, told

pytestmark = pytest.mark.usefixtures("here")
_numbers = count()


@pytest.fixture
def name() -> str:
    return f"health-{next(_numbers)}"


@pytest.fixture(autouse=True)
def tables(here: Path) -> None:
    """monday.csv, tuesday.csv, which is the same by chance, and moved.csv."""
    for day, shift in (("monday", 0.0), ("tuesday", 0.0), ("moved", 2.0)):
        chance = np.random.default_rng(len(day))
        lines = [f"{chance.normal(10 + shift, 2)},{chance.choice(['de', 'at'])}" for _ in range(400)]
        (here / f"{day}.csv").write_text("\n".join(["age,country", *lines]))


def test_a_table_is_summarised() -> None:
    lines = [line.split() for line in said("health", "summary", "monday.csv").splitlines()]
    assert [line[:3] for line in lines[1:]] == [["age", "400", "0.00%"], ["country", "400", "0.00%"]]
    found = told("health", "summary", "monday.csv", "--column", "age")
    assert found["count"] == 400 and 9 < found["mean"] < 11
    done = run("health", "summary", "monday.csv", "--column", "pay")
    assert done.exit_code == 2 and "no column 'pay'" in done.stderr


def test_tables_are_compared_and_the_exit_code_tells(here: Path, name: str) -> None:
    assert "moved" not in said("health", "compare", "monday.csv", "tuesday.csv")
    done = run("health", "compare", "monday.csv", "moved.csv", "-o", "report.html", "--keep", name)
    assert done.exit_code == 8 and "ambry: age: its distribution moved" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line.endswith("moved")] == ["age"]
    page = done.stderr.splitlines()[0].rpartition(" ")[2]
    assert page.startswith(f"{name}.health/") and said("cat", page) == (here / "report.html").read_text()
    found = json.loads(run("health", "compare", "monday.csv", "moved.csv", "--json").stdout)
    assert found["healthy"] is False and len(found["comparisons"]) == 2


def test_thresholds_stand_in_a_file(here: Path) -> None:
    (here / "wide.toml").write_text("[columns.age]\nignored = true\n")
    said("health", "compare", "monday.csv", "moved.csv", "--thresholds", "wide.toml")
    (here / "wrong.toml").write_text("psi = 1\n")
    done = run("health", "compare", "monday.csv", "moved.csv", "--thresholds", "wrong.toml")
    assert done.exit_code == 2 and "wrong.toml: there is no threshold 'psi'" in done.stderr


def test_a_gate_holds_a_promotion_back(url: str, name: str) -> None:
    with AmbryClient([url]) as client:
        models.publish(client, name, {"x.txt": b"1"})
    unnamed = run("health", "gate", name, "tuesday.csv", "--reference", "monday.csv")
    assert unnamed.exit_code == 2 and f"write {name}@1.2.0, or say --newest" in unnamed.stderr
    gate = ("health", "gate", f"{name}@1.0.0")
    assert "what it was trained on" in run(*gate, "moved.csv").stderr
    held = run(*gate, "moved.csv", "--reference", "monday.csv")
    assert (held.exit_code, held.stdout) == (8, "") and "is held back, moved.csv is not monday.csv" in held.stderr
    done = told(*gate, "tuesday.csv", "--reference", "monday.csv", "--expect", "none", "--who", "ann")
    assert (done["version"], done["healthy"], done["faults"]) == ("1.0.0", True, [])
    assert told("health", "gate", name, "tuesday.csv", "--reference", "monday.csv", "--newest")["version"] == "1.0.0"
    forced = told(*gate, "moved.csv", "--reference", "monday.csv", "--force", "the winter is known")
    assert forced["why"].startswith("forced: the winter is known; ") and forced["healthy"] is False


def test_what_was_served_is_compared_by_the_day(url: str, here: Path, name: str) -> None:
    """`health compare` said of NAME.scored that it is no snapshot, and no file."""
    urn = "urn:li:(n,age,1,0)"
    metadata = FeatureMetadata.of([parse_definitions("age: {valType: DOUBLE}", "n")])
    monday, tuesday = datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)
    chance = np.random.default_rng(3)
    with AmbryClient([url]) as client:
        rows = {"member": np.arange(400), "age": chance.normal(10, 2, 400)}
        write_snapshot(client, f"{name}-s", rows, [urn], metadata=metadata, entity="member", as_of=monday)
        models.publish(client, name, {"x.txt": b"1"}, features=[urn], snapshot=f"{name}-s")
        for day, mean in ((monday, 10), (tuesday, 14)):
            inputs = {"age": chance.normal(mean, 2, 400).tolist()}
            with LineLog(client, scored_folder(version_of(name))) as log:
                log.take({"model": f"{name}@1.0.0", "rows": 400, "inputs": inputs, "outputs": {}}, at=day)
    assert "moved" not in said("health", "compare", f"{name}-s", f"{name}.scored/2026-11-23")
    (here / "bounds.toml").write_text(f'[columns."{urn}"]\nvalues_min = 10\n')
    for before in (f"{name}-s", f"{name}.scored/2026-11-23"):
        done = run(
            "health", "compare", before, f"{name}.scored/2026-11-24", "--thresholds", "bounds.toml", "--keep", name
        )
        assert done.exit_code == 8 and "ambry: age: its distribution moved" in done.stderr
        page = done.stderr.splitlines()[0].rpartition(" ")[2]
        assert f"{name}.scored/2026-11-24 beside" in said("cat", page)
    done = run("health", "gate", f"{name}@1.0.0", f"{name}.scored/2026-11-24")
    assert done.exit_code == 8 and f"held back, {name}.scored/2026-11-24 is not {name}-s@" in done.stderr
    assert told("health", "gate", f"{name}@1.0.0", f"{name}.scored/2026-11-23")["healthy"] is True
    assert told("health", "summary", f"{name}.scored/2026-11-24", "--column", urn)["count"] == 400
    done = run("health", "summary", f"{name}.scored/2026-11-25")
    assert done.exit_code == 2 and f"there is nothing in {name}.scored/2026-11-25; `ambry serve" in done.stderr
