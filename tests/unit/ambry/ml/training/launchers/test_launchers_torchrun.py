"""torchrun's command, and the sentence that is made of what it says last. The lines are those of torch 2.13."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.training.jobs import named_job
from ambry.ml.training.launchers import torchrun
from ambry.ml.training.launchers.choice import LauncherSettings, launcher_of
from ambry.ml.training.launchers.launch import Launch, LauncherEnded, LaunchFailed, LaunchPlan
from ambry.ml.training.launchers.torchrun import (
    BEFORE_LINE,
    TorchrunLauncher,
    addresses,
    free_ports,
    reason_of,
    torchrun_command,
)
from ambry.ml.training.unpacking import REFUSED
from tests.unit.ambry.ml.training.test_training_jobs import JOB

TRACEBACK = (
    "[rank1]: Traceback (most recent call last):",
    '[rank1]:   File "/x/train.py", line 88, in <module>',
    "worker 1: [rank1]: RuntimeError: the data has no column 'age'",
    "worker 0: RuntimeError: Connection closed by peer",
    "E1128 06:16:03.032000 12586 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1) local_rank: 1 "
    "(pid: 12607) of binary: /usr/bin/python",
)
KILLED = (
    "E1128 06:16:00.093000 12586 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: -9) local_rank: 0 "
    "(pid: 12592) of binary: /usr/bin/python",
)
NODE = (
    "worker 0: ambry train: this worker could not begin: this node has no python9; name another one with --python",
    "E1128 06:16:00.093000 1 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 70) local_rank: 0 "
    "(pid: 2)",
)


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    return Launch(
        job=named_job(JOB),
        directory=tmp_path,
        bundle=tmp_path / "ambry-node.pyz",
        environ={},
        max_restarts=3,
        newest=lambda: None,
        tell=print,
        show=print,
    )


def test_all_workers_run_the_bundle(launch: Launch) -> None:
    shell = ("/bin/sh", "-c", 'export AMBRY_TRAIN_PARENT=$$; exec "$@"', "torchrun")
    assert torchrun_command("/env/bin/python", launch) == [
        *shell,
        *("/env/bin/python", "-u", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("--max-restarts", "3", "--monitor-interval", "0.2"),
        *("--tee", "3", "--log-dir", str(launch.directory / "torchrun"), str(launch.bundle)),
    ]
    told = [sys.executable, "-c", "import os; print(os.environ['AMBRY_TRAIN_PARENT'] == str(os.getpid()))"]
    assert subprocess.run([*shell, *told], capture_output=True, text=True, check=True).stdout == "True\n"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            TRACEBACK,
            "worker 1 ended with exit code 1 after 3 restarts: RuntimeError: the data has no column 'age'",
        ),
        (KILLED, "worker 0 was ended by SIGKILL after 3 restarts"),
        (NODE, "worker 0 could not begin after 3 restarts: ambry train: this worker could not begin: this node has no"),
        (
            (*TRACEBACK, TRACEBACK[-1]),
            "worker 1 ended with exit code 1 after 3 restarts",  # Not by what an earlier try raised.
        ),
        (("torchrun: error: unrecognized arguments",), "torchrun ended with exit code 1"),
    ],
)
def test_the_reason_names_the_worker_how_it_ended_and_what_it_said(
    launch: Launch, lines: tuple[str, ...], told: str
) -> None:
    assert reason_of(LauncherEnded(1, lines), launch).startswith(told)


def test_that_all_workers_begin_again_is_told_as_often_as_they_do(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun itself does not say so."""
    told: list[str] = []
    launch = replace(launch, max_restarts=2, tell=told.append)
    monkeypatch.setattr(torchrun, "_require_torch", lambda *_: None)
    monkeypatch.setattr(torchrun, "read_job", lambda _: launch.job)
    monkeypatch.setattr(torchrun, "node_environment", lambda *_: {})
    monkeypatch.setattr(torchrun, "python_of", lambda *_: sys.executable)
    code = f"print({KILLED[0]!r}); print({KILLED[0]!r}); print({TRACEBACK[-1]!r}); raise SystemExit(1)"
    monkeypatch.setattr(torchrun, "torchrun_command", lambda *_: [sys.executable, "-c", code])
    with pytest.raises(LaunchFailed, match="worker 1 ended with exit code 1 after 2 restarts"):
        TorchrunLauncher().run(launch)
    assert told == ["worker 0 was ended by SIGKILL; all workers are started again"] * 2


def test_a_script_that_fails_as_before_is_not_started_again(launch: Launch) -> None:
    """It was started four times. What stands in place of torchrun would be, and torchrun itself cannot be told."""
    told: list[str] = []
    launch = replace(launch, tell=told.append)
    each = [line.replace("RuntimeError", "ValueError") for line in (*TRACEBACK, *TRACEBACK)]
    code = f"import time; print(*{each!r}, sep=chr(10), flush=True); time.sleep(30)"
    with pytest.raises(LaunchFailed) as failed:
        list(TorchrunLauncher()._followed(launch, [sys.executable, "-c", code], dict(os.environ)))
    said = "worker 1 ended with exit code 1: ValueError: the data has no column 'age'"
    assert told == [f"{said}; all workers are started again"]
    assert failed.value.message.startswith(
        f"{said}; an attempt before ended so, and there is no checkpoint, so that no"
    )
    assert not failed.value.goes_on


def test_a_torchrun_that_a_script_runs_itself_is_none_of_ours(launch: Launch) -> None:
    """A script that went on after its folds had failed alike was ended as one that fails as before."""
    told: list[str] = []
    of_folds = [f"worker 0: {line.replace('RuntimeError', 'ValueError')}" for line in (*TRACEBACK, *TRACEBACK)]
    code = f"print(*{of_folds!r}, 'worker 0: done', sep=chr(10))"
    shown = list(TorchrunLauncher()._followed(replace(launch, tell=told.append), [sys.executable, "-c", code], {}))
    assert shown[-1] == "worker 0: done" and told == []


def test_what_the_store_refuses_a_worker_for_good_ends_torchrun(launch: Launch) -> None:
    """torchrun itself cannot be told, and began all workers again, three times; whoever follows it ends it."""
    code = f"import time; print('worker 0: [rank0]: {REFUSED}AccessDenied: no', flush=True); time.sleep(600)"
    with pytest.raises(
        LaunchFailed, match=r"^what a worker asked is refused for good.* is of use: AccessDenied: no; mend that"
    ):
        list(TorchrunLauncher()._followed(launch, [sys.executable, "-c", code], dict(os.environ)))


def test_of_a_torchrun_that_was_killed_no_worker_is_blamed(launch: Launch) -> None:
    """It had started one again that had failed before."""
    assert reason_of(LauncherEnded(-9, KILLED), launch) == "torchrun was ended by SIGKILL"


def test_a_long_line_of_a_worker_is_shown_whole(launch: Launch) -> None:
    """What stands in place of torchrun prints, as it does, a line of a worker with whose it is."""
    code = "print('worker 1: ' + 'x' * 40_000 + 'end'); print('[torchrun] of itself'); print('worker 0: short')"
    shown = list(TorchrunLauncher()._followed(launch, [sys.executable, "-c", code], dict(os.environ)))
    assert "".join(each.removeprefix("worker 1: ") for each in shown[:-1]) == "x" * 40_000 + "end"
    assert shown[-1] == "worker 0: short" and all(each.startswith("worker 1: ") for each in shown[:-1])


def test_a_last_line_without_an_end_is_a_line(launch: Launch) -> None:
    """What stands in place of torchrun writes lines as it does (tail_logfile)."""
    lines = ["err without newline", "first\n", "\n", "no newline at the end"]
    code = f"import sys; [sys.stdout.write({BEFORE_LINE!r}.replace('${{rank}}', '0') + each) for each in {lines!r}]"
    shown = list(TorchrunLauncher()._followed(launch, [sys.executable, "-c", code], dict(os.environ)))
    assert shown == ["worker 0: err without newline", "worker 0: first", "worker 0: no newline at the end"]


def test_a_python_that_says_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python on a disk that hangs was waited for without end, with a right to run that was renewed."""
    monkeypatch.setattr(torchrun, "PYTHON_TIMEOUT_S", 0.2)
    silent = tmp_path / "python3"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    with pytest.raises(LaunchFailed, match=f"{silent} did not say within 0 s whether it has torch"):
        torchrun._require_torch(str(silent), dict(os.environ))
    with pytest.raises(LaunchFailed, match="cannot be started"):
        torchrun._require_torch(str(tmp_path / "none"), dict(os.environ))
    # It was told that it has no torch, of a Python that has.
    with pytest.raises(LaunchFailed, match=r"before it could say whether it has torch: .*; name another Python"):
        torchrun._require_torch(sys.executable, {**os.environ, "PYTHONHOME": str(tmp_path)})


def test_an_environment_out_of_the_store_without_torch_is_told_before_a_worker_begins(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the job is submitted nobody can look into it: it comes here only now."""
    TorchrunLauncher().check(LaunchPlan(workers=2, environ={}))
    bare = launch.directory / "bare-python"
    bare.write_text(f"#!/bin/sh\nexit {torchrun._LACKS_TORCH}\n")
    bare.chmod(0o755)
    monkeypatch.setattr(torchrun, "read_job", lambda _: launch.job)
    monkeypatch.setattr(torchrun, "node_environment", lambda *_: {})
    monkeypatch.setattr(torchrun, "python_of", lambda *_: str(bare))
    with pytest.raises(
        LaunchFailed, match=rf"comes with torch, which {bare} does not have: .* environment that is sent"
    ):
        TorchrunLauncher().run(launch)


def test_addresses_are_others_for_each_restart() -> None:
    sets = [each.split(",") for each in addresses(3, 2).split(";")]
    assert [len(each) for each in sets] == [3, 3, 3] and len({port for each in sets for port in each}) == 9
    assert len(addresses(2, 1_000).split(";")) == 8


@pytest.mark.parametrize(("workers", "sets"), [(2, 8), (1_100, 6), (4_096, 1)])
def test_addresses_of_many_workers_fit_a_variable(workers: int, sets: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,100 workers with 7 restarts were `Argument list too long`."""
    monkeypatch.setattr(torchrun, "free_ports", lambda count, but=(): [65535] * count)
    told = addresses(workers, 7)
    assert [len(each.split(",")) for each in told.split(";")] == [workers] * sets
    assert len(f"AMBRY_TRAIN_PEERS={told}") < 131_072


def test_so_many_files_are_open_as_there_are_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of all restarts were at once: from 128 workers on they were more than 1,024, the usual limit."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(torchrun, "ADDRESS_SETS_MAX", 8)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len([*Path("/proc/self/fd").iterdir()]) + 150, most))
        assert len(set(addresses(100, 7).replace(";", ",").split(","))) == 800
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


def test_ports_are_free_and_each_another() -> None:
    ports = free_ports(8)
    assert len(set(ports)) == 8 and all(1024 < port < 65536 for port in ports)


def test_engines_are_chosen_by_name_and_take_their_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.delenv("YARN_CONF_DIR", raising=False)
    assert isinstance(launcher_of("torchrun"), TorchrunLauncher)
    with pytest.raises(InvalidRequest, match="is no engine; there are torchrun, tony, spark"):
        launcher_of("slurm")
    with pytest.raises(InvalidRequest, match="torchrun has no setting"):
        launcher_of("torchrun", LauncherSettings(settings={"a": "b"}))
    for engine in ("tony", "spark"):
        with pytest.raises(InvalidRequest, match="nobody said which YARN"):
            launcher_of(engine, LauncherSettings(master="yarn"))
