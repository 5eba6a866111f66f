"""Who a worker of a training job is, as its launcher says it: one reading for all of them, of an environment and nothing else.

    variable                        torchrun   TonY   Spark   what it says
    RANK                            yes        yes    yes     of all workers, from 0; of TonY with its framework pytorch
    WORLD_SIZE                      yes        no     yes     how many there are
    WORLD                           no         yes    no      the same
    LOCAL_RANK                      yes        no     no      of the workers of this machine
    MASTER_ADDR, MASTER_PORT        yes        no     yes     where rank 0 listens
    INIT_METHOD                     no         yes    no      the same, as tcp://host:port
    JOB_NAME, TASK_INDEX            no         yes    no      the kind of task (worker, chief, ...), and which of its kind
    TF_CONFIG                       no         yes    no      all addresses by kind, and which of them this is
    TORCHELASTIC_RESTART_COUNT      yes        no     no      how often the group was started again
    ATTEMPT_NUMBER                  no         yes    yes     the same; of TonY how often its master was
    SESSION_ID                      no         yes    no      how often its master started them again; 0.4.7 stays at 1
    CONTAINER_ID                    no         yes    no      of YARN: which master's container it is, and which of that one
    AMBRY_TRAIN_PEERS               ours       no     ours    host:port,... by rank, for TensorFlow; ; between attempts
    AMBRY_TRAIN_PARENT              ours       no     ours    the process id of who starts the worker, and ends with it

Where TensorFlow has a chief it is rank 0, and workers follow; evaluators and parameter servers are of no rank: they do not
take part in collective calls. An attempt is a hint for logs: what a job goes on from is its newest checkpoint.

Imports the standard library alone: it travels to nodes that have nothing else (bundle.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

PEERS = "AMBRY_TRAIN_PEERS"
LAUNCHER = "AMBRY_TRAIN_LAUNCHER"
PARENT = "AMBRY_TRAIN_PARENT"
ATTEMPT = "AMBRY_TRAIN_ATTEMPT"
"""What `environment` says of an attempt, so that it is read once."""
START = "AMBRY_TRAIN_START"
_CONTAINER = re.compile(r"container_(?:e(\d+)_)?\d+_\d+_(\d+)_(\d+)")
"""Of YARN: the restarts of its ResourceManager, the master and the container are counted."""
_DIGITS_MAX = 24
CHIEF, WORKER, EVALUATOR = "chief", "worker", "evaluator"
_TRAINS = (CHIEF, "master", WORKER)
"""Kinds of tasks that have a rank, in the order of their ranks."""


class RoleUnclear(ValueError):
    """What a launcher said does not fit together. The message says which variables, and what they hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRole:
    """One process of a job."""

    launcher: str
    """torchrun, tony, spark, or alone where nobody launched it."""
    task: str = WORKER
    index: int = 0
    """Among the tasks of its kind."""
    rank: int | None = 0
    """Among all that train; None of one that does not."""
    world: int = 1
    """How many train."""
    local_rank: int = 0
    master: str = ""
    """host:port of rank 0; empty where that is not said."""
    attempt: int = 0
    """How often the launcher started it again, as far as the launcher tells."""
    start: int = 0
    """Of this worker of the job: more for whoever takes its place later. Of TonY by YARN's numbers of containers, as its own do
    not rise. Those of two workers of a gang are not comparable.
    """
    cluster: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """host:port of every task by its kind, as TensorFlow has it; empty where addresses are not said."""

    @property
    def is_chief(self) -> bool:
        """Whether this one writes down what is of all: checkpoints' marks, logs, the model."""
        return self.rank == 0

    @property
    def is_evaluator(self) -> bool:
        return self.task == EVALUATOR

    @property
    def name(self) -> str:
        return f"{self.task} {self.index}"

    def tf_config(self) -> str:
        """TF_CONFIG for this one; empty where there is nobody else, or addresses are not said."""
        if not self.cluster:
            return ""
        task = {"type": self.task, "index": self.index}
        return json.dumps({"cluster": {kind: list(all_) for kind, all_ in self.cluster.items()}, "task": task})

    def environment(self) -> dict[str, str]:
        """What a script reads, of whichever launcher: the names of torchrun, and TF_CONFIG.

        `torch.distributed.init_process_group("gloo")` and `tf.distribute.MultiWorkerMirroredStrategy()` need no more.
        """
        told = {LAUNCHER: self.launcher, ATTEMPT: str(self.attempt), START: str(self.start)}
        if self.rank is not None:
            told |= {"RANK": str(self.rank), "WORLD_SIZE": str(self.world), "LOCAL_RANK": str(self.local_rank)}
        if self.master and self.rank is not None:
            host, _, port = self.master.rpartition(":")
            told |= {"MASTER_ADDR": host.strip("[]"), "MASTER_PORT": port}
        if config := self.tf_config():
            told["TF_CONFIG"] = config
        return told


def role_of(environ: Mapping[str, str]) -> WorkerRole:
    """Who the process with this environment is. Raises RoleUnclear."""
    launcher = _launcher(environ)
    attempt = _attempt(environ, launcher)
    return replace(_role_of(environ, launcher, attempt), start=_start(environ, launcher, attempt))


def _role_of(environ: Mapping[str, str], launcher: str, attempt: int) -> WorkerRole:
    config = _tf_config(environ)
    if config is None and "JOB_NAME" not in environ:
        return _by_rank(environ, launcher, attempt)
    cluster, task, index = config or ({}, environ["JOB_NAME"], _number(environ, "TASK_INDEX", 0))
    if launcher == "tony" and config is None and task not in _TRAINS:
        return WorkerRole(launcher=launcher, task=task, index=index, rank=None, world=0, attempt=attempt)
    if "RANK" in environ:
        found = _by_rank(environ, launcher, attempt)
        rank: int | None = found.rank if task in _TRAINS else None
        world, master, local_rank = found.world, found.master, found.local_rank
    else:
        trains = [(kind, each) for kind in _TRAINS for each in range(len(cluster.get(kind, ())))]
        rank = trains.index((task, index)) if (task, index) in trains else None
        world, local_rank = max(1, len(trains)), 0
        master = cluster[trains[0][0]][0] if trains else ""
    return WorkerRole(
        launcher=launcher,
        task=task,
        index=index,
        rank=rank,
        world=world,
        local_rank=local_rank,
        master=master,
        attempt=attempt,
        cluster=cluster,
    )


def _launcher(environ: Mapping[str, str]) -> str:
    if LAUNCHER in environ:
        return environ[LAUNCHER]
    if "TORCHELASTIC_RUN_ID" in environ:
        return "torchrun"
    if "JOB_NAME" in environ and ("CLUSTER_SPEC" in environ or "TASK_INDEX" in environ):
        return "tony"
    return "environment" if "RANK" in environ or "TF_CONFIG" in environ else "alone"


def _attempt(environ: Mapping[str, str], launcher: str) -> int:
    if ATTEMPT in environ:
        return _number(environ, ATTEMPT)
    attempt = _number(environ, "TORCHELASTIC_RESTART_COUNT", _number(environ, "ATTEMPT_NUMBER", 0))
    return attempt + (_number(environ, "SESSION_ID", 0) if launcher == "tony" else 0)


def _start(environ: Mapping[str, str], launcher: str, attempt: int) -> int:
    """The numbers of YARN in one, which JSON has exactly: room for 9,000 masters of 10,000 restarts of YARN."""
    if START in environ:
        return _number(environ, START)
    found = _CONTAINER.match(environ.get("CONTAINER_ID", "")) if launcher == "tony" else None
    if found is None:
        return attempt
    restarts, master, container = (int(each or 0) for each in found.groups())
    return master * 10**12 + restarts * 10**8 + container


def _by_rank(environ: Mapping[str, str], launcher: str, attempt: int) -> WorkerRole:
    """Of RANK and what goes with it."""
    if "RANK" not in environ:
        return WorkerRole(launcher=launcher, attempt=attempt)
    rank = _number(environ, "RANK")
    counted = "WORLD_SIZE" if "WORLD_SIZE" in environ else "WORLD"
    world = _number(environ, counted)
    if not rank < world:
        raise RoleUnclear(
            f"RANK is {rank} and {counted} is {world}; ranks go from 0 to one less than there are workers"
        )
    sets = environ.get(PEERS, "").split(";")
    peers = tuple(each for each in sets[attempt % len(sets)].split(",") if each)
    if peers and len(peers) != world:
        raise RoleUnclear(f"{PEERS} names {len(peers)} workers, and {counted} is {world}")
    return WorkerRole(
        launcher=launcher,
        index=rank,
        rank=rank,
        world=world,
        local_rank=_number(environ, "LOCAL_RANK", 0),
        master=_master(environ),
        attempt=attempt,
        cluster={WORKER: peers} if peers else {},
    )


def _master(environ: Mapping[str, str]) -> str:
    if "MASTER_ADDR" in environ:
        host = environ["MASTER_ADDR"]
        return f"{f'[{host}]' if ':' in host else host}:{_number(environ, 'MASTER_PORT')}"
    said = environ.get("INIT_METHOD", "")
    if not said:
        return ""
    scheme, _, address = said.partition("://")
    if scheme != "tcp" or not address.rpartition(":")[2].isdecimal():
        raise RoleUnclear(f"INIT_METHOD is {said!r}; it is to be tcp://host:port")
    return address


def _tf_config(environ: Mapping[str, str]) -> tuple[dict[str, tuple[str, ...]], str, int] | None:
    """All addresses, the kind of this task and its index. None where TF_CONFIG says nothing of a cluster."""
    text = environ.get("TF_CONFIG", "")
    if not text:
        return None
    try:
        said: Any = json.loads(text)
        cluster = {str(kind): tuple(map(str, addresses)) for kind, addresses in (said.get("cluster") or {}).items()}
        task = said.get("task") or {}
        kind, index = str(task["type"]), int(task["index"])
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise RoleUnclear(f"TF_CONFIG is not what TensorFlow reads ({error!r}): {text[:200]}") from None
    if kind != EVALUATOR and not 0 <= index < len(cluster.get(kind, ())):
        raise RoleUnclear(f"TF_CONFIG says that this is {kind} {index}, and names {len(cluster.get(kind, ()))} of them")
    return cluster, kind, index


def _number(environ: Mapping[str, str], name: str, without: int | None = None) -> int:
    text = environ.get(name)
    if text is None and without is not None:
        return without
    if text is None or not text.isdecimal() or len(text) > _DIGITS_MAX:
        raise RoleUnclear(f"{name} is {text[:80]!r}; a launcher sets it to a number" if text else f"{name} is not set")
    return int(text)
