"""A trained model is kept, whatever fails or goes away while it is trained: whole commands against a frontend."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry import AmbryClient
from ambry.errors import Unavailable
from ambry.ml import models
from ambry.ml.photon import glmix
from ambry.ml.photon.layout import read_model
from tests.support.whole_commands import lines, run, told

pytestmark = pytest.mark.usefixtures("here")

_numbers = count()


@pytest.fixture
def name(here: Path) -> str:
    """Of a model; with `of-` before it, of a snapshot, and with `defined-`, of its definitions."""
    name = f"kept-{next(_numbers)}"
    (here / "n.features").write_text("namespace: n\nclicked: {valType: BOOLEAN}\nage: {valType: INT}\n")
    rows = [f"{key},{'true' if key % 3 else 'false'},{key % 50}" for key in range(60)]
    (here / "rows.csv").write_text("\n".join(["member,clicked,age", *rows, ""]))
    lines("features", "publish", "n.features", f"defined-{name}")
    lines("snapshot", "write", "rows.csv", f"of-{name}", "--definitions", f"defined-{name}", "--entity", "member")
    return name


def _train(name: str, *more: str) -> tuple[str, ...]:
    return ("photon", "train", f"of-{name}", "--task", "logistic", "--response", "clicked", "--publish", name, *more)


def _meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Any) -> None:
    fit = glmix.train

    def trained(*args: Any, **said: Any) -> Any:
        model = fit(*args, **said)
        happens()
        return model

    monkeypatch.setattr(glmix, "train", trained)


def _delete(*datasets: str) -> None:
    with AmbryClient.from_env() as client:
        for dataset in datasets:
            for each in client.versions(dataset):
                client.delete(each.ref)


def test_what_it_was_made_from_may_go_while_it_is_trained(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It exited with 4, and nothing was kept."""
    lines(*_train(name))
    _meanwhile(monkeypatch, lambda: _delete(f"of-{name}", f"defined-{name}", name))
    done = run(*_train(name, "--start", name))
    assert done.exit_code == 0, done.output
    shown = told("model", "show", name)
    for place in (shown["snapshot"], f"defined-{name}@1.0.0", f"{name}@1.0.0"):
        assert f"{place} is gone since the training began" in done.stderr
    assert shown["definitions"] == f"defined-{name}@1.0.0" and shown["parent"] == f"{name}@1.0.0"
    assert shown["features"] == ["urn:li:(n,age,1,0)"] and shown["params"]["inputs"]["rows"] == 60


def test_a_store_that_is_away_after_the_publishing_costs_no_version(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for then is worth a remark, and not the job."""
    publish = models.publish

    def published(client: AmbryClient, *args: Any, **said: Any) -> Any:
        made = publish(client, *args, **said)

        def away(*_: object, **__: object) -> None:
            raise Unavailable("away")

        monkeypatch.setattr(client, "head", away)
        return made

    monkeypatch.setattr(models, "publish", published)
    done = run(*_train(name))
    assert done.exit_code == 0 and f"{name}@1.0.0" in done.output, done.output


def test_a_directory_that_fails_costs_no_version(name: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _meanwhile(monkeypatch, lambda: (here / "model").write_text("somebody else's"))
    done = run(*_train(name, "-o", "model"))
    assert done.exit_code == 1 and "model is no directory" in done.stderr
    assert f"the model is kept as the version {name}@1.0.0" in done.stderr
    assert told("model", "show", name)["snapshot"].startswith(f"of-{name}@")


def test_a_version_that_fails_costs_no_directory(name: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _meanwhile(monkeypatch, lambda: monkeypatch.setenv("AMBRY_ENDPOINTS", "http://127.0.0.1:9"))
    done = run(*_train(name, "-o", "model", "--retries", "0"))
    assert done.exit_code == 5 and "the model is kept as the directory model" in done.stderr, done.output
    assert read_model(here / "model").described
