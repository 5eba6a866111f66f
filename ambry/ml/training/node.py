"""What runs on a node of a training job before the script does: it gets sources and environment by id, and becomes the script.

    python ambry-node.pyz [job.json]

`job.json` lies beside the archive where no other is named. Trees are kept below AMBRY_TRAIN_NODE_CACHE, or else
~/.cache/ambry/trees, as node_trees.py says, and unpacked once for all workers of the node. The process is replaced by the
script (execve), so signals and exit codes are the script's own.

Imports the standard library alone, of Python 3.11 or later: a node has nothing else (bundle.py).

Exit code 70 with a sentence on standard error where the node cannot do its part.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ambry.ml.training.node_trees import CACHE, fetch_tree
from ambry.ml.training.roles import PARENT, RoleUnclear, role_of
from ambry.ml.training.unpacking import REFUSED, NodeFailed, NodeRefused

JOB = "AMBRY_TRAIN_JOB"
"""The path of the job's document, for the script."""
EXIT_NODE = 70
OF_THIS_PYTHON = ("PYTHONHOME", "__PYVENV_LAUNCHER__")
_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Become the script. Exits with 70 and a sentence where that cannot be."""
    try:
        path = (Path(arguments[0]) if arguments else Path(sys.argv[0]).parent / "job.json").resolve()
        job = read_job(path)
        role = role_of(environ)
        if role.launcher in ("torchrun", "spark"):
            _die_with_parent(environ.get(PARENT, ""))
        told = node_environment(path, job, environ)
        told.update(role.environment())
        python, script = prepared(job, told)
        sys.stdout.flush()
        _become([python, "-u", str(script), *job["arguments"]], told)
    except (NodeFailed, RoleUnclear, OSError) as error:
        refused = isinstance(error, NodeRefused)
        sys.stderr.write(f"{REFUSED if refused else 'ambry train: '}this worker could not begin: {error}\n")
        sys.stderr.flush()
        sys.exit(EXIT_NODE)


def _become(command: list[str], told: Mapping[str, str]) -> NoReturn:
    """Raises NodeFailed, OSError."""
    try:
        os.execve(command[0], command, told)  # nosec B606 # what the user submitted
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        size = sum(map(len, command)) + sum(len(name) + len(value) for name, value in told.items())
        raise NodeFailed(
            f"the arguments and the environment of the script are too long for this node ({size:,} characters); put them "
            "into a file of the sources"
        ) from None


def read_job(path: Path) -> dict[str, Any]:
    """The document of a job, whose fields are of the types that they are to be. Raises NodeFailed."""
    try:
        job = json.loads(path.read_text("utf-8"))
        fine = {
            "script": _is_text(job["script"]) and job["script"] != "",
            "arguments": isinstance(job["arguments"], list) and all(map(_is_text, job["arguments"])),
            "sources": isinstance(job["sources"], dict),
            "environment": isinstance(job.get("environment") or {}, dict),
            "endpoints": isinstance(job.get("endpoints") or [], list)
            and all(map(_is_text, job.get("endpoints") or [])),
            "environ": isinstance(job.get("environ") or [], list) and all(map(_is_variable, job.get("environ") or [])),
            **{name: _is_text(job.get(name) or "") for name in ("account", "container", "python")},
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        lacks = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise NodeFailed(f"{path} is no document of a job: {lacks}") from None
    if wrong := [name for name, is_fine in fine.items() if not is_fine]:
        raise NodeFailed(f"{path} is no document of a job: no process can have its {wrong[0]}; submit it again")
    return dict(job)


def digest_of(job: Mapping[str, Any]) -> str:
    """Which job it is, among those of a node: the same for all its workers, however often they begin again."""
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:16]


def _is_text(value: object) -> bool:
    """Whether a process can be given it."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeError:
        return False
    return True


def _is_variable(pair: object) -> bool:
    if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_text, pair)):
        return False
    return pair[0] != "" and "=" not in pair[0]


def node_environment(path: Path, job: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a script, but for its role: which cluster, which job. The key stays in its file."""
    told = {name: value for name, value in environ.items() if name not in OF_THIS_PYTHON}
    told[JOB] = str(path)
    if job.get("endpoints"):
        told["AMBRY_ENDPOINTS"] = ",".join(job["endpoints"])
        told.pop("AMBRY_PROFILE", None)
    told.update(dict(job.get("environ") or ()))
    if not told.get("HOME") or not os.access(told["HOME"], os.W_OK):  # As in a container of YARN.
        told.setdefault("AMBRY_CACHE_DIR", str(_own_directory() / "blobs"))
        told.setdefault(CACHE, str(_own_directory() / "trees"))
    for name in ("account", "container"):
        if job.get(name):
            told[f"AMBRY_{name.upper()}"] = job[name]
    for name, variable in (("key", "AMBRY_KEY_FILE"), ("authority.crt", "AMBRY_CA")):
        beside = path.parent / name
        if beside.is_file():
            beside.chmod(0o600)  # Whoever unpacked it may not have kept its mode.
            told[variable] = str(beside)
    return told


def _own_directory() -> Path:
    """Where this user keeps what all its workers of the node share, without a home. Raises NodeFailed, OSError."""
    path = Path(tempfile.gettempdir()) / f"ambry-node-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise NodeFailed(f"{path} can be written by others, who could put other files there; remove it")
    return path


def prepared(job: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, Path]:
    """The Python and the script of a job, which are here on return. Raises NodeFailed, OSError."""
    sources = fetch_tree(job["sources"], environ, digest_of(job))
    python = python_of(job, environ)
    script = sources / job["script"]
    if not script.resolve().is_relative_to(sources.resolve()):
        raise NodeFailed(f"the script of the job, {job['script']}, lies outside of its sources; name one of them")
    if not script.is_file():
        raise NodeFailed(f"the sources of the job have no {job['script']}")
    return python, script


def python_of(job: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """The Python of a job: that of its environment, which is here on return. Raises NodeFailed, OSError."""
    environment = job.get("environment") or {}
    if environment.get("kind") not in ("venv", "wheels"):
        python = job.get("python") or sys.executable
        found = shutil.which(python)
        if found is None:
            raise NodeFailed(
                f"this node has no {python}; name another one with --python, or send an environment (--venv)"
            )
        return found
    python = str(fetch_tree(environment, environ, digest_of(job)) / "bin" / "python")
    if not os.access(python, os.X_OK):
        at = Path(python).readlink() if Path(python).is_symlink() else python
        raise NodeFailed(
            f"the environment of the job begins with {at}, which this node does not have; install it there"
        )
    return python


def _die_with_parent(parent: str) -> None:
    """A launcher that is killed leaves no workers (prctl(2)), also where it was before this one asked for that."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and not _is_below(parent):
        os.kill(os.getpid(), signal.SIGKILL)


def _is_below(parent: str) -> bool:
    """Whether a process started this one; a Python that is a script of the user may stand between the two."""
    pid = str(os.getppid())
    with contextlib.suppress(OSError):  # It has just ended.
        while pid not in (parent, "0"):
            pid = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[1]
    return pid == parent
