"""How an archive of a job becomes a tree of the node. Imports the standard library alone: it travels to nodes (bundle.py)."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

NO_ARCHIVE = (RuntimeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, struct.error)
"""What zipfile raises for what is no archive, or a damaged one; NotImplementedError is among them."""
INSTALL_TIMEOUT_S = 1800.0
"""Of one step of making an environment of wheels, for which all other workers of the node wait."""
_CHUNK = 1 << 20
_ENTRIES_MAX = 1_000_000
_LINK_MAX = 4_096


REFUSED = "ambry train: refused for good: "
"""Begins the line of a worker that ends by what the store refuses for good: launchers end the job by it."""


class NodeFailed(Exception):
    """The node cannot do its part. The message says what, and what to do."""


class NodeRefused(NodeFailed):
    """The store refuses what the node needs, and would refuse it any other node."""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Of an error of the system that names no file, as that of a write where the disk is full, `path` is the file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def install_wheels(unpacked: Path) -> None:
    """Make an environment of wheels where they are. Raises NodeFailed.

    Its console scripts have the path of now in them, and not that which it will have: scripts of jobs are run by its Python.
    """
    wheels = unpacked / ".wheels"
    wheels.mkdir()
    for wheel in unpacked.glob("*.whl"):
        wheel.replace(wheels / wheel.name)
    venv = [sys.executable, "-m", "venv", str(unpacked)]
    pip = [str(unpacked / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    for step in (venv, [*pip, *map(str, sorted(wheels.glob("*.whl")))]):
        try:
            done = subprocess.run(
                step,
                capture_output=True,
                text=True,
                timeout=INSTALL_TIMEOUT_S,
                check=False,  # nosec B603 # venv and pip
            )
        except subprocess.TimeoutExpired:
            where = f"in {unpacked.parent} within {INSTALL_TIMEOUT_S:.0f} s"
            raise NodeFailed(
                f"the wheels of the job were not installed {where}: see whether its disk answers"
            ) from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise NodeFailed(f"the wheels of the job could not be installed in {unpacked.parent}: {said[0]}")
    shutil.rmtree(wheels)


def unpack(archive: Path, target: Path) -> None:
    """Raises NodeFailed for an archive that writes beside its tree, is no archive, or is more than this disk has room for."""
    try:
        with zipfile.ZipFile(archive) as packed:
            _unpack_entries(packed, target)
    except NO_ARCHIVE as error:
        raise NodeFailed(f"the archive of the job cannot be unpacked ({error}); submit it again") from None


def _unpack_entries(packed: zipfile.ZipFile, target: Path) -> None:
    """Links stay what they were, as of an environment to the Python of the node. Raises NodeFailed, and what zipfile does."""
    target.parent.mkdir(parents=True, exist_ok=True)
    inside = target.resolve()
    entries, links = packed.infolist(), []
    size, free = sum(about.file_size for about in entries), shutil.disk_usage(target.parent).free
    if size > free or len(entries) > _ENTRIES_MAX:  # No entry gives more than it says.
        raise NodeFailed(
            f"the archive has {len(entries):,} entries of {size:,} bytes; at most {_ENTRIES_MAX:,} are unpacked, and the disk "
            f"of {target.parent} has {free:,} bytes free"
        )
    for about in entries:
        if about.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NodeFailed(f"the archive has {about.filename!r} in a compression that is not deflate")
        path = target / about.filename
        if not Path(os.path.normpath(inside / about.filename)).is_relative_to(inside):
            raise NodeFailed(f"the archive has the entry {about.filename!r}, which lies outside of it")
        mode = about.external_attr >> 16
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode & 0o170000 == 0o120000:
            if about.file_size > _LINK_MAX:
                raise NodeFailed(f"the archive has the link {about.filename!r} of {about.file_size:,} bytes")
            links.append((path, os.fsdecode(packed.read(about))))
            continue
        with naming(path), packed.open(about) as source, path.open("wb") as into:
            shutil.copyfileobj(source, into, _CHUNK)
        path.chmod(mode & 0o777 or 0o644)
    for path, said in links:  # After the files: no entry is written through one.
        if not path.parent.resolve().is_relative_to(inside):
            raise NodeFailed(f"the archive has an entry below the link {path.parent.name!r}, which leads out of it")
        path.symlink_to(said)
