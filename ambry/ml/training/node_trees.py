"""Sources and environments of training jobs on a node: what a job finds in them is what their archives have.

    <SHA-256>           an environment, for all jobs; its files cannot be written
    <SHA-256>-<job>     the sources of a job, which its script may change, for the workers of that job alone; an environment
                        where the one of all jobs was changed, and somebody uses it
    <the same>.lock     its size, and what its files were when it was made; changed when it was used last; locked, shared, by
                        each process that uses it, until that ends, and alone by who makes or removes it
    <the same>.zip, .unpacked    of a tree that is being made or removed

A tree that is there is whole. What is a job's own is made by the first of its workers and goes when none of them is left. An
environment stays, and is looked at before it is used, file by file (lstat, 0.9 s for 64,000 of them): who writes into a file,
replaces it or adds one gives it another time of change (ctime), which nobody can set. One that was changed is made again. What
Python compiles (__pycache__) is not looked at.

Imports the standard library alone: it travels to nodes (bundle.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import ssl
import stat
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ambry.client.tree_removal import remove_tree
from ambry.ml.training.unpacking import NodeFailed, NodeRefused, install_wheels, naming, unpack

CACHE = "AMBRY_TRAIN_NODE_CACHE"
CACHE_MAX = "AMBRY_TRAIN_NODE_CACHE_MAX"
CACHE_SIZE_MAX = 50 << 30
"""Bytes of all trees of a node, where CACHE_MAX says nothing else."""
WAIT_MAX_S = 2 * 3600.0
"""How long one waits for another process that makes a tree; two steps of installing wheels have half an hour each."""
TELL_S = 10.0
"""After so long it is told for whom."""
_LOOK_AGAIN_S = 0.02
_IN_USE_S = 1.0
"""So long an environment that was changed is tried to be had alone; others may just be looking at it, too."""
_TRIES = 6
MAY_PASS = (405, 408, 421, 425, 429)
"""Of an endpoint that refuses: what a later release of it, or a later moment, does not."""
_NOT_HERE = (404, 410)
"""Of an endpoint that has nothing there: another one may be of another datacenter, which has it."""
_TIMEOUT_S = 60.0
_CHUNK = 1 << 20
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", re.IGNORECASE)
_used: dict[Path, int] = {}
"""The trees that this process uses, each with its lock, which the script holds on to."""


def fetch_tree(tree: Mapping[str, Any], environ: Mapping[str, str], job: str) -> Path:
    """A tree of the store, unpacked on this node, for the job of this digest. It stays until this process has ended.

    Raises NodeFailed, OSError.
    """
    for name, kind in (("id", _ID), ("sha256", _SHA256)):
        if not isinstance(tree.get(name), str) or not kind.fullmatch(tree[name]):
            raise NodeFailed(f"the job names a tree whose {name} is {str(tree.get(name))[:80]!r}; submit it again")
    cache = _cache_of(environ)
    bound = _bound_of(environ)
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    for_all, own = cache / str(tree["sha256"]), cache / f"{tree['sha256']}-{job}"
    if tree.get("kind") in ("venv", "wheels") and _held(tree, for_all, environ, bound):
        return for_all
    _held(tree, own, environ, bound)
    return own


def _cache_of(environ: Mapping[str, str]) -> Path:
    """Raises NodeFailed."""
    if not (said := environ.get(CACHE)):
        return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ambry" / "trees"
    try:
        return Path(said).expanduser()
    except RuntimeError:
        raise NodeFailed(f"{CACHE} is {said!r}, a home that this node does not know; write the whole path") from None


def _held(tree: Mapping[str, Any], target: Path, environ: Mapping[str, str], bound: int) -> bool:
    """Whether this process has the tree from now on; not, where it was changed and somebody uses it.

    Raises NodeFailed, OSError.
    """
    if target in _used:
        return True
    is_own, made, changed_until = _is_own(target), False, time.monotonic() + _IN_USE_S
    begun = not is_own
    """Whether what is there may be used: of a job's own, once the first of its workers has made it."""
    lock = os.open(_lock_of(target), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            is_changed = False
            if begun:
                _wait_shared(lock, target)
                if not _is_at(lock, _lock_of(target)):  # Who removed the tree meanwhile removed its lock.
                    _open_again(lock, target)
                    continue
                if target.is_dir() and (is_own or _is_as_it_was(target, lock)):
                    break
                is_changed = target.is_dir()
                # Between the two kinds of a lock it is let go, and another process may remove the tree.
                fcntl.flock(lock, fcntl.LOCK_UN)
            begun = True
            try:
                _flock(lock, fcntl.LOCK_EX, target)
            except BlockingIOError:  # Who made it meanwhile keeps it, and may wait for this process.
                if is_changed and time.monotonic() > changed_until:
                    os.close(lock)
                    return False
                time.sleep(_LOOK_AGAIN_S)
            else:
                if _is_at(lock, _lock_of(target)) and (is_own or not _is_as_it_was(target, lock)):
                    _say(lock, b"process %d\n" % os.getpid())
                    _make(tree, target, environ)
                    _say(lock, b"%d %s\n" % (_size_of(target), _state_of(target).encode()))
                    made = True
        os.utime(lock)
        os.set_inheritable(lock, True)
    except BaseException:
        os.close(lock)
        raise
    if _used.setdefault(target, lock) != lock:
        os.close(lock)  # Another thread has it.
    if made:
        with contextlib.suppress(OSError):
            remove_unused(target.parent, bound)
    return True


def remove_unused(cache: Path, bound: int) -> None:
    """Remove what belonged to jobs that have ended, and remains; and environments that no process uses, the least recently used
    first, until all trees have `bound` bytes at most.

    Raises OSError.
    """
    locks = {}
    for path in cache.glob("*.lock"):
        with contextlib.suppress(FileNotFoundError):
            locks[path] = path.stat().st_mtime_ns
    sizes = {path: _size_told(path) for path in locks}
    total = sum(sizes.values())
    for path in sorted(locks, key=locks.__getitem__):
        target = path.with_suffix("")
        goes = total > bound or _is_own(target)
        remains = [path.with_suffix(".zip"), path.with_suffix(".unpacked")]
        if target in _used or (not goes and target.is_dir() and not any(map(os.path.lexists, remains))):
            continue
        with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(lock.fileno(), path):
                continue
            remains[0].unlink(missing_ok=True)
            remove_tree(remains[1])
            if goes and target.is_dir():
                _set_aside(target, remains[1])
                total -= sizes[path]
            if not target.is_dir() and not remains[1].exists():
                path.unlink()


def _is_own(target: Path) -> bool:
    """Whether it is of one job alone."""
    return "-" in target.name


def _lock_of(target: Path) -> Path:
    return target.with_suffix(".lock")


def _flock(lock: int, kind: int, target: Path) -> None:
    """Raises BlockingIOError where another process has it, NodeFailed where nobody can."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        raise NodeFailed(
            f"{target.parent} lies where there are no locks ({error.strerror}), by which jobs are kept apart; name a directory "
            f"of another file system ({CACHE})"
        ) from None


def _wait_shared(lock: int, target: Path) -> None:
    """Raises NodeFailed where another process has the tree alone for too long."""
    begun, told = time.monotonic(), False
    while True:
        try:
            _flock(lock, fcntl.LOCK_SH, target)
        except BlockingIOError:
            waited = time.monotonic() - begun
            who = os.pread(lock, 64, 0).decode("ascii", "replace").strip()
            who = who if who.startswith("process ") else "another process"
            if waited > WAIT_MAX_S:
                raise NodeFailed(
                    f"{who} has been making {target} for {waited:,.0f} s and has not ended; it may be stopped: end it, and "
                    "submit the job again"
                ) from None
            if waited > TELL_S and not told:
                told = True
                sys.stderr.write(f"ambry train: waits for {who} of this node, which makes {target}\n")
                sys.stderr.flush()
            time.sleep(_LOOK_AGAIN_S)
        else:
            return


def _open_again(lock: int, target: Path) -> None:
    """Let a descriptor be the lock that is there by now."""
    newer = os.open(_lock_of(target), os.O_RDWR | os.O_CREAT, 0o600)
    os.dup2(newer, lock, inheritable=False)
    os.close(newer)


def _is_at(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.lstat())
    except FileNotFoundError:
        return False


def _say(lock: int, text: bytes) -> None:
    os.ftruncate(lock, 0)  # What was said before may be longer.
    os.pwrite(lock, text, 0)


def _is_as_it_was(target: Path, lock: int) -> bool:
    """Whether an environment is there, and nobody has changed it since it was made."""
    return target.is_dir() and os.pread(lock, 256, 0).split()[1:] == [_state_of(target).encode()]


def _state_of(target: Path) -> str:
    """What all files below a directory are, in hexadecimal: other digits where one was changed, came or went."""
    seen = hashlib.sha256()
    for path, found in _below(target):
        if "__pycache__" in path.split("/"):
            continue
        told = [path, str(found.st_mode)]
        if not stat.S_ISDIR(found.st_mode):  # A directory changes when Python compiles what lies in it.
            told += map(str, (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
        seen.update(os.fsencode("\0".join(told) + "\0\0"))
    return seen.hexdigest()


def _size_of(target: Path) -> int:
    return sum(found.st_blocks * 512 for _, found in _below(target) if not stat.S_ISDIR(found.st_mode))


def _below(target: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The paths below a directory, which begin with a slash, and what each is; always in the same order."""
    left = [""]
    while left:
        here = left.pop()
        entries: list[os.DirEntry[str]] = []
        with (
            contextlib.suppress(OSError),
            os.scandir(f"{target}{here}") as found,
        ):  # Its mode is another one, or it goes.
            entries = sorted(found, key=lambda each: each.name)
        for entry in entries:
            try:
                about = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            yield f"{here}/{entry.name}", about
            if stat.S_ISDIR(about.st_mode):
                left.append(f"{here}/{entry.name}")


def _make(tree: Mapping[str, Any], target: Path, environ: Mapping[str, str]) -> None:
    """Make a tree, in the place of one that was changed or is of no use any more. Raises NodeFailed, OSError."""
    unpacked, archive = target.with_suffix(".unpacked"), target.with_suffix(".zip")
    remove_tree(unpacked)  # Of one who was killed.
    if target.is_dir():
        _set_aside(target, unpacked)
    try:
        unpacked.mkdir()
    except FileExistsError:  # What would be unpacked among it would be part of the tree.
        raise NodeFailed(f"{unpacked} was left by another job and cannot be removed by this one; remove it") from None
    try:
        _download(tree, archive, environ)
        unpack(archive, unpacked)
        if tree.get("kind") == "wheels":
            install_wheels(unpacked)
        if not _is_own(target):
            for path, found in _below(unpacked):
                if stat.S_ISREG(found.st_mode):
                    os.chmod(f"{unpacked}{path}", stat.S_IMODE(found.st_mode) & 0o555)  # noqa: PTH101  # many of them
            os.sync()  # A tree that is there is whole, also after a power cut; it is made once on a node.
        unpacked.replace(target)
    finally:
        archive.unlink(missing_ok=True)
        remove_tree(unpacked)


def _set_aside(target: Path, unpacked: Path) -> None:
    """Remove a tree; at once: no worker begins in half a tree."""
    target.replace(unpacked)
    remove_tree(unpacked)


def _size_told(lock: Path) -> int:
    """The bytes of a tree; 0 of one that is not there."""
    target = lock.with_suffix("")
    if not target.is_dir():
        return 0
    # Over NFS a lock goes when its process closes any descriptor of the file.
    said = (os.pread(_used[target], 256, 0) if target in _used else lock.read_bytes()).split()
    return int(said[0]) if said and said[0].isdigit() else _size_of(target)


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
