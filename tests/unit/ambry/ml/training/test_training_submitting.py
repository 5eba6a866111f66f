"""Jobs from their files to their model, with workers as processes that a launcher of this test starts."""

from __future__ import annotations

import subprocess
import sys
import threading
import venv
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from ambry import AmbryClient, BlobNotFound, InvalidRequest, UpdateConflict, VersionRef
from ambry.ml import models, training
from ambry.ml.models.publishing import publish_model
from ambry.ml.training import submitting
from ambry.ml.training.checkpoints import CheckpointFolder
from ambry.ml.training.current import MODEL, current
from ambry.ml.training.gangs import Gang
from ambry.ml.training.jobs import parse_job
from ambry.ml.training.launchers.launch import AGAIN, ANEW, Launch, Launcher, LaunchFailed
from ambry.ml.training.outcomes import OUTCOME, outcome_of
from ambry.ml.training.running import RunningJob, claim_run
from ambry.ml.training.standing import check_standing, replace_standing
from ambry.ml.training.submitting import WhatToRun, prepare_job, run_job
from ambry.ml.training.unpacking import REFUSED

SCRIPT = """\
import sys
from ambry import AmbryClient
from ambry.ml import training
import numpy as np
job = training.current()
with AmbryClient.from_env() as client:
    folder = job.checkpoint_folder(client)
    first = folder.latest() or 0
    print("begins at", first, "of", job.snapshot, job.logs, flush=True)
    if len(sys.argv) > 1 and first == 0:
        import pathlib
        pathlib.Path("state").mkdir(exist_ok=True); pathlib.Path("state/weights").write_text("30")
        folder.put(30, pathlib.Path("state"))
        job.hand_in({"weights": np.zeros(3)})
        sys.exit(int(sys.argv[1]))
job.hand_in({"weights": np.arange(3.0)}, metrics={"auc": 0.9}, params={"rate": 0.1})
"""


class OneProcess(Launcher):
    """A launcher of one worker, which is not started again."""

    def run(self, launch: Launch) -> None:
        command = [sys.executable, str(launch.bundle)]
        done = subprocess.run(
            command, env=dict(launch.environ), cwd=launch.directory, capture_output=True, text=True, check=False
        )
        for line in done.stdout.splitlines():
            launch.show(line)
        if done.returncode:
            raise LaunchFailed(f"the worker ended with {done.returncode}: {done.stderr}")


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AMBRY_TRAIN_NODE_CACHE", str(tmp_path / "trees"))
    monkeypatch.setenv("PYTHONPATH", str(Path(training.__file__).parents[3]))
    (tmp_path / "train.py").write_text(SCRIPT)
    return tmp_path / "train.py"


def test_a_model_is_a_version_with_its_lineage_when_all_has_ended_well(
    client: AmbryClient, name: str, script: Path
) -> None:
    snapshot = models.publish(client, f"{name}-data", {"rows": np.ones(2)})
    said: list[str] = []
    wanted = training.WhatToRun(script=script, publish=name, snapshot=f"{name}-data")
    job = prepare_job(client, wanted, said.append)
    ended = run_job(client, job, OneProcess(), tell=said.append, show=said.append)
    assert ended.model is not None and str(ended.model) == f"{name}@1.0.0"
    manifest = models.open(client, name).manifest
    assert manifest.snapshot == str(snapshot) == f"{name}-data@1.0.0"
    assert (manifest.metrics, manifest.params["rate"]) == ({"auc": 0.9}, 0.1)
    assert manifest.params["training"] == job.lineage()
    assert f"job:{job.job} sources:{job.sources.id} environment:{job.environment.id}" in manifest.code
    assert f"begins at 0 of {name}-data@1.0.0 ambry://default/default/training/{job.job}/tensorboard" in said

    models.publish(client, name, {"weights": np.zeros(3)})  # Of somebody else, in the meantime.
    again = run_job(client, prepare_job(client, wanted, said.append), OneProcess(), tell=said.append, show=said.append)
    assert again.model is not None and again.model.id == ended.model.id
    assert [entry.version for entry in client.versions(name)] == ["1.0.0", "1.1.0"]


def test_a_job_that_fails_publishes_nothing_and_goes_on_when_it_is_submitted_again(
    client: AmbryClient, name: str, script: Path
) -> None:
    said: list[str] = []
    wanted = training.WhatToRun(script=script, arguments=("9",), publish=name)
    with pytest.raises(LaunchFailed, match="ended with 9"):
        run_job(client, prepare_job(client, wanted, said.append), OneProcess(), tell=said.append, show=said.append)
    assert "checkpoint of step 30" in said
    with pytest.raises(BlobNotFound):
        client.dataset(name)
    ended = run_job(client, prepare_job(client, wanted, said.append), OneProcess(), tell=said.append, show=said.append)
    assert "it goes on from step 30" in said and (ended.step, str(ended.model)) == (30, f"{name}@1.0.0")


def test_a_job_that_begins_anew_has_no_checkpoint_and_no_log_of_before_and_makes_the_version_that_it_was(
    client: AmbryClient, name: str, script: Path
) -> None:
    said: list[str] = []
    wanted = training.WhatToRun(script=script, arguments=("9",), publish=name, name=f"{name}-anew")
    job = prepare_job(client, wanted, said.append)
    with pytest.raises(LaunchFailed, match="ended with 9"):
        run_job(client, job, OneProcess(), tell=said.append, show=said.append)
    client.put(b"events", name=job.name_in("tensorboard/events.out.tfevents.1"))
    first = run_job(client, job, OneProcess(), tell=said.append, show=said.append)
    with pytest.raises(LaunchFailed, match="ended with 9"):  # It does so where it begins at step 0.
        run_job(client, job, OneProcess(), fresh=True, tell=said.append, show=said.append)
    assert "it begins anew; 1 checkpoints of before are deleted" in said
    assert [entry.name for entry in client.list(f"{job.logs}/")] == []
    again = run_job(client, job, OneProcess(), tell=said.append, show=said.append)
    assert first.model is not None and again.model is not None and again.model.id == first.model.id


def test_a_named_job_goes_on_from_no_checkpoint_of_other_sources(client: AmbryClient, name: str, script: Path) -> None:
    """It went on from the other script's without a word, and its lineage named only the new sources, which had not made it."""
    said: list[str] = []

    def submit(*arguments: str, called: str = f"{name}-exp", **more: Any) -> training.EndedJob:
        wanted = WhatToRun(
            script=script, arguments=arguments, publish=name, name=called, checkpoints=more.pop("checkpoints", "")
        )
        job = prepare_job(client, wanted, said.append)
        return run_job(client, job, OneProcess(), tell=said.append, show=said.append, **more)

    with pytest.raises(LaunchFailed, match="ended with 9"):
        submit("9")
    before = parse_job(client.get_bytes(f"training/{name}-exp/job.json"))
    script.write_text(f"{SCRIPT}# changed\n")
    place = before.checkpoints
    with pytest.raises(InvalidRequest) as refused:
        submit("9")
    for told in (
        f"train.py of {before.sources.id}",
        "step 0 with --fresh",
        "another --name",
        f"--checkpoints {place} ",
    ):
        assert told in refused.value.message
    assert parse_job(client.get_bytes(f"training/{name}-exp/job.json")) == before

    other = submit("9", called=f"{name}-other", checkpoints=place)
    assert other.step == 30 and other.model is not None
    made = other.model.manifest.params["training"]
    assert made["sources"] != before.sources.id and made["earlier"] == [before.origin()]
    assert other.model.manifest.code.endswith(f" earlier:{before.sources.id}")
    told = f"what it goes on from was made with other sources, by the job {name}-exp; its lineage names both"
    assert told in said

    with pytest.raises(LaunchFailed, match="ended with 9"):  # It does so where it begins at step 0.
        submit("9", fresh=True)
    anew = submit("9")
    assert anew.model is not None and "earlier" not in anew.model.manifest.params["training"]


def test_a_named_job_goes_on_with_other_arguments_and_its_lineage_has_those_of_before(
    client: AmbryClient, name: str, script: Path
) -> None:
    said: list[str] = []

    def submit(*arguments: str) -> training.EndedJob:
        wanted = WhatToRun(script=script, arguments=arguments, publish=name, name=f"{name}-more")
        job = prepare_job(client, wanted, said.append)
        return run_job(client, job, OneProcess(), tell=said.append, show=said.append)

    with pytest.raises(LaunchFailed, match="ended with 9"):
        submit("9")
    with pytest.raises(LaunchFailed, match="ended with 9"):
        CheckpointFolder(client, f"training/{name}-more/checkpoints").clear()
        submit("9", "more")
    ended = submit("9", "yet more")
    assert ended.model is not None
    made = ended.model.manifest.params["training"]
    assert made["arguments"] == ["9", "yet more"]
    assert [each["arguments"] for each in made["earlier"]] == [["9", "more"]], (
        "what began at step 0 is made of itself alone"
    )
    assert f"what it goes on from was made with other arguments, by the job {name}-more; its lineage names both" in said


@pytest.mark.parametrize("has", [True, False])
def test_who_has_no_checkpoint_is_told_to_go_on_from_none(
    client: AmbryClient, name: str, script: Path, has: bool
) -> None:
    job = prepare_job(client, training.WhatToRun(script=script, name=f"{name}-{has}"), lambda _: None)
    folder = training.CheckpointFolder(client, job.checkpoints)
    if has:
        folder.complete(10, {"a": folder.put_file(10, "a", script)})

    class Fails(Launcher):
        def run(self, launch: Launch) -> None:
            raise LaunchFailed("worker 0 ended with exit code 1: ValueError: no", goes_on=True)

    with pytest.raises(LaunchFailed, match=f"ValueError: no; {AGAIN if has else ANEW}$") as failed:
        run_job(client, job, Fails(), tell=lambda _: None)
    outcome = outcome_of(client, parse_job(client.get_bytes(job.name_in(submitting.DOCUMENT))))
    assert outcome is not None and outcome.said == failed.value.message


def test_one_that_stood_still_publishes_no_model_of_a_later_run(client: AmbryClient, name: str, script: Path) -> None:
    """That one had failed after its model was handed in, and was over: nobody held the job."""
    job = prepare_job(client, training.WhatToRun(script=script, publish=name, name=f"{name}-late"), lambda _: None)

    class Later(Launcher):
        def run(self, launch: Launch) -> None:
            OneProcess().run(launch)
            client.put(b'{"of": "a later run"}', name=job.name_in(OUTCOME))

    with pytest.raises(UpdateConflict, match="a later submission"):
        run_job(client, job, Later(), tell=lambda _: None, show=lambda _: None)
    with pytest.raises(BlobNotFound):
        client.dataset(name)
    assert client.get_bytes(job.name_in(OUTCOME)) == b'{"of": "a later run"}'


def test_one_that_stood_still_as_it_asked_whose_the_model_is_publishes_none_of_a_later_run(
    client: AmbryClient, name: str, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one begins, hands in its model, fails and is over between this one's question and what it does then."""
    job = prepare_job(client, training.WhatToRun(script=script, publish=name, name=f"{name}-asks"), lambda _: None)
    models.publish(client, f"{name}-of-later", {"weights": np.full(3, 666.0)})
    later = models.open(client, f"{name}-of-later").manifest

    def stands_still(*asked: Any) -> None:
        check_standing(*asked)
        client.put(b'{"of": "a later run"}', name=job.name_in(OUTCOME))
        client.put(later.encode(), name=job.name_in(MODEL))

    monkeypatch.setattr("ambry.ml.training.submitting.check_standing", stands_still)
    ended = run_job(client, job, OneProcess(), tell=lambda _: None, show=lambda _: None)
    assert ended.model is not None and models.open(client, name).manifest.metrics == {"auc": 0.9}
    assert models.open(client, name).manifest.digest != later.digest


def test_one_that_begins_anew_goes_on_from_no_checkpoint_that_comes_late(
    client: AmbryClient, name: str, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of the run before had passed its look at whose they are; it puts them while this one takes the job over."""
    job = prepare_job(client, training.WhatToRun(script=script, name=f"{name}-comes"), lambda _: None)
    folder = training.CheckpointFolder(client, job.checkpoints)
    folder.complete(10, {"a": folder.put_file(10, "a", script)})

    def late(*each: Any) -> str:
        folder.complete(30, {"a": folder.put_file(30, "a", script)})
        return replace_standing(*each)

    monkeypatch.setattr("ambry.ml.training.submitting.replace_standing", late)
    said: list[str] = []
    run_job(client, job, OneProcess(), fresh=True, tell=said.append, show=said.append)
    assert "it begins anew; 2 checkpoints of before are deleted" in said
    assert not [line for line in said if "goes on" in line] and folder.steps() == []


def test_one_that_begins_anew_and_stood_still_before_it_looked_deletes_nothing_of_a_later_run(
    client: AmbryClient, name: str, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepare_job(client, training.WhatToRun(script=script, name=f"{name}-looks"), lambda _: None)
    folder = training.CheckpointFolder(client, job.checkpoints)
    files = training.CheckpointFolder.files

    def later(self: training.CheckpointFolder) -> Any:
        if not files(self):
            folder.complete(20, {"a": folder.put_file(20, "a", script)})
            client.put(b'{"of": "a later run"}', name=job.name_in(OUTCOME))
        return files(self)

    monkeypatch.setattr(training.CheckpointFolder, "files", later)
    with pytest.raises(UpdateConflict, match="a later submission"):
        run_job(client, job, cast(Launcher, None), fresh=True, tell=lambda _: None)
    assert folder.steps() == [20]


def test_one_that_begins_anew_and_stood_still_deletes_nothing_of_a_later_run(
    client: AmbryClient, name: str, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it deleted was looked up when it woke."""
    job = prepare_job(client, training.WhatToRun(script=script, name=f"{name}-stood"), lambda _: None)
    folder = training.CheckpointFolder(client, job.checkpoints)
    log = job.name_in("tensorboard/events.out.tfevents.1")
    client.put(b"events of before", name=log)
    client.put(b"events of before", name=job.name_in("tensorboard/events.out.tfevents.0"))
    folder.put_file(10, "a", script)

    def later(self: Any, *_: Any) -> list[int]:
        folder.put_file(20, "a", script)
        folder.put_file(10, "a", script)
        client.put(b"events of a later run", name=log)
        return clear(self, *_)

    clear = training.CheckpointFolder.clear
    monkeypatch.setattr(training.CheckpointFolder, "clear", later)
    run_job(client, job, OneProcess(), fresh=True, tell=lambda _: None, show=lambda _: None)
    monkeypatch.undo()
    assert client.get_bytes(log) == b"events of a later run"
    assert len(list(client.list(f"{job.logs}/"))) == 1
    assert {10, 20} <= {*folder.files()}


def test_a_script_that_hands_in_nothing_is_told(client: AmbryClient, name: str, script: Path) -> None:
    script.write_text("pass")
    job = prepare_job(client, training.WhatToRun(script=script, publish=name), lambda _: None)
    with pytest.raises(LaunchFailed, match="none handed in a model"):
        run_job(client, job, OneProcess(), tell=lambda _: None, show=lambda _: None)


def test_what_cannot_be_run_is_refused_before_anything_is(client: AmbryClient, script: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for wanted, error in (
        (training.WhatToRun(script=tmp_path / "none.py"), FileNotFoundError),
        (training.WhatToRun(script=script, sources=tmp_path / "other"), InvalidRequest),
        (training.WhatToRun(script=script, venv=tmp_path, wheels=tmp_path), InvalidRequest),
        (training.WhatToRun(script=script, snapshot="nobody"), BlobNotFound),
        (training.WhatToRun(script=script, checkpoints="ambry://default/default/"), InvalidRequest),
        (training.WhatToRun(script=script, name="a/b"), InvalidRequest),
        (training.WhatToRun(script=script, publish="bad name!"), InvalidRequest),
        (training.WhatToRun(script=script, publish="ambry://default/default/bad name!"), InvalidRequest),
    ):
        with pytest.raises(error):
            prepare_job(client, wanted, lambda _: None)


def test_a_model_that_no_dataset_can_take_is_refused_before_anything_is_stored(
    client: AmbryClient, script: Path
) -> None:
    """It was after the training, by each of its restarts."""
    said: list[str] = []
    with pytest.raises(InvalidRequest, match="bad name!"):
        prepare_job(client, training.WhatToRun(script=script, publish="bad name!"), said.append)
    assert said == []


def test_a_script_run_by_hand_has_a_job_of_its_own(client: AmbryClient) -> None:
    job = current({"AMBRY_TRAIN_CHECKPOINTS": "ambry://default/default/mine"})
    assert (job.role.launcher, job.snapshot, job.logs) == ("alone", "", "runs")
    assert str(job.checkpoint_folder(client)) == "ambry://default/default/mine"
    assert job.hand_in({"weights": []}) is False
    with pytest.raises(InvalidRequest, match="set AMBRY_TRAIN_CHECKPOINTS"):
        _ = current({}).checkpoints


def test_a_job_that_runs_already_is_refused_and_changes_nothing(client: AmbryClient, name: str, script: Path) -> None:
    said: list[str] = []
    job = prepare_job(client, training.WhatToRun(script=script, publish=name), said.append)
    refused: list[UpdateConflict] = []

    class Twice(OneProcess):
        """While the workers are done, and their model is no version yet, somebody submits the same job."""

        def run(self, launch: Launch) -> None:
            super().run(launch)
            with pytest.raises(UpdateConflict, match=f"the job {job.job} runs already") as found:
                run_job(client, job, OneProcess(), tell=said.append, show=said.append)
            refused.append(found.value)

    ended = run_job(client, job, Twice(), tell=said.append, show=said.append)
    assert refused and ended.model is not None and str(ended.model) == f"{name}@1.0.0"


def test_a_snapshot_that_is_gone_while_a_job_trains_costs_no_model(
    client: AmbryClient, name: str, script: Path
) -> None:
    """The job failed, with what was trained."""
    rows = publish_model(client, f"{name}-rows", {"rows.txt": b"1"}).place
    job = prepare_job(client, training.WhatToRun(script=script, publish=name, snapshot=f"{name}-rows"), lambda _: None)

    class Meanwhile(OneProcess):
        """The snapshot is retained away when the workers have begun."""

        def run(self, launch: Launch) -> None:
            client.delete(rows)
            super().run(launch)

    ended = run_job(client, job, Meanwhile(), tell=lambda _: None, show=lambda _: None)
    assert ended.model is not None and ended.model.manifest.snapshot == f"{name}-rows@1.0.0"


def test_workers_that_were_replaced_hand_in_nothing(client: AmbryClient, name: str, script: Path) -> None:
    job = prepare_job(client, training.WhatToRun(script=script, publish=name), lambda _: None)

    class Late(OneProcess):
        """Its submitter was taken for dead, and the job submitted again."""

        def run(self, launch: Launch) -> None:
            place = CheckpointFolder(client, job.checkpoints).place
            assert launch.job.run + 1 == claim_run(client, job, place, lambda _: None).run
            super().run(launch)

    with pytest.raises(
        LaunchFailed, match=rf"other workers of the job {job.job} were started after these, by submission \d: these end"
    ):
        run_job(client, job, Late(), tell=lambda _: None, show=lambda _: None)
    for there in (job.name_in(MODEL), VersionRef(name)):
        with pytest.raises(BlobNotFound):
            client.head(there)


def test_two_jobs_with_the_same_checkpoints_do_not_run_at_once(client: AmbryClient, name: str, script: Path) -> None:
    jobs = [
        prepare_job(
            client,
            training.WhatToRun(script=script, publish=name, name=f"{name}-{each}", checkpoints=f"{name}/checkpoints"),
            lambda _: None,
        )
        for each in ("a", "b")
    ]

    class Beside(OneProcess):
        def run(self, launch: Launch) -> None:
            with pytest.raises(UpdateConflict, match=f"are those of the job {name}-a, which runs, on "):
                run_job(client, jobs[1], OneProcess(), tell=lambda _: None, show=lambda _: None)
            super().run(launch)

    assert run_job(client, jobs[0], Beside(), tell=lambda _: None, show=lambda _: None).model is not None
    said: list[str] = []
    assert run_job(client, jobs[1], OneProcess(), tell=said.append, show=lambda _: None).model is not None
    assert said[0].endswith(f"were those of the job {name}-a until now")


def python_with(directory: Path, *packages: str) -> str:
    """A Python of its own that has these and no others."""
    venv.create(directory, with_pip=False)
    site = next(directory.glob("lib/python*/site-packages"))
    for package in packages:
        name, _, version = package.partition("==")
        (site / f"{name}-{version}.dist-info").mkdir()
        (site / f"{name}-{version}.dist-info/METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    return str(directory / "bin/python")


def test_another_python_is_another_environment_and_another_job_where_it_has_other_packages(
    client: AmbryClient, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH")
    said: list[str] = []

    def job(python: str) -> tuple[str, str]:
        made = prepare_job(client, training.WhatToRun(script=script, python=python), said.append)
        return made.job, client.get_bytes(made.environment.id).decode()

    first = job(python_with(tmp_path / "a", "made==1.0"))
    same = job(python_with(tmp_path / "b", "made==1.0"))
    other = job(python_with(tmp_path / "c", "made==1.1", "Also==2"))
    version = sys.version.split()[0]
    assert first[1] == f"# python=={version}\nmade==1.0\n" and same == first
    assert other[1] == f"# python=={version}\nAlso==2\nmade==1.1\n" and other[0] != first[0]
    assert not any("not known" in line for line in said)
    away = job("/opt/of-the-nodes/python3")
    told = "packages of /opt/of-the-nodes/python3 are not known: the machine that submitted could not ask it"
    assert away[1] == f"# {told}\n" and f"the {told}" in said
    assert away[0] not in (first[0], other[0], job("")[0])


def test_a_script_that_the_store_refuses_something_for_good_says_so(client: AmbryClient, script: Path) -> None:
    script.write_text(
        "from ambry.ml import training\njob = training.current()\njob.connect().put(b'', name='a/' * 2_000 + 'b')\n"
    )
    job = prepare_job(client, training.WhatToRun(script=script, name="refused"), lambda _: None)
    with pytest.raises(LaunchFailed, match=rf"\n{REFUSED}\w+: .*"):
        run_job(client, job, OneProcess(), tell=lambda _: None, show=lambda _: None)


def test_whoever_interrupts_a_job_does_not_wait_for_its_newest_checkpoint() -> None:
    """A store that takes connections and says nothing kept it for minutes."""
    looking, away, told = threading.Event(), threading.Event(), list[str]()

    class Folder:
        def latest(self) -> int:
            looking.set()
            assert away.wait(60)
            return 7

    watched = submitting._Watched(cast(CheckpointFolder, Folder()), None, told.append)
    with pytest.raises(KeyboardInterrupt), watched:
        assert looking.wait(60)
        raise KeyboardInterrupt
    away.set()
    watched._thread.join()
    assert told == []


@pytest.mark.parametrize("blob", [submitting.DOCUMENT, MODEL, OUTCOME])
@pytest.mark.parametrize("when", ["claimed", "confirmed"])
def test_a_submission_that_stood_still_takes_nothing_of_a_later_one(
    client: AmbryClient, name: str, script: Path, monkeypatch: pytest.MonkeyPatch, blob: str, when: str
) -> None:
    """It woke after another one had begun, put its own document and outcome there, and deleted the model that was handed in."""
    job = training.prepare_job(client, WhatToRun(script=script, name=name.replace("/", "-")))
    confirm = RunningJob.confirm

    def stands_still(self: RunningJob) -> None:
        confirm(self)
        client.put(b"of the later one", name=job.name_in(blob))

    def claimed(*each: Any, **said: Any) -> Gang:
        gang = claim_run(*each, **said)
        client.put(b"of the later one", name=job.name_in(blob))
        return gang

    client.put(b"of an earlier one", name=job.name_in(MODEL))
    if when == "claimed":
        monkeypatch.setattr("ambry.ml.training.submitting.claim_run", claimed)
    else:
        monkeypatch.setattr(RunningJob, "confirm", stands_still)
    with pytest.raises(UpdateConflict):
        training.run_job(client, job, cast(Launcher, None))
    assert client.get_bytes(job.name_in(blob)) == b"of the later one"
