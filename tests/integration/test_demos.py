"""The demonstrations, as they run for people: each with a cluster of its own, and every check held."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from ambry.cli.main import cli
from deploy.demos import streams
from deploy.demos.stage import DemonstrationFailed, Stage
from tests.support.kafka_broker import jars_or_skip


def shown(name: str) -> str:
    done = CliRunner().invoke(cli, ["demo", name], prog_name="ambry")
    assert done.exit_code == 0, done.output
    assert "FAILED" not in done.stdout and "Everything that was checked holds." in done.stdout
    return done.stdout


def test_features() -> None:
    told = shown("features")
    assert (
        '"Reshare", which the vocabulary does not have, is 0' in told
        and "what its rows say" in told
        and "at most 40 % of the bytes" in told
    )


def test_ab() -> None:
    assert "the challenger is better" in shown("ab")


def test_proml() -> None:
    told = shown("proml")
    assert "a column that has shifted is flagged" in told and "the promotion is held back" in told


def test_photon() -> None:
    pytest.importorskip("glum", reason="pip install 'ambry[photon]'")
    told = shown("photon")
    for name in ("dietox", "fair", "epil"):
        assert f"ok      {name} (" in told
    assert "861 rows score in dc2 as they did in memory" in told and "by one request each: 20" in told


def test_vocabulary() -> None:
    """Without torch it tells what to install, and all but the network is shown."""
    told = shown("vocabulary")
    assert "each of" in told and "of the others a new title counts as an unknown one" in told
    if find_spec("torch"):
        assert "ok      accepted suggestions improve the recall" in told and "Left out" not in told
    else:
        assert "pip install 'ambry[torch]'" in told and "Left out: the network that suggests." in told


@pytest.mark.slow
def test_tony() -> None:
    told = shown("tony")
    if find_spec("torch"):
        assert "ok      it ends with the parameters of the undisturbed run, to the last bit" in told
    else:
        assert "Left out: training" in told


@pytest.mark.slow
def test_models() -> None:
    told = shown("models")
    assert "the same manifest" in told
    for module, what in (("skops", "scikit-learn"), ("torch", "state_dict of torch")):
        assert (f"ok      a {what}" in told or "ok      a pipeline" in told) or find_spec(module) is None


@pytest.mark.engine
def test_streams() -> None:
    pytest.importorskip("confluent_kafka", reason="pip install 'ambry[kafka]'")
    jars_or_skip("kafka")
    told = shown("streams")
    assert "each name's changes are on the topic as the feed tells them: 63 names" in told
    assert "each member's windows are those of the batch" in told or find_spec("quixstreams") is None


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
    stage.skip("the moon", "it is day")
    stage.end()
    assert capsys.readouterr().out.endswith("Everything that was checked holds.\nLeft out: the moon.\n")
