"""What a path leads to that is no file of a folder: a pipe, a device, or what this process has open itself.

Such a thing is written into, and nothing takes its place. /dev/stdout is a link to /proc/self/fd/1: whoever renames a file to
it replaces the link, for all of this machine, and whoever opens it begins at the first byte of a file that was to be added to.
Nobody means one among the files of a directory, where reading it would wait without an end.
"""

from __future__ import annotations

import errno
import os
import re
import stat

from ambry.errors import InvalidRequest

_OPEN_FILES = re.compile(r"/proc/(\d+)(?:/task/\d+)?/fd")
_LINKS_MAX = 40
"""As many as Linux follows (path_resolution(7))."""


def check_place(path: str | os.PathLike[str], *, instead: str) -> None:
    """Raises IsADirectoryError, or InvalidRequest with what to do `instead`, for what no file can take the place of."""
    if os.path.isdir(path):  # noqa: PTH112  # what was typed, as it was typed
        raise IsADirectoryError(errno.EISDIR, "it is a directory; name the file to write", os.fspath(path))
    if is_special(path):
        raise InvalidRequest(f"{os.fspath(path)} is a device or a pipe, which no file may replace; {instead}")


def is_no_directory(path: str | os.PathLike[str]) -> bool:
    """Whether something is there that no directory can be made of, such as a link that leads nowhere."""
    return os.path.lexists(path) and not os.path.isdir(path)  # noqa: PTH112  # what was typed, as it was typed


def why_unwritable(path: str | os.PathLike[str]) -> str:
    """Why no file can be made where it lies, and what to do; empty where one can, and for what is written into as it stands."""
    if is_special(path):
        return ""
    parent = os.path.split(os.path.realpath(path))[0]
    if not os.path.isdir(parent):  # noqa: PTH112  # as the others here
        return f"there is no directory {parent!r}; make it, or name another file"
    return "" if os.access(parent, os.W_OK | os.X_OK) else f"nothing can be written in {parent!r}; name another file"


def is_file_there(path: str | os.PathLike[str]) -> bool:
    """Whether it is there, to be read among the files of a directory, where nobody meant anything else by its name.

    Raises InvalidRequest for a pipe or a socket, which would be waited for, a device, a directory, and a link to nothing.
    """
    if not os.path.lexists(path):
        return False
    if not os.path.isfile(path):  # noqa: PTH113  # what was typed, as it was typed
        raise InvalidRequest(f"{os.fspath(path)} is no file; put a file there, or take it away")
    return True


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether it is there, and a pipe, a device, a socket or something that is open already."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  # what was typed, as it was typed
    except OSError:
        return False
    return not stat.S_ISDIR(mode) and (not stat.S_ISREG(mode) or own_descriptor(path) is not None)


def own_descriptor(path: str | os.PathLike[str]) -> int | None:
    """The descriptor of this process that a path leads to, as /dev/stdout and /dev/fd/3 do; None where it leads elsewhere."""
    at = os.fspath(path)
    for _ in range(_LINKS_MAX):
        folder, name = os.path.split(at)
        folder = os.path.realpath(folder)
        found = _OPEN_FILES.fullmatch(folder)
        if found is not None:
            return int(name) if name.isdecimal() and int(found[1]) == os.getpid() else None
        try:
            at = os.path.join(folder, os.readlink(os.path.join(folder, name)))  # noqa: PTH115, PTH118
        except OSError:
            return None
    return None
