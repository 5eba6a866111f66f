"""A key of the API, and what it comes from: files, and whatever a user of the client derives from `Auth`.

A key is sent as `Authorization: Bearer` and shown nowhere else: not in a repr, an error, or the arguments of a process.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO
from weakref import WeakKeyDictionary

from ambry.client.small_file import read_small
from ambry.errors import ConfigInvalid, InvalidRequest
from ambry.home import expanded

KEY_FILE_BYTES_MAX = 4096
STANDARD_INPUT = "-"
_FIRST_LINES: WeakKeyDictionary[TextIO, str] = WeakKeyDictionary()
"""Of standard input, which is read once however many clients a command makes."""


class SecretText(str):
    """Text whose repr does not tell it, so that a traceback that shows variables, or a log of a dict, has no key in it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'(secret)'"


def checked_key(text: object) -> SecretText:
    """A key of the API. Raises InvalidRequest, which does not show what was given instead; TypeError."""
    if not isinstance(text, str):
        raise TypeError(f"key is the text of a key, ambry_..., and not a {type(text).__name__}")
    from ambry.rest.access import parse_key

    if parse_key(text.strip()) is None:
        raise InvalidRequest(
            "what was given as key is none: a key is ambry_, 16 letters or digits, _ and 43 characters; it may be cut off"
        )
    return SecretText(text.strip())


class Auth:
    """Where a client has its key from, asked before each request: for keys that change while the client lives.

    Derive from it for a vault. It is called by several threads at a time, and a client that is pickled takes it along.
    """

    def key(self) -> str:
        """The text of the key of now, ambry_.... What it raises, the call raises."""
        raise NotImplementedError


class KeyFile(Auth):
    """The first line of a file that its owner alone may read, read again when the file has changed.

    A file that has changed and cannot be used changes nothing: somebody may be writing it. Raises ConfigInvalid where there is
    none at first.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = expanded(path)
        self._read = (file_stamp(self._path), read_key(self._path))

    def key(self) -> str:
        stamp, key = self._read
        if (now := file_stamp(self._path)) != stamp:
            with suppress(ConfigInvalid):
                key = read_key(self._path)
                self._read = (now, key)
        return key

    def __reduce__(self) -> tuple[type[KeyFile], tuple[Path]]:
        return KeyFile, (self._path,)

    def __repr__(self) -> str:
        return f"KeyFile({str(self._path)!r})"


def file_stamp(path: Path) -> tuple[int, int, int] | None:
    """What is another when a file was written or replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def read_key(path: str | os.PathLike[str]) -> SecretText:
    """The key that is the first line of a file that its owner alone may read; `-` is standard input. Raises ConfigInvalid."""
    if path == STANDARD_INPUT:
        source, text = "standard input", _FIRST_LINES.get(sys.stdin, "") or sys.stdin.readline(KEY_FILE_BYTES_MAX)
        _FIRST_LINES[sys.stdin] = text
    else:
        source = str(path)
        text = read_private(expanded(path), KEY_FILE_BYTES_MAX).partition("\n")[0]
    try:
        return checked_key(text)
    except InvalidRequest:
        raise ConfigInvalid(
            f"{source} holds no key in its first line: one is ambry_, 16 letters or digits, _ and 43 characters"
        ) from None


def read_private(path: Path, size_max: int) -> str:
    """The text of a file with a secret. Raises ConfigInvalid, also where others than its owner may read or change it."""
    try:
        data = read_small(path, size_max, lambda found: refuse_shared(path, found))
    except OSError as cause:
        raise ConfigInvalid(f"cannot read {path}: {cause.strerror}") from cause
    return data.decode("utf-8", "replace")


def refuse_shared(path: Path, found: os.stat_result) -> None:
    """Raises ConfigInvalid for a file with a secret that is not its owner's alone."""
    if stat.S_ISREG(found.st_mode) and found.st_mode & 0o077:
        raise ConfigInvalid(
            f"{path} has a key in it, and others may read or change it (mode {stat.S_IMODE(found.st_mode):04o}): "
            f"chmod 600 {path}"
        )
