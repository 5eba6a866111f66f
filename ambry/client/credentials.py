"""A key of the API, and the files that keys are read from.

A key is sent as `Authorization: Bearer` and shown nowhere else: not in a repr, an error, or the arguments of a process.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from ambry.errors import ConfigInvalid, InvalidRequest
from ambry.rest.access import parse_key

KEY_FILE_BYTES_MAX = 4096
STANDARD_INPUT = "-"


class SecretText(str):
    """Text whose repr does not tell it, so that a traceback that shows variables, or a log of a dict, has no key in it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'(secret)'"


def checked_key(text: str) -> SecretText:
    """A key of the API. Raises InvalidRequest, which does not show what was given instead; TypeError."""
    if not isinstance(text, str):
        raise TypeError(f"key is the text of a key, ambry_..., and not a {type(text).__name__}")
    if parse_key(text.strip()) is None:
        raise InvalidRequest(
            "what was given as key is none: a key is ambry_, 16 letters or digits, _ and 43 characters; it may be cut off"
        )
    return SecretText(text.strip())


def read_key(path: str | os.PathLike[str]) -> SecretText:
    """The key that is the first line of a file that its owner alone may read; `-` is standard input. Raises ConfigInvalid."""
    if path == STANDARD_INPUT:
        source, text = "standard input", sys.stdin.readline(KEY_FILE_BYTES_MAX)
    else:
        source = str(path)
        text = read_private(Path(path).expanduser(), KEY_FILE_BYTES_MAX).partition("\n")[0]
    try:
        return checked_key(text)
    except InvalidRequest:
        raise ConfigInvalid(
            f"{source} holds no key in its first line: one is ambry_, 16 letters or digits, _ and 43 characters"
        ) from None


def read_private(path: Path, size_max: int) -> str:
    """The text of a file with a secret. Raises ConfigInvalid, also where others than its owner may read or change it."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            refuse_shared(path, found)
            data = file.read(size_max + 1)
    except OSError as cause:
        raise ConfigInvalid(f"cannot read {path}: {cause.strerror}") from cause
    if len(data) > size_max:
        raise ConfigInvalid(f"{path} has more than {size_max} bytes, so it is no file with a key")
    return data.decode("utf-8", "replace")


def refuse_shared(path: Path, found: os.stat_result) -> None:
    """Raises ConfigInvalid for a file with a secret that is not its owner's alone."""
    if stat.S_ISREG(found.st_mode) and found.st_mode & 0o077:
        raise ConfigInvalid(
            f"{path} has a key in it, and others may read or change it (mode {stat.S_IMODE(found.st_mode):04o}): "
            f"chmod 600 {path}"
        )
