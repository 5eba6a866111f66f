"""The file with the secret by which URLs are signed: 32 random bytes in hexadecimal, the same on all frontends of a cluster."""

from __future__ import annotations

from pathlib import Path

from ambry.errors import ConfigInvalid
from ambry.service.credentials import of_others
from frontend.access.signed import SECRET_BYTES

_HOW = f"`(umask 077; openssl rand -hex {SECRET_BYTES} > FILE)` makes one; all frontends of a cluster have the same"


def read_secret(path: Path) -> bytes:
    """Raises ConfigInvalid, also for a file that others than its owner may read. What stands in it is never told."""
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            text = file.read(4 * SECRET_BYTES).strip()
    except OSError as cause:
        raise ConfigInvalid(f"access.secret_file: {path} cannot be read ({cause.strerror}); {_HOW}") from None
    if mode & of_others(path):
        raise ConfigInvalid(f"access.secret_file: others than its owner may use {path}; run `chmod 600 {path}`")
    try:
        secret = bytes.fromhex(text.decode("ascii")) if len(text) == 2 * SECRET_BYTES else b""
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise ConfigInvalid(f"access.secret_file: {path} has not {2 * SECRET_BYTES} hexadecimal digits in it; {_HOW}")
    return secret
