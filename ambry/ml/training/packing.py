"""Trees of files as zip archives that are the same bytes for the same files: sources, environments of Python, wheels.

Entries are sorted, of one time (1980-01-01), and of mode 0644 or 0755; links stay links. What differs from machine to machine
and from day to day stays out: byte code, caches, and in environments the paths of the place where they were made:

    pyvenv.cfg              without `command` and `executable`
    bin/<script>            looks for the Python beside it, wherever the environment lies
    *.dist-info/RECORD      without the digests of those scripts, and without byte code
    *.dist-info/direct_url.json, bin/activate*, INSTALLER and REQUESTED  left out

So an environment that was made twice from the same packages by the same Python is one blob, and works wherever it is unpacked
on a machine that has that Python at the same path (`home` in pyvenv.cfg).
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ambry.client.beside import is_ours
from ambry.client.tree_walk import OF_CLUSTER, walk_tree
from ambry.errors import InvalidRequest
from ambry.ml.stable_zip import stable_member
from ambry.ml.training.unpacking import naming

Kind = Literal["sources", "venv", "wheels"]
FILES_MAX = 1_000_000
SOURCES_LARGE = 50 << 20
"""Bytes of sources, from which on it is told: they are scripts, and seldom so large but for data that lies beside them."""
_LEVEL = 1
"""Of deflate: a tenth larger than the best, in a tenth of the time."""
_NEVER = frozenset(("__pycache__", ".git", ".hg", ".svn", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"))
_OF_THE_PLACE = frozenset(("direct_url.json", "INSTALLER", "REQUESTED"))
_SHEBANG = re.compile(rb"#![^\n]*/bin/python[0-9.]*[^\n]*\n")
_BESIDE = b"#!/bin/sh\n'''exec' \"$(dirname -- \"$0\")/python\" \"$0\" \"$@\"\n' '''\n"
_RECORDED_SCRIPT = re.compile(r"(?:\.\./)+bin/")


@dataclass(frozen=True, slots=True)
class PackedEntry:
    """A file or a link of an archive."""

    path: str
    mode: int
    content: Path | bytes


def silent(text: str) -> None:
    """Tell nobody."""


def pack_sources(root: Path, target: Path, only: str | None = None, tell: Callable[[str], None] = silent) -> int:
    """Write all files below a directory, or one of them, to an archive; how many. What is left out of them that may be missed,
    and that they are large, is told.

    Raises InvalidRequest, OSError.
    """
    if only is not None:
        return _write([PackedEntry(only, _mode(root / only), root / only)], target)
    entries = list(_below(root, tell))
    size = sum(each.content.lstat().st_size for each in entries if isinstance(each.content, Path))
    if size > SOURCES_LARGE:
        tell(
            f"the sources are {size:,} bytes in {len(entries)} files, which every node fetches: name a smaller directory with "
            "--src, and store data as a dataset"
        )
    return _write(entries, target)


def pack_venv(root: Path, target: Path, tell: Callable[[str], None] = silent) -> int:
    """Write a virtual environment to an archive; how many files. Raises InvalidRequest for what is none, OSError."""
    if not (root / "pyvenv.cfg").is_file():
        raise InvalidRequest(
            f"{root} is no virtual environment: it has no pyvenv.cfg; make one with `python -m venv {root}`"
        )
    entries = []
    for entry in _below(root, tell):
        name = entry.path.rpartition("/")[2]
        if entry.path.startswith("bin/") and name.lower().startswith("activate"):
            continue
        if ".dist-info/" in entry.path and name in _OF_THE_PLACE:
            continue
        if re.fullmatch(r"(__editable__.*|.*\.egg-link|easy-install)(\.pth)?", name):
            raise InvalidRequest(
                f"{root / entry.path} says that a package lies elsewhere (pip install --editable), where nodes do not "
                "have it; install it without --editable"
            )
        entries.append(_anywhere(entry, name))
    return _write(entries, target)


def pack_wheels(root: Path, target: Path) -> int:
    """Write the wheels of a directory to an archive; how many. Raises InvalidRequest where there is none, OSError."""
    wheels = [PackedEntry(path.name, 0o644, path) for path in sorted(root.iterdir()) if path.suffix == ".whl"]
    if not wheels:
        raise InvalidRequest(f"{root} has no wheels; fill it with `pip download --dest {root} PACKAGE...`")
    return _write(wheels, target)


def _anywhere(entry: PackedEntry, name: str) -> PackedEntry:
    """An entry of an environment without the place where that was made."""
    if not isinstance(entry.content, Path) or stat.S_ISLNK(entry.mode):
        return entry
    if entry.path == "pyvenv.cfg":
        kept = [line for line in entry.content.read_text("utf-8").splitlines() if not _is_of_the_place(line)]
        return PackedEntry(entry.path, entry.mode, ("\n".join(kept) + "\n").encode())
    if entry.path.startswith("bin/"):
        with entry.content.open("rb") as file:
            begins = file.read(2)
        if begins == b"#!":
            return PackedEntry(entry.path, entry.mode, _SHEBANG.sub(_BESIDE, entry.content.read_bytes(), count=1))
    if name == "RECORD" and ".dist-info/" in entry.path:
        return PackedEntry(entry.path, entry.mode, _recorded(entry.content.read_text("utf-8")).encode())
    return entry


def _is_of_the_place(line: str) -> bool:
    return line.partition("=")[0].strip() in ("command", "executable")


def _recorded(text: str) -> str:
    lines = []
    for line in text.splitlines():
        path = line.rsplit(",", 2)[0]
        name = path.rpartition("/")[2].rstrip('"')
        if "__pycache__/" in path or name in _OF_THE_PLACE:
            continue
        lines.append(f"{path},," if _RECORDED_SCRIPT.match(path.lstrip('"')) else line)
    return "\n".join(sorted(lines)) + "\n"


def _below(root: Path, tell: Callable[[str], None]) -> Iterator[PackedEntry]:
    """Files and links of a directory, in no order; without local clusters, which is told.

    Raises InvalidRequest for what is neither, OSError.
    """
    if not root.is_dir():
        raise InvalidRequest(f"{root} is no directory")

    def leave_out(cluster: Path) -> None:
        if cluster == root:
            raise InvalidRequest(f"{root} is {OF_CLUSTER}, and is never sent; keep what is to be sent in another one")
        tell(f"{cluster} is {OF_CLUSTER}, and is left out")

    for path in walk_tree(root, skip=_NEVER.__contains__, cluster=leave_out):
        if path.suffix in (".pyc", ".pyo") or is_ours(path.name) or path.name in _NEVER:
            continue
        relative = path.relative_to(root).as_posix()
        if path.is_symlink():
            yield PackedEntry(relative, stat.S_IFLNK | 0o777, os.fsencode(path.readlink()))
        elif path.is_file():
            yield PackedEntry(relative, _mode(path), path)
        else:
            raise InvalidRequest(f"{path} is neither a file nor a link and cannot be packed; take it away")


def _mode(path: Path) -> int:
    return stat.S_IFREG | (0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def _write(entries: list[PackedEntry], target: Path) -> int:
    if len(entries) > FILES_MAX:
        raise InvalidRequest(f"there are {len(entries)} files, and at most {FILES_MAX} are packed")
    with naming(target), zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for entry in sorted(entries, key=lambda each: each.path):
            _check_name(entry.path)
            about = stable_member(entry.path, entry.mode)
            about.compress_type = zipfile.ZIP_DEFLATED
            if isinstance(entry.content, bytes):
                archive.writestr(about, entry.content, compresslevel=_LEVEL)
                continue
            about.file_size = entry.content.stat().st_size
            with archive.open(about, "w") as into:
                for chunk in _chunks(entry.content):
                    into.write(chunk)
    return len(entries)


def _check_name(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"the name {path!r} is not UTF-8, which every name of an archive is; rename it, or leave it out"
        ) from None


def _chunks(path: Path) -> Iterator[bytes]:
    with naming(path), path.open("rb") as source:
        while chunk := source.read(1 << 20):
            yield chunk
