"""Files of the user, as the commands need them: what a folder holds, what a file's bytes are, and room for new ones.

Links to files are followed, links to folders are not: neither when a folder is read nor when something is written below it.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ambry.checksum import Buffer
from ambry.cli.output import standard_output
from ambry.cli.planning import Blocked, CopyItem, joined
from ambry.client.beside import LEFT_OUT, is_ours
from ambry.errors import AmbryError
from ambry.special_file import is_special, own_descriptor

CHUNK_BYTES = 1 << 20


def is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  # what was typed, as it was typed


def exists(path: str) -> bool:
    """Also a link that leads nowhere."""
    return os.path.lexists(path)


def matching(text: str) -> list[str]:
    """The file of this path, or else those that fit it as a pattern; itself where nothing fits."""
    if os.path.lexists(text) or not any(sign in text for sign in "*?["):
        return [text]
    return sorted(glob.glob(text, recursive=True)) or [text]  # noqa: PTH207


def size_of(path: str) -> int:
    """Raises OSError; IsADirectoryError of a folder."""
    found = os.stat(path)  # noqa: PTH116
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder; -r copies all that is in it", path)
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def scan(root: str) -> tuple[list[CopyItem[str]], list[Blocked]]:
    """All files below a folder, by the order of their paths, and what is there that is not copied, by whole paths.

    Raises OSError.
    """
    found: list[CopyItem[str]] = []
    blocked: list[Blocked] = []
    waiting: list[str] = [""]
    while waiting:
        under = waiting.pop()
        try:
            with os.scandir(joined(root, under) if under else root) as entries:
                inside = sorted(entries, key=lambda each: each.name)
        except OSError as error:
            if not under:
                raise
            blocked.append(Blocked(joined(root, under), error.strerror or str(error)))
            continue
        for entry in inside:
            path = joined(under, entry.name)
            if is_ours(entry.name) and not entry.is_dir(follow_symlinks=False):
                blocked.append(Blocked(joined(root, path), LEFT_OUT))
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                    continue
                mode = entry.stat()
            except OSError as error:
                blocked.append(Blocked(joined(root, path), error.strerror or str(error)))
                continue
            if stat.S_ISDIR(mode.st_mode):
                blocked.append(Blocked(joined(root, path), "a link to a folder, which is not followed"))
            elif not stat.S_ISREG(mode.st_mode):
                blocked.append(Blocked(joined(root, path), "no file, but a pipe, a device or a socket"))
            elif not _is_text(path):
                blocked.append(
                    Blocked(joined(root, path), "its name is not UTF-8, which every name of a store is; rename it")
                )
            else:
                found.append(CopyItem(path, mode.st_size, joined(root, path)))
    return sorted(found, key=lambda each: each.path), blocked


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def make_room(root: str, path: str) -> Path:
    """Where a file goes below a folder, with the folders that it needs. Raises OSError, also where a link leads elsewhere."""
    target = Path(root) / path
    Path(root).mkdir(parents=True, exist_ok=True)
    at = Path(root)
    for part in path.split("/")[:-1]:
        at = at / part
        if at.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "a link, which is not followed", str(at))
        at.mkdir(exist_ok=True)
    return target


def remove(root: str, path: str) -> None:
    """A file below a folder, and the folders that are empty then. Raises OSError."""
    (Path(root) / path).unlink(missing_ok=True)
    parts = path.split("/")[:-1]
    while parts:
        try:
            Path(root, *parts).rmdir()
        except OSError:
            return
        parts.pop()


def unlink(path: str) -> None:
    """Raises OSError."""
    Path(path).unlink()


def prune(root: str) -> None:
    """Remove a folder with the folders in it, as far as they are empty; a file is left."""
    for folder, _, _ in os.walk(root, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()


def has_digest(path: str, size: int, checksum: str, etag: str) -> bool | None:
    """Whether a file of this size has the bytes of a blob; None where the blob has no digest that can be compared.

    A blob that came in parts has a digest of their digests: the file's are made for the sizes of parts that it can have had.
    """
    # Not before it is needed, so that `ambry --help` is quick.
    from ambry.client.whole_digest import WholeDigest

    seen = WholeDigest(size, checksum, etag)
    if not checksum and not seen.can_tell:
        return None
    with Path(path).open("rb", buffering=0) as handle:
        while chunk := handle.read(CHUNK_BYTES):
            seen.update(chunk)
    return seen.is_right


def same_bytes(path: str, chunks: Iterable[Buffer]) -> bool:
    """Whether a file holds these bytes, and no more. Raises OSError."""
    with Path(path).open("rb") as handle:
        return all(handle.read(len(chunk)) == chunk for chunk in chunks) and not handle.read(1)


def picture_file(data: bytes, suffix: str) -> str:
    """A file of this user alone, which stays for the viewer that is shown it. Raises OSError."""
    handle, path = tempfile.mkstemp(suffix, "ambry-")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    return path


def write_whole(path: str, data: bytes) -> None:
    """A file that is there whole or not at all; what is no file is written into, and - is standard output. Raises OSError."""
    from ambry.ml.files import written_path

    if path == "-":
        out = standard_output()
        out.write(data)
        out.flush()
    elif is_special(path):
        write_special(path, [data])
    else:
        with written_path(Path(path)) as part:
            part.write_bytes(data)


def write_special(path: str, chunks: Iterable[Buffer]) -> int:
    """Write into a pipe, a device or what is open already, which stays what it is; how many bytes. Raises OSError."""
    own = own_descriptor(path)
    size = 0
    try:
        descriptor = os.dup(own) if own is not None else os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
        with os.fdopen(descriptor, "wb") as handle:
            if own is None and stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileExistsError(errno.EEXIST, "a file has taken its place", path)
            for chunk in chunks:
                handle.write(chunk)
                size += len(chunk)
    except OSError as error:
        if not isinstance(error, AmbryError):
            error.filename = path
        raise
    return size
