"""Files that hold something secret. Blocking."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ambry.errors import ConfigInvalid
from ambry.service.credentials import of_others
from frontend.encryption.provider import ProviderFailed

SECRET_BYTES_MAX = 256 << 10


class SecretFile:
    """A file that its owner alone may read."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def check_at_start(self, key: str) -> None:
        """Raises ConfigInvalid where others may use it; `key` is of the configuration. One that is not there may come yet."""
        try:
            mode = self._path.stat().st_mode
        except OSError:
            return
        if mode & of_others(self._path):
            raise ConfigInvalid(
                f"{key}: others than its owner may use {self._path} (mode {stat.S_IMODE(mode):04o}); run "
                f"`chmod 600 {self._path}`, and make another secret where somebody may have read it"
            )

    def read(self) -> str:
        """Its text. Raises ProviderFailed, also where others may read it."""
        try:
            with self._path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                if mode & of_others(self._path):
                    raise ProviderFailed(
                        f"others may read {self._path} (mode {stat.S_IMODE(mode):04o}): chmod 600 it", away=False
                    )
                found = file.read(SECRET_BYTES_MAX + 1)
        except OSError as cause:
            raise ProviderFailed(f"{self._path} cannot be read: {cause.strerror}", away=True) from None
        if len(found) > SECRET_BYTES_MAX:
            raise ProviderFailed(f"{self._path} is too large for a secret", away=False)
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise ProviderFailed(f"{self._path} is no text", away=False) from None
