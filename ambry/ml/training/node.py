"""What runs on a node of a training job before the script does: it gets sources and environment by id, and becomes the script.

    python ambry-node.pyz [job.json]

`job.json` lies beside the archive where no other is named. Trees are kept below AMBRY_TRAIN_NODE_CACHE, or else
~/.cache/ambry/trees, by the SHA-256 of their archives, and unpacked once for all workers of the node: a tree that is there is
whole. Of those that nobody uses the least recently used ones go when there are more than AMBRY_TRAIN_NODE_CACHE_MAX bytes. The
process is replaced by the script (execve), so signals and exit codes are the script's own.

    <SHA-256>           a tree
    <SHA-256>.lock      its size; changed when it was used last; locked, shared, by each process that uses it, until that ends
    <SHA-256>.zip, .unpacked    of a tree that is being made or removed

Imports the standard library alone, of Python 3.11 or later: a node has nothing else (bundle.py).

Exit code 70 with a sentence on standard error where the node cannot do its part.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import ssl
import stat
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ambry.ml.training.roles import PARENT, RoleUnclear, role_of
from ambry.ml.training.unpacking import REFUSED, NodeFailed, NodeRefused, install_wheels, naming, unpack

JOB = "AMBRY_TRAIN_JOB"
"""The path of the job's document, for the script."""
CACHE = "AMBRY_TRAIN_NODE_CACHE"
CACHE_MAX = "AMBRY_TRAIN_NODE_CACHE_MAX"
CACHE_SIZE_MAX = 50 << 30
"""Bytes of all trees of a node, where CACHE_MAX says nothing else."""
EXIT_NODE = 70
OF_THIS_PYTHON = ("PYTHONHOME", "__PYVENV_LAUNCHER__")
_TRIES = 6
MAY_PASS = (405, 408, 421, 425, 429)
"""Of an endpoint that refuses: what a later release of it, or a later moment, does not."""
_NOT_HERE = (404, 410)
"""Of an endpoint that has nothing there: another one may be of another datacenter, which has it."""
_TIMEOUT_S = 60.0
_CHUNK = 1 << 20
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PR_SET_PDEATHSIG = 1
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", re.IGNORECASE)
_used: dict[Path, int] = {}
"""The trees that this process uses, each with its lock, which the script holds on to."""


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
    sources = fetch_tree(job["sources"], environ)
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
    python = str(fetch_tree(environment, environ) / "bin" / "python")
    if not os.access(python, os.X_OK):
        at = Path(python).readlink() if Path(python).is_symlink() else python
        raise NodeFailed(
            f"the environment of the job begins with {at}, which this node does not have; install it there"
        )
    return python


def fetch_tree(tree: Mapping[str, Any], environ: Mapping[str, str]) -> Path:
    """A tree of the store, unpacked on this node; for all its processes, once. It stays until this process has ended.

    Raises NodeFailed, OSError.
    """
    for name, kind in (("id", _ID), ("sha256", _SHA256)):
        if not isinstance(tree.get(name), str) or not kind.fullmatch(tree[name]):
            raise NodeFailed(f"the job names a tree whose {name} is {str(tree.get(name))[:80]!r}; submit it again")
    cache = Path(
        environ.get(CACHE) or Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ambry" / "trees"
    )
    bound = _bound_of(environ)
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = cache / str(tree["sha256"])
    lock = _used.get(target)
    if lock is None:
        lock = os.open(target.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    made = False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        while not target.is_dir():  # Between the two kinds it is let go, and another process may remove the tree.
            fcntl.flock(lock, fcntl.LOCK_UN)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # Who made it meanwhile keeps it, and may wait for this process.
                time.sleep(0.01)
            else:
                if not target.is_dir():
                    _make(tree, target, environ)
                    os.ftruncate(lock, 0)  # Of a tree that was removed, the size may have more digits.
                    os.pwrite(lock, b"%d\n" % _size_of(target), 0)
                    made = True
            fcntl.flock(lock, fcntl.LOCK_SH)
        os.utime(lock)
        os.set_inheritable(lock, True)
    except BaseException:
        _used.pop(target, None)
        os.close(lock)
        raise
    if _used.setdefault(target, lock) != lock:
        os.close(lock)  # Another thread has it.
    if made:
        with contextlib.suppress(OSError):
            remove_unused(cache, bound)
    return target


def remove_unused(cache: Path, bound: int) -> None:
    """Remove trees that no process uses, the least recently used first, until all have `bound` bytes at most; and remains.

    Raises OSError.
    """
    locks = {path: path.stat().st_mtime_ns for path in cache.glob("*.lock")}
    sizes = {path: _size_told(path) for path in locks}
    total = sum(sizes.values())
    for path in sorted(locks, key=locks.__getitem__):
        target = path.with_suffix("")
        remains = [path.with_suffix(".zip"), path.with_suffix(".unpacked")]
        if target in _used or (total <= bound and not any(each.exists() for each in remains)):
            continue
        with path.open("r+b") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # It is used, or made.
            remains[0].unlink(missing_ok=True)
            shutil.rmtree(remains[1], ignore_errors=True)
            if total > bound and target.is_dir():
                target.replace(remains[1])  # At once: no worker begins in half a tree.
                shutil.rmtree(remains[1], ignore_errors=True)
                total -= sizes[path]


def _make(tree: Mapping[str, Any], target: Path, environ: Mapping[str, str]) -> None:
    """Raises NodeFailed, OSError."""
    unpacked, archive = target.with_suffix(".unpacked"), target.with_suffix(".zip")
    shutil.rmtree(unpacked, ignore_errors=True)  # Of one who was killed.
    try:
        _download(tree, archive, environ)
        unpack(archive, unpacked)
        if tree.get("kind") == "wheels":
            install_wheels(unpacked)
        os.sync()  # A tree that is there is whole, also after a power cut; it is made once on a node.
        unpacked.replace(target)
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(unpacked, ignore_errors=True)


def _size_told(lock: Path) -> int:
    """The bytes of a tree; 0 of one that is not there."""
    target = lock.with_suffix("")
    if not target.is_dir():
        return 0
    # Over NFS a lock goes when its process closes any descriptor of the file.
    told = os.pread(_used[target], 32, 0) if target in _used else lock.read_bytes()
    return int(told) if told.strip().isdigit() else _size_of(target)


def _size_of(target: Path) -> int:
    return sum(os.lstat(Path(root) / name).st_blocks * 512 for root, _, names in os.walk(target) for name in names)


def _bound_of(environ: Mapping[str, str]) -> int:
    """Raises NodeFailed."""
    said = environ.get(CACHE_MAX) or ""
    found = _SIZE.fullmatch(said.strip())
    if said and found is None:
        raise NodeFailed(f"{CACHE_MAX} is {said!r}, and is to be a number of bytes, such as 20G")
    return CACHE_SIZE_MAX if found is None else int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def _download(tree: Mapping[str, Any], target: Path, environ: Mapping[str, str]) -> None:
    """Raises NodeFailed, OSError; NodeRefused where no endpoint has it, or one refuses it for good and none of the others
    gives it.
    """
    endpoints = [each.rstrip("/") for each in environ.get("AMBRY_ENDPOINTS", "").split(",") if each]
    if not endpoints:
        raise NodeFailed("nobody said where the store is; AMBRY_ENDPOINTS is empty")
    context = ssl.create_default_context(cafile=environ.get("AMBRY_CA") or None)
    headers = {"User-Agent": "ambry-train-node"}
    key = environ.get("AMBRY_KEY", "")
    if not key and environ.get("AMBRY_KEY_FILE"):
        key = Path(environ["AMBRY_KEY_FILE"]).read_text("latin-1").strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise NodeFailed(
            "AMBRY_KEY, or the file that AMBRY_KEY_FILE names, holds no access key: a key is a line of ASCII"
        )
    if key:
        headers["Authorization"] = f"Bearer {key}"
    said: dict[str, str] = {}
    refused: dict[str, int] = {}
    for attempt in range(_TRIES):
        time.sleep(min(8.0, 0.125 * 2**attempt) if attempt else 0)
        asked = [each for each in endpoints if each not in refused]
        endpoint = asked[attempt % len(asked)]
        if not _is_address(endpoint):
            raise NodeFailed(f"{endpoint!r} is no address of a store")
        request = urllib.request.Request(f"{endpoint}/{tree['id']}", headers=headers)
        try:
            seen = hashlib.sha256()
            opened = urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=context)  # nosec B310 # http(s), looked at
            with opened as body, naming(target), target.open("wb") as file:
                while chunk := _chunk_of(body):
                    seen.update(chunk)
                    file.write(chunk)
            if seen.hexdigest() == tree["sha256"]:
                return
            said[endpoint] = f"it has the SHA-256 {seen.hexdigest()} and not {tree['sha256']}"
        except urllib.error.HTTPError as error:
            said[endpoint] = f"{endpoint} answers {error.code} {error.reason}"
            if error.code < 500 and error.code not in MAY_PASS:
                refused[endpoint] = error.code  # Another one may not.
                if refused.keys() >= set(endpoints):
                    break
        except (OSError, ValueError, http.client.HTTPException) as error:
            if getattr(error, "filename", None) == str(target):
                raise  # Another endpoint has no more room.
            said[endpoint] = f"{endpoint}: {error}"
    is_refused = refused.keys() >= set(endpoints) or any(code not in _NOT_HERE for code in refused.values())
    words = f"blob {tree['id']} of the job could not be fetched: {'; '.join(said.values())}"
    raise NodeRefused(words) if is_refused else NodeFailed(words)


def _chunk_of(body: Any) -> bytes:
    try:
        return bytes(body.read(_CHUNK))
    except OSError as error:
        raise http.client.HTTPException(error) from None  # None of the disk.


def _is_address(endpoint: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(endpoint)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


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
