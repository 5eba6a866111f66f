"""The directory of a local cluster: what it is, how it runs, and the lock that makes changes follow one another.

shape.json          what the cluster is: counts, ports, overrides; written once, decides at every later start
layout.json         the cluster map (ambry/clustermap/layout.py)
profile.toml        endpoints and key for clients (ambry/client/profiles.py); AMBRY_CONFIG names it
admin.key, ...      the keys of a cluster that asks for them (deploy/local_access.py)
master.keys         the master key of containers that are encrypted (deploy/local_encryption.py)
cluster.json        how it runs: URLs, pids, logs; replaced atomically at every change, found out anew when it is damaged
lock                held while a change is made, by threads and processes alike
<name>/config.toml  written when missing; a change made by hand stays
<name>/data         what a data node stores
<name>/log.jsonl    stdout and stderr of the process, appended over all its lives; log.jsonl.1 and on: what was there before
"""

from __future__ import annotations

import contextlib
import fcntl
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from ambry.clustermap.layout import decode as decode_layout
from deploy.local_access import LocalAccess
from deploy.local_config import OPEN, config_text
from deploy.local_encryption import LocalMasterKey
from deploy.local_layout import (
    ClusterFile,
    LocalClusterError,
    Member,
    Options,
    Shape,
    check,
    contradictions,
    describe,
    layout,
    members,
    shape_of,
)
from deploy.local_processes import running
from deploy.local_profile import PROFILE_FILE, LocalProfile, profile_of
from deploy.local_tls import LocalTls
from deploy.whole_file import replace

_shape = msgspec.json.Decoder(Shape)
_cluster = msgspec.json.Decoder(ClusterFile)


class LocalDirectory:
    """Reads and writes the files of one cluster. Raises LocalClusterError for what a person can mend."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.access = LocalAccess(path)
        self.master = LocalMasterKey(path)
        self.tls = LocalTls(path)
        self._shape_path = path / "shape.json"
        self._layout_path = path / "layout.json"
        self._cluster_path = path / "cluster.json"
        self._thread_lock = threading.Lock()
        self._shape: Shape | None = None
        self._members: tuple[Member, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether the directory holds a cluster, running or not."""
        return self._shape_path.is_file()

    @property
    def shape(self) -> Shape:
        """The stored shape."""
        if self._shape is None:
            try:
                self._shape = check(_shape.decode(self._shape_path.read_bytes()))
            except (FileNotFoundError, NotADirectoryError):
                command = f"ambry cluster up --dir {shlex.quote(str(self.path))}"
                raise LocalClusterError(f"{self.path} holds no cluster; start one with: {command}") from None
            except (OSError, msgspec.ValidationError) as cause:
                # Whole, and none of ours: a later release wrote it, or somebody by hand.
                raise LocalClusterError(f"cannot use {self._shape_path}: {cause}") from cause
            except msgspec.DecodeError as cause:
                self._shape = self._recovered_shape(cause)
            self._members = members(self._shape, self.path)
        return self._shape

    def _recovered_shape(self, cause: msgspec.DecodeError) -> Shape:
        """The shape as the other two files tell it: an older release could leave an empty shape.json when the power went."""
        try:
            known = decode_layout(self._layout_path.read_bytes())
            ran = _cluster.decode(self._cluster_path.read_bytes())
            frontends = len(list(self.path.glob("dc1-f*")))
            shape = shape_of(
                known,
                frontends=frontends,
                workers=ran.workers,
                auth=self.access.key_file.exists(),
                tls=self.tls.authority_file.exists(),
                overrides=ran.overrides,
            )
        except (OSError, msgspec.DecodeError, LocalClusterError) as none:
            raise LocalClusterError(
                f"{self._shape_path} is damaged ({cause}), and layout.json and cluster.json cannot tell what stood there "
                f"({none}). Put the damaged ones back from a backup; what was stored is in {self.path}/*/data"
            ) from cause
        replace(self._shape_path, _json(shape))
        return shape

    @property
    def members(self) -> tuple[Member, ...]:
        """Every process, whether it runs or not."""
        return self._members if self.shape else ()

    def create(self, new: Callable[[], Shape]) -> None:
        """Make the directory a cluster of the shape that `new` returns, unless it is one already.

        `new` is asked before anything is written: when it raises, nothing is left behind.
        """
        if self.exists:
            return
        self._refuse_strangers()
        shape = new()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.locked():
                if not self.exists:
                    self._refuse_strangers()
                    replace(self._shape_path, _json(shape))
        except OSError as cause:
            raise LocalClusterError(f"cannot make a cluster in {self.path}: {cause.strerror}") from cause

    def refuse_contradictions(self, options: Options) -> None:
        """Raises LocalClusterError when the options ask for something else than the stored shape."""
        found = contradictions(self.shape, options)
        if found:
            raise LocalClusterError(
                f"{self.path} holds a cluster with {'; '.join(found)}. Leave these options away to start it as it is, "
                "or name another directory"
            )

    def set_workers(self, count: int) -> None:
        """Write down that each frontend has so many processes; only under the lock, and while no frontend runs."""
        shape = check(msgspec.structs.replace(self.shape, workers=count))
        replace(self._shape_path, _json(shape))
        self._shape = shape

    def write_files(self) -> None:
        """Write what follows from the shape, where it is missing or the directory was moved."""
        try:
            if not self._has_layout():
                # Of a new cluster: in the place of one that was lost another would open nothing, and hide that.
                self.master.prepare()
                replace(self._layout_path, _json(layout(self.shape, self.members)))
            if self.shape.auth:
                self.access.prepare()
            profile = (self.profile().text(beside=self.path)).encode()
            path = self.path / PROFILE_FILE
            if not path.exists() or path.read_bytes() != profile:
                replace(path, profile, mode=0o600)
            if self.shape.tls:
                self.tls.prepare(self.shape.cluster, self.members)
            for member in self.members:
                more = self._more(member)
                # Whoever changes who keeps the master keys changes it by hand, and it stays.
                once = self.master.sections() if member.role == "frontend" else {}
                text = config_text(member, self._layout_path, {**more, **once})
                # Its paths are absolute: after `mv` the old ones would be another cluster's.
                needed = [line for line in text.splitlines() if line.startswith("layout = ")]
                needed += [line for lines in more.values() for line in lines]
                if not member.config.exists() or not set(needed) <= set(member.config.read_text("utf-8").splitlines()):
                    member.directory.mkdir(exist_ok=True)
                    replace(member.config, text.encode())
        except OSError as cause:
            raise LocalClusterError(f"cannot write in {self.path}: {cause.strerror}") from cause

    def profile(self) -> LocalProfile:
        """What clients of this cluster are told."""
        key_file = self.access.key_file if self.shape.auth else None
        ca = self.tls.authority_file if self.shape.tls else None
        return profile_of(self.members, self.path, key_file, ca)

    def _more(self, member: Member) -> dict[str, Sequence[str]]:
        """The sections of a process's configuration about keys and certificates."""
        more: dict[str, Sequence[str]] = {}
        if member.role == "frontend":
            more["access"] = self.access.lines() if self.shape.auth else OPEN["access"]
        if self.shape.tls:
            more |= self.tls.sections(member)
        return more

    def _has_layout(self) -> bool:
        """One that was left empty or torn follows from the shape as well; one that says something else is not overwritten."""
        try:
            decode_layout(self._layout_path.read_bytes())
        except msgspec.ValidationError as cause:
            raise LocalClusterError(f"{self._layout_path} is no layout: {cause}; mend it, or remove it") from cause
        except (FileNotFoundError, msgspec.DecodeError):
            return False
        return True

    def describe(self) -> ClusterFile:
        """What stands in cluster.json; one that is damaged is found out anew."""
        try:
            return _cluster.decode(self._cluster_path.read_bytes())
        except FileNotFoundError:
            return describe(self.shape, self.path, self.members, {}, state="down")
        except msgspec.DecodeError:
            configs = {member.config: member.name for member in self.members}
            pids = {configs[config]: pid for config, pid in running(configs).items()}
            return describe(self.shape, self.path, self.members, pids, state="up" if pids else "down")
        except OSError as cause:
            raise LocalClusterError(f"cannot use {self._cluster_path}: {cause}") from cause

    def record(self, pids: Mapping[str, int]) -> None:
        """Write cluster.json anew; only under the lock."""
        state: Literal["up", "down"] = "up" if pids else "down"
        replace(self._cluster_path, _json(describe(self.shape, self.path, self.members, pids, state=state)))

    def forget(self, names: Iterable[str]) -> None:
        """Take pids of processes that are gone out of cluster.json; only under the lock.

        Where that cannot be written they stay: whoever reads one looks whether that process is the cluster's.
        """
        gone = set(names)
        with contextlib.suppress(OSError):
            self.record({name: pid for name, pid in self.describe().pids().items() if name not in gone})

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One change at a time. Not reentrant."""
        with self._thread_lock, (self.path / "lock").open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _refuse_strangers(self) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise LocalClusterError(f"{self.path} is not a directory")
        strangers = sorted(path.name for path in self.path.iterdir() if path.name != "lock")
        if strangers:
            raise LocalClusterError(
                f"{self.path} is not empty and holds no cluster (it has {_some(strangers)}); name a new directory"
            )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def _json(value: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
