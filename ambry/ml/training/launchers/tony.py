"""TonY on YARN: LinkedIn's client, unmodified, submits the job, and its master starts all workers, again if one of them dies.

The bundle travels as the sources of TonY's job: each container runs it with the Python of its node, and it gets the rest by id.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from ambry.errors import MALFORMED, InvalidRequest
from ambry.home import login_name
from ambry.ml.training.bundle import FILES
from ambry.ml.training.launchers.attempts import RAISED_MAX, FailedAttempt, LaunchAttempts
from ambry.ml.training.launchers.launch import (
    LastWords,
    Launch,
    LauncherEnded,
    LaunchFailed,
    LaunchPlan,
    output_of,
    refusal_in,
)
from ambry.ml.training.launchers.tony_config import (
    check_tony,
    core_xml,
    shares_files,
    tony_command,
    tony_xml,
    webs_of,
    yarn_xml,
)
from ambry.ml.training.launchers.tony_staging import Staging, applications_in, note, state_of
from ambry.ml.training.launchers.yarn_api import ENDED, answering, ask, kill, place_of
from ambry.ml.training.launchers.yarn_logs import ContainerLogs
from ambry.ml.training.remains import CONF, STAGED, left_behind
from ambry.ml.training.roles import CHIEF, WORKER
from ambry.ml.training.unpacking import naming

_APPLICATION = re.compile(r"Submitted application (application_\d+_\d+)")
_WEB = re.compile(r"ResourceManager web address for application: (https?://[^/\s]+)")
_TASK = re.compile(r"- (\w+), (\w+), (\d+), (https?://\S+)")
_RESTARTS = "Application (re)starts"
LOOK_S = 2.0
"""How often YARN is asked of the application."""
CLIENT_TIMEOUT_S = 10.0
"""How long the client may go on when the application has ended."""
_UMASK = 0o077
WAITS = {
    "ACCEPTED": "waits for YARN to start its master",
    "RUNNING": "its master runs, and waits for the containers of all workers",
}
NO_NODES = "YARN has no node that runs; the job waits for one: start a NodeManager, or interrupt"


@dataclass(frozen=True, slots=True, kw_only=True)
class TonyLauncher:
    """YARN, by TonY."""

    jars: Path
    """The directory of tony-core and all that it needs."""
    hadoop_conf: Path
    """The directory of the cluster's yarn-site.xml and core-site.xml."""
    framework: str = "torch"
    settings: Mapping[str, str] = field(default_factory=dict)

    def check(self, plan: LaunchPlan) -> None:
        """Raises LaunchFailed, and InvalidRequest for settings that are none."""
        check_tony(self.framework, self.settings)
        self._java(plan.environ)

    def run(self, launch: Launch) -> None:
        """Raises LaunchFailed, and InvalidRequest for settings that are none."""
        java = self._java(launch.environ)
        staging = Staging(java=java, jars=self.jars.resolve(), environ=launch.environ, tell=launch.tell)
        staging.remove_left_behind(left_behind(), _identity(launch))
        followed = _Followed(launch, webs_of((self.hadoop_conf / "yarn-site.xml").read_bytes()))
        began = time.monotonic()
        command = self._written(launch, java)
        followed.note()  # Before the client stages anything.
        environ = {**launch.environ, "HADOOP_CONF_DIR": str(launch.directory / CONF)}
        launch.tell("TonY's client begins, and hands the job to YARN")
        try:
            with ContainerLogs(followed.show, followed.task_ended) as logs, followed:
                # TonY leaves its archive and its final configuration where it is started.
                for line in output_of(command, environ, launch.directory, followed.started, umask=_UMASK):
                    followed.read(line, logs)
            followed.cleaned = True
        except LauncherEnded as ended:
            if not followed.ended_well:
                raise followed.failure(ended) from None
        finally:
            if followed.cleaned:
                (launch.directory / STAGED).unlink(missing_ok=True)
            elif not followed.goes_on:
                staging.remove(launch.directory)
        launch.tell(f"{followed.application} ended well after {time.monotonic() - began:.0f} s")

    def _written(self, launch: Launch, java: str) -> list[str]:
        """Write what TonY reads; its command."""
        conf, sources = launch.directory / CONF, launch.directory / "src"
        for directory in (conf, sources):
            directory.mkdir()
        for path in (each for each in self.hadoop_conf.iterdir() if each.suffix == ".xml"):
            shutil.copyfile(path, conf / path.name)
        core = conf / "core-site.xml"
        of_cluster = core.read_bytes() if core.exists() else b"<configuration/>"
        with naming(core):
            core.write_text(core_xml(of_cluster), "utf-8")
        shipped: list[Path] = []
        if shares_files(of_cluster):
            class_path = [str(self.hadoop_conf.resolve()), f"{self.jars.resolve()}/*"]
            yarn = conf / "yarn-site.xml"
            with naming(yarn):
                yarn.write_text(yarn_xml(yarn.read_bytes(), class_path), "utf-8")
        else:
            shipped = sorted(each for each in self.jars.resolve().iterdir() if each.suffix == ".jar")
        for path in (launch.bundle.parent / name for name in FILES):
            if path.is_file():
                shutil.copy2(path, sources / path.name)
        xml = tony_xml(
            launch.job,
            framework=self.framework,
            max_restarts=launch.max_restarts,
            history=Path(tempfile.gettempdir()) / f"tony-history-{os.getuid()}",
            settings=self.settings,
            shipped=shipped,
        )
        with naming(launch.directory / "tony.xml"):
            (launch.directory / "tony.xml").write_text(xml, "utf-8")
        return tony_command(
            java=java,
            conf=conf,
            jars=self.jars.resolve(),
            xml=launch.directory / "tony.xml",
            sources=sources,
            python=launch.job.python or "python3",
        )

    def _java(self, environ: Mapping[str, str]) -> str:
        """Raises LaunchFailed, InvalidRequest."""
        if not any(self.jars.glob("tony-core*.jar")):
            raise InvalidRequest(
                f"{self.jars} has no tony-core-*.jar; `ambry engines fetch tony` says where it puts them"
            )
        if not (self.hadoop_conf / "yarn-site.xml").is_file():
            raise InvalidRequest(
                f"{self.hadoop_conf} has no yarn-site.xml; name the configuration of YARN (--hadoop-conf)"
            )
        if not login_name():
            raise LaunchFailed(
                f"Hadoop's client does not run as the user {os.geteuid()}, for whom this machine has no name: run it as "
                "another user, or have a line for this one in /etc/passwd"
            )
        home = environ.get("JAVA_HOME", "")
        found = shutil.which(f"{home}/bin/java") if home else shutil.which("java")
        if found is None:
            raise LaunchFailed("TonY runs in Java, and this machine has none: install a Java of version 8 to 17")
        return found


def _identity(launch: Launch) -> str:
    """Which job it is, of which store."""
    return " ".join((launch.job.folder, *launch.job.endpoints))


class _Followed:
    """A job as TonY's client tells of it, and as YARN does: the client waits for ever for a master that was started again."""

    def __init__(self, launch: Launch, webs: Sequence[str]) -> None:
        """`webs` is where YARN answers by its configuration, until the client says it; of a highly available one another
        ResourceManager takes over at any time.
        """
        self._launch = launch
        self._webs = webs
        self._configured = answering(webs)
        self._words = LastWords()
        self._web = ""
        self._told: dict[str, str] = {}
        self._sessions = 0
        self._pid = 0
        self._nodes = -1
        self._state = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ambry-yarn-watch", daemon=True)
        self._vain = ""
        """Why no restart is of use, where that is so."""
        self._attempts = LaunchAttempts(launch)
        self.application = ""
        self.ended_well = False
        """Whether YARN said so of an application whose client had to be ended."""
        self.cleaned = False
        """Whether the client ended by itself, and has removed what it staged."""
        self.goes_on = False
        """Whether YARN did not end the application."""
        self._outlived = False
        """Whether the application was there when its client had ended, and what YARN says of it since is of how we ended it."""

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if kind is not None:
            self._look_for_application()
        self.end(well=kind is None)

    def _look_for_application(self) -> None:
        """Of a client that ended before it said that it had submitted one, the one that it may have submitted: it is none where
        YARN says that it does not know it, or that it has ended.
        """
        if self.application or not (staged := applications_in(self._launch.directory)):
            return
        self._configured = answering(self._webs)
        state = state_of(self._configured, staged[0]) if self._configured else ""
        if state not in ENDED:
            self.application, self._web = staged[0], self._configured

    def started(self, pid: int) -> None:
        """The process that has the client."""
        self._pid = pid

    def _watch(self) -> None:
        """End the client of an application that has ended a while ago, or whose restarts are in vain."""
        ended_s = 0.0
        masters = 1
        while not self._over.wait(LOOK_S):
            if self._vain:
                self._end_client()
                return
            about = self._about()
            if about.get("state") not in ENDED:
                masters = max(masters, self._masters(masters))
                self._tell_of_room(str(about.get("state", "")))
                self._tell_of_nodes()
                continue
            ended_s += LOOK_S
            if ended_s >= CLIENT_TIMEOUT_S and self._pid:
                self.ended_well = about.get("finalStatus") == "SUCCEEDED"
                self._end_client()
                return

    def _end_client(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)

    def _tell_of_room(self, state: str) -> None:
        """What a job waits for until its first worker is there, each once: of itself YARN says nothing of it."""
        if self._told or state not in WAITS or state == self._state:
            return
        self._state = state
        self._launch.tell(WAITS[state])

    def _tell_of_nodes(self) -> None:
        """Once for each time that YARN has none: it would wait for one without a word."""
        if not self._web:
            return
        with contextlib.suppress(*MALFORMED, OSError):
            told = json.loads(ask(f"{self._web}/ws/v1/cluster/metrics"))["clusterMetrics"]
            nodes = int(told["activeNodes"])
            if nodes == 0 and self._nodes != 0:
                self._launch.tell(NO_NODES)
            self._nodes = nodes

    def _masters(self, known: int) -> int:
        """How many times the master was started; new ones are told."""
        if not self._web:
            return known
        with contextlib.suppress(*MALFORMED, OSError):
            found = len(json.loads(ask(f"{self._place}/appattempts"))["appAttempts"]["appAttempt"])
            if found > known:
                self._launch.tell(f"the master of {self.application} is started again, and all workers with it")
            return found
        return known

    def show(self, line: str) -> None:
        self._words.hear(line)
        self._vain = self._vain or refusal_in(line)
        self._launch.show(line)

    def task_ended(self, name: str, code: int, raised: str) -> None:
        """A script of one of the containers. Which of its attempts it was is not asked: each has other containers."""
        if name.partition(" ")[0] not in (
            CHIEF,
            WORKER,
        ):  # Of others TonY does not begin again, or goes on without them.
            return
        raised = raised[:RAISED_MAX]
        failed = FailedAttempt(said=f"{name} ended with exit code {code}: {raised}", code=code, raised=raised)
        self._vain = self._vain or self._attempts.in_vain(failed, name)

    def read(self, line: str, logs: ContainerLogs) -> None:
        """A line of the client."""
        if found := _APPLICATION.search(line):
            self.application = found[1]
            self._web = self._configured
            self.note()
            self._launch.tell(f"submitted to YARN as {self.application}")
        elif found := _WEB.search(line):
            self._web = found[1]
            self.note()
            self._launch.tell(f"{self._web}/cluster/app/{self.application}")
        elif _RESTARTS in line:
            self._sessions += 1
            if self._sessions > 1:
                self._words = LastWords()  # What was raised before is not why it ends.
                self._launch.tell("all workers are started again")
        elif found := _TASK.search(line):
            state, name = found[1].lower(), f"{found[2]} {found[3]}"
            logs.add(name, found[4])
            if self._told.get(name) != state:
                self._told[name] = state
                self._launch.tell(f"{name} {state}")

    def note(self) -> None:
        """What a next job has to know of this one. Raises OSError."""
        note(self._launch.directory, self.application, self._web or self._configured, _identity(self._launch))

    def end(self, *, well: bool) -> None:
        """Whoever stops to follow takes the application along: nobody would publish what it makes. That YARN did not end it is
        told. `well` is what the client said; then it has ended, also where YARN does not answer.
        """
        state = self._about().get("state", "")
        if not self.application or state in ENDED or (well and not state):
            return
        self._outlived = True
        why = kill(self._web, self.application, self._launch.environ) if self._web else "it did not say where it is"
        if why:
            self.goes_on = True
            self._launch.tell(
                f"YARN did not end {self.application}, which may go on: {why}; yarn application -kill {self.application}"
            )

    def failure(self, ended: LauncherEnded) -> LaunchFailed:
        """Why it failed: what a worker said last, or what YARN says of the application; of a client that ended before that one,
        what it said itself.
        """
        own = next((line for line in reversed(ended.lines) if "Exception" in line or "ERROR" in line), "")
        if not self.application:
            return LaunchFailed(f"TonY did not submit the job: {own or ended}")
        if self._vain:
            return LaunchFailed(self._vain)
        words = str(self._words)
        if self._outlived:
            said = words or (f": {own}" if own else "")
            return LaunchFailed(f"TonY's client {ended} before {self.application} had ended{said}", goes_on=True)
        told = self._about()
        diagnostics = " ".join(str(told.get("diagnostics", "")).split())[:500]
        how = str(told.get("finalStatus", "")).lower() or str(ended)
        said = words or (f": {diagnostics}" if diagnostics else "")
        return LaunchFailed(f"{self.application} {how}{said}", goes_on=True)

    @property
    def _place(self) -> str:
        return place_of(self._web, self.application)

    def _about(self) -> dict[str, Any]:
        for _ in range(2 if len(self._webs) > 1 else 1):
            if not self._web:
                return {}
            with contextlib.suppress(*MALFORMED, OSError):
                return dict(json.loads(ask(self._place))["app"])
            self._web = answering(self._webs) or self._web
        return {}
