"""What clients on this machine are told of a local cluster, in the words of ambry/client/profiles.py. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local_layout import Member

PROFILE_FILE = "profile.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalProfile:
    """`endpoints` are the frontends of the first datacenter, `trusted` those of the others, which get the key where somebody
    names them: a client goes to another datacenter because it was told to. `key_file` is None where no keys are asked for,
    `ca` where everybody speaks in the clear."""

    endpoints: tuple[str, ...]
    trusted: tuple[str, ...]
    key_file: Path | None
    ca: Path | None = None
    directory: Path

    def text(self, *, beside: Path | None = None) -> str:
        """Lines of TOML; for a file `beside` the key, which may be moved together with it, its path is relative."""
        said: dict[str, object] = {"endpoints": self.endpoints, "trusted": self.trusted}
        for name, path in (("key_file", self.key_file), ("ca", self.ca)):
            if path is not None:
                said[name] = str(path if beside is None else path.relative_to(beside))
        said |= {"directory": str(self.directory)}
        # A JSON string or list of strings is also a TOML one.
        return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in said.items())


def profile_of(
    members: Sequence[Member], directory: Path, key_file: Path | None, ca: Path | None = None
) -> LocalProfile:
    """That of the cluster of these processes."""
    frontends = [member for member in members if member.role == "frontend"]
    near = frontends[0].datacenter
    return LocalProfile(
        endpoints=tuple(member.url for member in frontends if member.datacenter == near),
        trusted=tuple(member.url for member in frontends if member.datacenter != near),
        key_file=key_file,
        ca=ca,
        directory=directory,
    )
