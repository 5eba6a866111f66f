"""The demonstrations, as they run for people: each with a cluster of its own, and every check held."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from ambry.cli.failures import EXIT_INCOMPLETE
from ambry.cli.main import cli
from deploy.demos import lifecycle, stage, streams
from deploy.demos.stage import DemonstrationFailed, DemonstrationIncomplete, Stage
from deploy.demos.trail import Trail, compare_stores, compare_walks
from tests.support.kafka_broker import jars_or_skip


def shown(name: str, *options: str, without: Sequence[str] = ()) -> str:
    """What one says; `without` are libraries that may be missing."""
    words = [*options, *(word for library in without for word in ("--without", library))]
    done = CliRunner().invoke(cli, ["demo", name, *words], prog_name="ambry")
    assert done.exit_code == 0, done.output
    assert "FAILED" not in done.stdout and "Everything that was checked holds." in done.stdout
    return done.stdout


def test_features() -> None:
    told = shown("features")
    assert (
        '"Reshare", which the vocabulary does not have, is 0' in told
        and "what its rows say" in told
        and "at most 40 % of the bytes" in told
        and "by both, in dc2 by Polars, are pandas': 36 pairs" in told
    )


def test_ab() -> None:
    assert "the challenger is better" in shown("ab")


def test_proml() -> None:
    told = shown("proml", without=["mlflow"])
    assert "a column that has shifted is flagged" in told and "the promotion is held back" in told
    assert "ok      its report lies in the store, and says so in dc2" in told
    if find_spec("mlflow"):
        for what in (
            "ours sees the alias that MLflow set",
            "MLflow sees the alias that we moved",
            "and sees the rollback",
            "and loads the first one again",
            "the lineage names the snapshot",
        ):
            assert f"ok      {what}" in told
        assert "Left out" not in told
    else:
        assert "pip install 'ambry[mlflow]'" in told and "Left out: MLflow." in told


def test_photon() -> None:
    pytest.importorskip("glum", reason="pip install 'ambry[photon]'")
    told = shown("photon", without=["pyspark", "java"])
    for name in ("dietox", "fair", "epil"):
        assert f"ok      {name} (" in told
    assert "861 rows score in dc2 as they did in memory" in told and "by one request each: 20" in told
    assert ("it differs by 1e-06 at most" in told) != ("Left out: GLMix on Spark" in told)


def test_vocabulary() -> None:
    """Without torch it tells what to install, and all but the network is shown."""
    told = shown("vocabulary", without=["torch"])
    assert "each of" in told and "of the others a new title counts as an unknown one" in told
    if find_spec("torch"):
        assert "ok      accepted suggestions improve the recall" in told and "Left out" not in told
    else:
        assert "pip install 'ambry[torch]'" in told and "Left out: the network that suggests." in told


@pytest.mark.slow
def test_tony() -> None:
    told = shown("tony", without=["torch", "tensorboard", "tony"])
    if find_spec("torch"):
        assert "ok      it ends with the parameters of the undisturbed run, to the last bit" in told
    else:
        assert "Left out: training" in told


@pytest.mark.slow
def test_models() -> None:
    told = shown("models", without=["torch"])
    assert "the same manifest" in told and "ok      a pipeline of scikit-learn predicts the same" in told
    assert "ok      digits, loaded in dc2, predicts the same" in told
    if find_spec("torch"):
        assert "ok      network, loaded in dc2, predicts the same" in told
        assert "ok      a state_dict of torch computes the same" in told and "Left out" not in told
    else:
        assert "pip install 'ambry[torch]'" in told and "Left out: the state_dict of torch." in told


def test_what_is_temporary_lies_on_the_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a job or a model had for a moment stayed in /tmp where a demonstration was killed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(stage, "_stage", contextlib.nullcontext)
    before = os.environ.get("TMPDIR")
    with stage.on_stage() as directory:
        assert isinstance(directory, Path) and directory.parent == tmp_path
        assert os.environ["TMPDIR"] == tempfile.mkdtemp(dir=None).rpartition("/")[0] == str(directory / "tmp")
    assert os.environ.get("TMPDIR") == before and tempfile.gettempdir() == str(tmp_path) and not any(tmp_path.iterdir())


@pytest.mark.engine
def test_streams() -> None:
    pytest.importorskip("confluent_kafka", reason="confluent_kafka is not installed; `make engines` does it")
    jars_or_skip("kafka")
    told = shown("streams", without=["quixstreams"])
    assert "each name's changes are on the topic as the feed tells them: 63 names" in told
    assert "each member's windows are those of the batch" in told or find_spec("quixstreams") is None


LIFECYCLE = ("torch", "pyspark", "glum", "tabmat", "fastavro", "prometheus_client")


@pytest.mark.slow
def test_the_lifecycle_in_another_store(tmp_path: Path) -> None:
    """In two clusters, one after the other: what has no part of chance in it is the same in both.

    In the tests of engines the guide's page walks it twice in one store (test_guide.py).
    """
    if lacking := [name for name in LIFECYCLE if find_spec(name) is None]:
        pytest.skip(f"{', '.join(lacking)}: not installed; `make engines` does it")
    for engine in ("hadoop", "tony"):
        jars_or_skip(engine)
    ids = tmp_path / "ids.json"
    first, second = (shown("lifecycle", "--once", "--ids", str(ids)) for _ in range(2))
    assert "the next one with --ids" in first
    assert "ok      each version, digest and job is that of ids.json, of another store: 13 of 13" in second
    assert "10 of 10 ids of blobs and manifests are others" in second


def test_without_what_it_needs_the_lifecycle_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AMBRY_ENGINES", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    stage = Stage(None, None, None, None)  # type: ignore[arg-type]
    told = r"`make engines` installs it|not checked: the lifecycle; install what is said above"
    with pytest.raises((DemonstrationFailed, DemonstrationIncomplete), match=told):
        lifecycle.run(stage)
        stage.end()


def test_a_walk_that_comes_out_at_other_ids_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(None, None, None, None)  # type: ignore[arg-type]
    first, second = Trail(stage), Trail(stage)
    for trail, blob in ((first, "A"), (second, "B")):
        trail.step("Train", snapshot="pigs@1")
        trail.out("model", "weights@1.0.0", here=blob)
        trail.end_step()
    for _ in range(2):  # The first time writes them down; in another store blobs have other ids.
        compare_stores(stage, second, tmp_path / "ids.json")
    stage.end()
    compare_walks(stage, first, second)
    with pytest.raises(DemonstrationFailed, match="id of a blob and digest of a manifest is that of the first time"):
        stage.end()
    assert "FAILED  each id of a blob and digest of a manifest is that of the first time: model A and B" in (
        capsys.readouterr().out
    )
    second.out("model", "weights@1.1.0")
    compare_stores(stage, second, tmp_path / "ids.json")
    with pytest.raises(DemonstrationFailed, match="of another store"):
        stage.end()


def test_without_kafka_the_demonstration_of_streams_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("confluent_kafka", reason="pip install 'ambry[kafka]'")
    monkeypatch.setenv("AMBRY_ENGINES", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DemonstrationFailed, match="`make engines` installs it"):
        streams.run(Stage(None, None, None, None))  # type: ignore[arg-type]


def test_a_check_that_does_not_hold_fails_the_demonstration(capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(None, None, None, None)  # type: ignore[arg-type]
    stage.check("the sky is blue", True)
    stage.check("two is three", False, 2)
    with pytest.raises(DemonstrationFailed, match="1 of the checks failed: two is three"):
        stage.end()
    assert "ok      the sky is blue\n   FAILED  two is three: 2\n" in capsys.readouterr().out


def test_what_cannot_be_shown_is_told_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(None, None, None, None)  # type: ignore[arg-type]
    stage.skip("the moon", "it is day", "night")
    stage.skip("the tide", "there is no sea", "sea")
    stage.end(["night", "sea"])
    told = "Everything that was checked holds.\nLeft out: the moon, the tide.\n"
    assert capsys.readouterr().out.endswith(told)
    with pytest.raises(DemonstrationIncomplete, match=r"not checked: the tide; .*: --without sea$") as incomplete:
        stage.end(["night"])
    assert incomplete.value.exit_code == EXIT_INCOMPLETE
