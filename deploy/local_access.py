"""The keys of a local cluster: its administrator's, and the secret that signs URLs. Each is a file that its owner alone reads.

    admin.key       the administrator's key
    admin.header    the header that sends it: curl -H @admin.header
    access.secret   32 random bytes in hexadecimal

Frontends get the key's hash in their configuration, and the path of the secret.
"""

from __future__ import annotations

import json
from pathlib import Path

from ambry.clock import system_secret
from ambry.errors import must_have
from ambry.rest.access import hash_of, key_text, new_key, parse_key
from deploy.local_layout import LocalClusterError
from deploy.whole_file import replace, write_once

SECRET_BYTES = 32


class LocalAccess:
    """Those of the cluster in one directory."""

    def __init__(self, directory: Path) -> None:
        self.key_file = directory / "admin.key"
        self.header_file = directory / "admin.header"
        self.secret_file = directory / "access.secret"

    def prepare(self) -> None:
        """Make what is missing. Raises OSError, and LocalClusterError for a file that holds something else."""
        write_once(self.key_file, key_text(new_key(system_secret)))
        header = f"Authorization: Bearer {self.key()}"
        if not self.header_file.exists() or self.header_file.read_text("utf-8").strip() != header:
            replace(self.header_file, f"{header}\n".encode(), mode=0o600)
        write_once(self.secret_file, system_secret(SECRET_BYTES).hex())

    def key(self) -> str:
        """The administrator's key. Raises LocalClusterError where the file holds none."""
        text = self.key_file.read_text("utf-8").strip()
        if parse_key(text) is None:
            raise LocalClusterError(
                f"{self.key_file} holds no key; remove it, and `ambry cluster up` makes another one"
            )
        return text

    def lines(self) -> list[str]:
        """What stands in the section [access] of a frontend."""
        key = must_have(parse_key(self.key()), "the key that was made here")
        root = f"{key.id}:{hash_of(key.secret)}:admin"
        return [f"root_keys = [{json.dumps(root)}]", f"secret_file = {json.dumps(str(self.secret_file))}"]
