"""What TonY stages for an application: its sources with the store's key, in `.tony` of the user's home in the cluster's files.

TonY 0.4.7 removes it when its client ends by itself. What a client left that was ended, or whose submitter was killed, is
removed here, when its application has ended. It asks YARN for an application, zips its sources into a file that is called after
it, stages them, and submits: one that was killed before it said which application it is has left that file.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import subprocess
import urllib.error
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ambry.errors import MALFORMED, InvalidRequest
from ambry.ml.training.launchers.tony_config import webs_of
from ambry.ml.training.launchers.yarn_api import ENDED, answering, ask, kill, place_of
from ambry.ml.training.remains import APPLICATION, CONF, LEFT_MAX, STAGED, empty
from ambry.ml.training.unpacking import naming

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """Of one user. `jars` are TonY's, with Hadoop's client among them."""

    java: str
    jars: Path
    environ: Mapping[str, str]
    tell: Callable[[str], None]

    def remove(self, directory: Path) -> bool:
        """Remove what was staged for the job of a directory. Whether nothing is left; if not, that is told."""
        staged = [f".tony/{each}" for each in applications_in(directory)]
        if not staged:
            (directory / STAGED).unlink(missing_ok=True)
            return True
        command = [self.java, "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]
        command += [
            f"{directory / CONF}:{self.jars}/*",
            "org.apache.hadoop.fs.FsShell",
            "-rm",
            "-r",
            "-f",
            "-skipTrash",
        ]
        try:
            done = subprocess.run(
                [*command, *staged],
                cwd=pwd.getpwuid(os.geteuid()).pw_dir,  # What a relative path is under, where files are this machine's.
                env={**self.environ, "HADOOP_CONF_DIR": str(directory / CONF)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,  # nosec B603 # Hadoop's client
            )
            said = (
                ""
                if done.returncode == 0
                else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            )
        except (OSError, KeyError, subprocess.TimeoutExpired) as error:
            said = str(error)
        if said:
            self.tell(f"what TonY staged, with the key of the store, is still in {' '.join(staged)}: {said}")
            return False
        (directory / STAGED).unlink(missing_ok=True)
        return True

    def remove_left_behind(self, directories: Iterable[Path], job: str) -> None:
        """What dead submitters left, of applications that have ended.

        One of this job that goes on is ended: nobody would publish what it makes, and it has the room. One of another job is
        told.
        """
        away: set[str] = set()
        for directory in islice((each for each in directories if (each / STAGED).exists()), LEFT_MAX):
            _, web, of = _noted(directory)
            applications = applications_in(directory)
            ended = [each for each in applications if self._has_ended(each, web, of == job, directory, away)]
            if ended == applications and self.remove(directory):
                empty(directory)

    def _has_ended(self, application: str, web: str, is_of_job: bool, directory: Path, away: set[str]) -> bool:
        """Whether an application runs no more, by now; if it may, that is told."""
        if not web:
            self.tell(
                f"{application}, whose submitter was killed, may go on, and its yarn-site.xml does not say where YARN "
                f"answers: yarn application -kill {application}; hdfs dfs -rm -r .tony/{application}; rm -r {directory}"
            )
            return False
        if web in away:
            return False
        found = answering([web, *_webs_in(directory)])
        if not (state := state_of(found, application)):
            away.add(web)  # Asked once, and by the next job again.
            self.tell(
                f"YARN at {web} does not say what became of {application}, whose submitter was killed, and what it staged "
                f"stays, with the key of the store: the next job asks again. Where YARN is not there any more: "
                f"hdfs dfs -rm -r .tony/{application}; rm -r {directory}"
            )
            return False
        if state in ENDED:
            return True
        if not is_of_job or kill(found, application, self.environ):
            self.tell(f"{application}, whose submitter was killed, is {state}: yarn application -kill {application}")
            return False
        self.tell(f"{application} of this job, whose submitter was killed, was {state}, and is ended")
        return True


def note(directory: Path, application: str, web: str, job: str) -> None:
    """Write down what is staged for a job: what stays when this process is killed. `application` is empty before the client has
    said which it is. Raises OSError.
    """
    with naming(directory / STAGED):
        (directory / STAGED).write_text(json.dumps({"application": application, "web": web, "job": job}), "utf-8")


def _noted(directory: Path) -> tuple[str, str, str]:
    """The application, where its YARN answers, and its job; empty what is not known."""
    with contextlib.suppress(OSError, *MALFORMED):
        told = json.loads((directory / STAGED).read_text("utf-8"))
        return str(told["application"]), str(told["web"]), str(told.get("job", ""))
    return "", "", ""


def _webs_in(directory: Path) -> tuple[str, ...]:
    """Where YARN answers by the configuration of a job."""
    with contextlib.suppress(OSError, InvalidRequest):
        return webs_of((directory / CONF / "yarn-site.xml").read_bytes())
    return ()


def applications_in(directory: Path) -> list[str]:
    """For which something may be staged: the one that was noted, and those after which the client called its files."""
    named = {found[0] for path in directory.iterdir() if (found := APPLICATION.match(path.name))}
    return sorted({_noted(directory)[0], *named} - {""})


def state_of(web: str, application: str) -> str:
    """Of an application; one that YARN does not know any more has ended. Empty where YARN does not say."""
    try:
        return str(json.loads(ask(place_of(web, application)))["app"]["state"])
    except urllib.error.HTTPError as error:
        return "FINISHED" if error.code == 404 else ""
    except (OSError, *MALFORMED):
        return ""
