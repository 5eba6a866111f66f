"""What real launchers hand to workers, and what TonY makes of our configuration, taken down and made comparable.

Each case is run by our launcher with workers that write down their environment and end: no store is needed, and no library of
training but torch for torchrun. What is of one machine or one run stands for itself: hosts, ports by the order in which they
come, ids of applications and containers. tests/unit/ambry/ml/training/golden/README.md says how to take them anew.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from ambry.ml.training.bundle import write_bundle
from ambry.ml.training.jobs import StoredTree, TrainingJob
from ambry.ml.training.launchers import Launch, Launcher
from ambry.ml.training.launchers.spark import SparkLauncher
from ambry.ml.training.launchers.tony import TonyLauncher
from ambry.ml.training.launchers.torchrun import TorchrunLauncher

GOLDEN = Path(__file__).resolve().parents[1] / "unit/ambry/ml/training/golden"
ENVIRONMENTS, FINALS = GOLDEN / "environments.json", GOLDEN / "tony-final.json"
TAKE = "AMBRY_TAKE_GOLDEN"
DEFAULTS = "tony-default"
WAIT_S = 120.0
WORKER = """\
import json, os, sys, time
from pathlib import Path
here = Path(sys.argv[0]).resolve().parent
into, count, wait_s = json.loads((here / "job.json").read_text())["arguments"]
made = Path(into) / f"{os.getpid()}.new"
made.write_text(json.dumps(dict(os.environ)))
made.rename(made.with_suffix(".json"))
until = time.monotonic() + float(wait_s)
while len(list(Path(into).glob("*.json"))) < int(count):
    if time.monotonic() > until:
        sys.exit("the others did not come")
    time.sleep(0.05)
"""
"""Takes the place of the bundle. It ends when all of its job are there: TonY ends those that it does not need any more."""
SAID = [
    "RANK",
    "WORLD",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "ROLE_NAME",
    "ROLE_RANK",
    "ROLE_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "INIT_METHOD",
    "JOB_NAME",
    "JOB_ID",
    "TASK_INDEX",
    "TASK_NUM",
    "TF_CONFIG",
    "CLUSTER_SPEC",
    "IS_CHIEF",
    "DISTRIBUTED_MODE",
    "ATTEMPT_NUMBER",
    "SESSION_ID",
    "CONTAINER_ID",
    "AM_HOST",
    "APP_ID",
    "TORCHELASTIC_MAX_RESTARTS",
    "TORCHELASTIC_RESTART_COUNT",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_USE_AGENT_STORE",
    "AMBRY_TRAIN_LAUNCHER",
    "AMBRY_TRAIN_PEERS",
]
"""Variables that say who a worker is; all others are of the machine, of YARN or of Java."""
_OF_JOBS = re.compile(r"tony\.(?!https?\.|keytab\.|portal\.|secret\.|horovod\.|version-info\.(?!version$))")
_ID = re.compile(r"(application|container(?:_e\d+)?)_\d+_\d+(?:_\d+_\d+)?")
_ADDRESS = re.compile(r"([A-Za-z][\w.-]*|\d+\.\d+\.\d+\.\d+):(\d{4,5})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A job of a kind. `tasks`: how many processes take down their environment."""

    name: str
    workers: int
    tasks: int
    framework: str = "torch"
    settings: Mapping[str, str] = field(default_factory=dict)


_SMALL = {"tony.worker.memory": "384m", "tony.am.memory": "384m"}
_CHIEF = {f"tony.{kind}.{what}" for kind in ("chief", "evaluator") for what in ("instances", "memory")}
CHIEF = {name: "1" if name.endswith("instances") else "384m" for name in sorted(_CHIEF)}
TORCHRUN = (Case(name="torchrun-1", workers=1, tasks=1), Case(name="torchrun-2", workers=2, tasks=2))
SPARK = (Case(name="spark-2", workers=2, tasks=2),)
TONY = (
    Case(name="tony-torch-1", workers=1, tasks=1, settings=_SMALL),
    Case(name="tony-torch-2", workers=2, tasks=2, settings=_SMALL),
    Case(name="tony-tensorflow-1", workers=1, tasks=1, framework="tensorflow", settings=_SMALL),
    Case(name="tony-tensorflow-2", workers=2, tasks=2, framework="tensorflow", settings=_SMALL),
    Case(name="tony-tensorflow-chief", workers=1, tasks=3, framework="tensorflow", settings={**_SMALL, **CHIEF}),
)
TONY_IN_EACH_RUN = ("tony-torch-2", "tony-tensorflow-chief")
"""Those with all variables and settings there are; the others run where the files are taken anew. Each takes half a minute."""
Environments = dict[str, dict[str, str]]
"""Of the processes of a case, by their names."""


@dataclass(frozen=True, slots=True)
class Taken:
    """`final`: TonY's configuration as its client gave it to its master, of names that begin with tony; of its defaults what
    differs. Empty of other launchers.
    """

    environments: Environments
    final: dict[str, str]


def job_of(case: Case, arguments: tuple[str, ...] = ()) -> TrainingJob:
    tree = StoredTree(kind="listed", id="x", sha256="0" * 64, size=0)
    return TrainingJob(
        script="train.py",
        sources=tree,
        environment=tree,
        arguments=arguments,
        workers=case.workers,
        python=sys.executable,
        job=case.name,
    )


def taken_by(launcher: Launcher, case: Case, directory: Path) -> Taken:
    """Run a case. Raises LaunchFailed."""
    into = directory / case.name / "said"
    into.mkdir(parents=True)
    job = job_of(case, (str(into), str(case.tasks), str(WAIT_S)))
    bundle = write_bundle(into.parent, job.encode())
    bundle.write_text(WORKER)
    said: list[str] = []
    launcher.run(
        Launch(
            job=job,
            directory=into.parent,
            bundle=bundle,
            environ=os.environ,
            max_restarts=3,
            newest=lambda: None,
            tell=said.append,
            show=said.append,
        )
    )
    found = [json.loads(path.read_text()) for path in into.glob("*.json")]
    assert len(found) == case.tasks, said
    kept = [{name: str(each[name]) for name in SAID if name in each} for each in found]
    finals = list(into.parent.glob("application_*-tony-final.xml"))
    return Taken(
        comparable({_name(each): each for each in kept}), settings_in(finals[0].read_bytes()) if finals else {}
    )


def take_torchrun(directory: Path) -> dict[str, Taken]:
    return {case.name: taken_by(TorchrunLauncher(), case, directory) for case in TORCHRUN}


def take_spark(directory: Path) -> dict[str, Taken]:
    return {case.name: taken_by(SparkLauncher(), case, directory) for case in SPARK}


def take_tony(directory: Path, jars: Path, hadoop_conf: Path) -> dict[str, Taken]:
    """Two at a time: most of a job is the start of Java after Java, and a master that gets no processor is given up."""

    def take(case: Case) -> Taken:
        launcher = TonyLauncher(jars=jars, hadoop_conf=hadoop_conf, framework=case.framework, settings=case.settings)
        return taken_by(launcher, case, directory)

    [core] = jars.glob("tony-core-*.jar")
    with zipfile.ZipFile(core) as opened:
        defaults = settings_in(opened.read("tony-default.xml"))
    cases = [case for case in TONY if os.environ.get(TAKE) or case.name in TONY_IN_EACH_RUN]
    with ThreadPoolExecutor(2) as at_once:
        taken = dict(zip([case.name for case in cases], at_once.map(take, cases), strict=True))
    for each in taken.values():
        own = {name: value for name, value in each.final.items() if defaults.get(name) != value}
        each.final.clear()
        each.final.update(own)
    return {**taken, DEFAULTS: Taken({}, defaults)}


def comparable(environments: Environments) -> Environments:
    """The same for each run of a case, on any machine."""
    ordered = {name: dict(sorted(environments[name].items())) for name in sorted(environments)}
    text = json.dumps(ordered)
    hosts = {socket.gethostname(), socket.getfqdn(), "localhost"}
    text = _ADDRESS.sub(lambda found: f"node:{found[2]}", text)
    for host in sorted(hosts, key=len, reverse=True):
        text = re.sub(rf'"{re.escape(host)}"', '"node"', text)
    text = re.sub(r'"(AM_HOST|MASTER_ADDR)": "[^"]*"', r'"\1": "node"', text)
    ports: dict[str, str] = {}
    for port in re.findall(r'node:(\d+)|"MASTER_PORT": "(\d+)"', text):
        ports.setdefault(port[0] or port[1], str(40_001 + len(ports)))
    text = re.sub(r"\b\d{4,5}\b", lambda found: ports.get(found[0], found[0]), text)
    text = _ID.sub(r"\1_1_0001", text)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "uuid", text)
    read: Environments = json.loads(text)
    return read


def _name(environ: Mapping[str, str]) -> str:
    if "JOB_NAME" in environ:
        return f"{environ['JOB_NAME']} {environ['TASK_INDEX']}"
    return f"worker {environ['RANK']}"


def settings_in(document: bytes) -> dict[str, str]:
    """Of TonY, by their names, without what is of other programs of it. Places of a machine stand for themselves. What goes to
    containers is told by names, without jars, which go along on some clusters alone.
    """
    root = ElementTree.fromstring(document)
    told = {each.findtext("name") or "": (each.findtext("value") or "").strip() for each in root.iter("property")}
    kept = {name: told[name] for name in sorted(told) if _OF_JOBS.match(name)}
    for name, value in kept.items():
        value = value.replace(sys.executable, "python3")
        if name.startswith("tony.history.") and value.startswith("/"):
            value = "/history"
        elif name.endswith(".resources"):
            names = {_ID.sub(r"\1_1_0001", each.rpartition("/")[2]) for each in value.split(",")}
            value = ",".join(sorted(each for each in names if not each.endswith(".jar")))
        kept[name] = value
    return kept


def compare_or_take(taken: Mapping[str, Taken]) -> list[str]:
    """The cases that are not as the golden files have them; with AMBRY_TAKE_GOLDEN set these are written, and none is."""
    environments, finals = read_golden()
    now = {name: each.environments for name, each in taken.items() if each.environments}
    now_final = {name: each.final for name, each in taken.items() if each.final}
    if os.environ.get(TAKE):
        GOLDEN.mkdir(exist_ok=True)
        for path, told in ((ENVIRONMENTS, {**environments, **now}), (FINALS, {**finals, **now_final})):
            path.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", "utf-8")
        return []
    apart = [name for name in now if environments.get(name) != now[name]]
    return apart + [f"{name}, tony-final.xml" for name in now_final if finals.get(name) != now_final[name]]


def read_golden() -> tuple[dict[str, Environments], dict[str, dict[str, str]]]:
    """Environments by their case and process, and TonY's final configurations by their case."""
    told = [json.loads(path.read_text("utf-8")) if path.exists() else {} for path in (ENVIRONMENTS, FINALS)]
    return told[0], told[1]
