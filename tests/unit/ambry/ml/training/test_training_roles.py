"""Environments as launchers make them, taken down from torchrun 2.13, TonY 0.4.7 on YARN 3.5.0 and Spark 4.3.0 (golden/), and
what else they may be.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from ambry.ml.training import roles
from ambry.ml.training.roles import RoleUnclear, WorkerRole, role_of
from tests.support import launcher_golden

TORCHRUN = {
    "GROUP_RANK": "0",
    "GROUP_WORLD_SIZE": "1",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "35445",
    "RANK": "1",
    "ROLE_NAME": "default",
    "ROLE_RANK": "1",
    "ROLE_WORLD_SIZE": "2",
    "TORCHELASTIC_MAX_RESTARTS": "3",
    "TORCHELASTIC_RESTART_COUNT": "2",
    "TORCHELASTIC_RUN_ID": "9acb87c8-faae-4171-9e54-2e342ce62268",
    "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT",
    "TORCHELASTIC_USE_AGENT_STORE": "False",
    "WORLD_SIZE": "2",
}
TONY_TORCH = {
    "AM_HOST": "node1",
    "ATTEMPT_NUMBER": "0",
    "CONTAINER_ID": "container_1795847266519_0001_01_000003",
    "DISTRIBUTED_MODE": "GANG",
    "HOME": "/home/",
    "INIT_METHOD": "tcp://node1:40001",
    "JOB_ID": "application_1795847266519_0001",
    "JOB_NAME": "worker",
    "RANK": "1",
    "SESSION_ID": "1",
    "TASK_INDEX": "1",
    "TASK_NUM": "2",
    "WORLD": "2",
}
TONY_TF = {
    "ATTEMPT_NUMBER": "0",
    "CLUSTER_SPEC": '{"chief":["node1:40001"],"worker":["node2:40002"],"evaluator":["node2:40003"]}',
    "JOB_NAME": "worker",
    "TASK_INDEX": "0",
    "TASK_NUM": "1",
    "TF_CONFIG": json.dumps(
        {"cluster": {"chief": ["node1:40001"], "worker": ["node2:40002"]}, "task": {"type": "worker", "index": 0}}
    ),
}
SPARK = {
    "AMBRY_TRAIN_LAUNCHER": "spark",
    "AMBRY_TRAIN_PEERS": "10.0.0.1:4001,10.0.0.2:4002",
    "ATTEMPT_NUMBER": "1",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "4001",
    "RANK": "1",
    "WORLD_SIZE": "2",
}


TAKEN, _ = launcher_golden.read_golden()
PROCESSES = [(case, process) for case, processes in TAKEN.items() for process in processes]


def test_every_case_was_taken_down_with_all_of_its_processes() -> None:
    cases = (*launcher_golden.TORCHRUN, *launcher_golden.SPARK, *launcher_golden.TONY)
    assert {name: len(processes) for name, processes in TAKEN.items()} == {case.name: case.tasks for case in cases}


@pytest.mark.parametrize(("case", "process"), PROCESSES)
def test_a_process_of_a_real_launcher_knows_who_it_is(case: str, process: str) -> None:
    """Which task, of how many, and where rank 0 is; a chief comes before workers, and an evaluator does not count."""
    role = role_of(TAKEN[case][process])
    launcher, *_, kind = case.split("-")
    trains = [name for name in ("chief 0", "worker 0", "worker 1") if name in TAKEN[case]]
    task, index = process.split()
    assert (role.launcher, role.task, role.index, role.attempt) == (launcher, task, int(index), 0)
    assert (role.rank, role.world) == (trains.index(process) if process in trains else None, len(trains))
    assert role.is_chief is (process == trains[0]) and role.is_evaluator is (task == "evaluator")
    if kind != "1" and role.rank is not None:
        assert role.master.startswith("node:4000"), role
        masters = {role_of(TAKEN[case][each]).master for each in trains}
        assert len(masters) == 1, "all meet at one place"


@pytest.mark.parametrize(("case", "process"), PROCESSES)
def test_what_a_script_is_told_says_the_same_again(case: str, process: str) -> None:
    """A process of a script reads what the node has told it, by the names of torchrun and of TensorFlow."""
    environ = TAKEN[case][process]
    told = role_of(environ).environment()
    assert role_of({**environ, **told}) == role_of(environ)
    if "TF_CONFIG" in environ:
        assert json.loads(told["TF_CONFIG"]) == json.loads(environ["TF_CONFIG"])
    if "RANK" in environ:
        assert (told["RANK"], told["WORLD_SIZE"]) == (environ["RANK"], environ.get("WORLD_SIZE", environ.get("WORLD")))


def test_torchrun_says_all_of_it() -> None:
    assert role_of(TORCHRUN) == WorkerRole(
        launcher="torchrun", index=1, rank=1, world=2, local_rank=1, master="localhost:35445", attempt=2, start=2
    )


def test_tony_says_world_and_an_address() -> None:
    role = role_of(TONY_TORCH)
    assert (role.launcher, role.rank, role.world, role.master) == ("tony", 1, 2, "node1:40001")
    assert (role.task, role.index, role.name) == ("worker", 1, "worker 1")


def test_a_script_of_torchruns_names_runs_under_tony() -> None:
    told = role_of(TONY_TORCH).environment()
    assert told == {
        "AMBRY_TRAIN_LAUNCHER": "tony",
        "AMBRY_TRAIN_ATTEMPT": "1",
        "AMBRY_TRAIN_START": "1000000000003",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "node1",
        "MASTER_PORT": "40001",
        "RANK": "1",
        "WORLD_SIZE": "2",
    }
    assert role_of({**TONY_TORCH, **told}) == role_of(TONY_TORCH)
    assert role_of(TONY_TORCH).attempt == 1


def test_who_takes_the_place_of_a_container_of_yarn_starts_later() -> None:
    later = (
        "container_1795847266519_0001_01_000004",
        "container_e01_1795847266519_0001_01_000002",  # YARN was started again.
        "container_1795847266519_0001_02_000002",  # The master was.
        "container_e9999_1795847266519_0001_02_000001",
        "container_1795847266519_0001_03_000001",
    )
    starts = [role_of({**TONY_TORCH, "CONTAINER_ID": each}).start for each in (TONY_TORCH["CONTAINER_ID"], *later)]
    assert starts == sorted(set(starts))
    assert role_of({**SPARK, "CONTAINER_ID": later[0]}).start == role_of(SPARK).start == 1


def test_of_tensorflow_the_chief_is_rank_0_and_workers_follow() -> None:
    role = role_of(TONY_TF)
    assert (role.rank, role.world, role.is_chief, role.master) == (1, 2, False, "node1:40001")
    config = json.loads(TONY_TF["TF_CONFIG"])
    config["task"] = {"type": "chief", "index": 0}
    chief = role_of({**TONY_TF, "JOB_NAME": "chief", "TF_CONFIG": json.dumps(config)})
    assert (chief.rank, chief.is_chief) == (0, True)
    assert json.loads(chief.tf_config()) == config


def test_without_a_chief_worker_0_is_it() -> None:
    config = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}
    assert role_of({"TF_CONFIG": json.dumps(config)}).is_chief


@pytest.mark.parametrize("task", ["evaluator", "ps"])
def test_who_does_not_train_has_no_rank(task: str) -> None:
    cluster = {"chief": ["a:1"], "worker": ["b:2"], "ps": ["c:3"]}
    config = json.dumps({"cluster": cluster, "task": {"type": task, "index": 0}})
    role = role_of({"JOB_NAME": task, "TASK_INDEX": "0", "CLUSTER_SPEC": "{}", "TF_CONFIG": config})
    assert (role.rank, role.world, role.is_chief, role.is_evaluator) == (None, 2, False, task == "evaluator")
    assert "RANK" not in role.environment()


def test_peers_become_the_cluster_of_tensorflow() -> None:
    role = role_of(SPARK)
    assert (role.launcher, role.rank, role.attempt) == ("spark", 1, 1)
    assert json.loads(role.environment()["TF_CONFIG"]) == {
        "cluster": {"worker": ["10.0.0.1:4001", "10.0.0.2:4002"]},
        "task": {"type": "worker", "index": 1},
    }


def test_a_script_that_nobody_launched_is_alone() -> None:
    role = role_of({"HOME": "/root"})
    assert (role.launcher, role.rank, role.world, role.is_chief, role.tf_config()) == ("alone", 0, 1, True, "")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 and WORLD_SIZE is 2"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one'; a launcher sets it to a number"),
        ({"RANK": "0"}, "WORLD is not set"),
        ({"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "a"}, "MASTER_PORT is not set"),
        ({"RANK": "0", "WORLD": "1", "INIT_METHOD": "file:///x"}, "INIT_METHOD is 'file:///x'; it is to be tcp"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG is not what TensorFlow reads"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}'}, "this is worker 1"),
        ({**SPARK, "AMBRY_TRAIN_PEERS": "a:1"}, "names 1 workers, and WORLD_SIZE is 2"),
    ],
)
def test_what_does_not_fit_together_is_told(environ: dict[str, str], told: str) -> None:
    with pytest.raises(RoleUnclear) as found:
        role_of(environ)
    assert told in str(found.value)


def test_each_attempt_of_torchrun_has_addresses_of_its_own() -> None:
    """A port that somebody had taken was that of all restarts."""
    environ = {"TORCHELASTIC_RUN_ID": "1", "RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    environ["AMBRY_TRAIN_PEERS"] = "a:1,a:2;a:3,a:4"
    found = [role_of({**environ, "TORCHELASTIC_RESTART_COUNT": str(count)}).cluster["worker"] for count in range(3)]
    assert found == [("a:1", "a:2"), ("a:3", "a:4"), ("a:1", "a:2")]


@pytest.mark.parametrize("name", ["roles", "node", "node_trees", "unpacking"])
def test_what_travels_to_nodes_needs_the_standard_library_alone(name: str) -> None:
    import sys

    source = Path(roles.__file__).with_name(f"{name}.py").read_text("utf-8")
    found = {
        each.split(".")[0] if not each.startswith("ambry") else each
        for node in ast.walk(ast.parse(source))
        for each in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert found - sys.stdlib_module_names - {"__future__"} <= {
        "ambry.client.tree_removal",
        "ambry.ml.training.node_trees",
        "ambry.ml.training.roles",
        "ambry.ml.training.unpacking",
    }
