"""Power cuts for tests: a data node process on an ext4 file system in a file, which is shut down under it.

    kill     SIGKILL: no call of the node comes back from the kernel any more, so nothing more is acknowledged
    cut      at once the ioctl EXT4_IOC_SHUTDOWN: nothing more reaches the image. What was written and not synced is gone, and
             every name and size that no commit of ext4's journal covered
    restore  unmount and mount: ext4 replays its journal, and the next node finds what a disk would have kept

The kill must come first. An fdatasync that is under way when the file system is shut down may return 0 although its data
is lost (Linux 6.18: of 200 shutdowns under two syncing threads 66 had one; ext4 tells nobody that the extent stayed
unwritten). No power cut does that to a program: one that sees the sync return has power.

It shows every sync that is missing or comes after the acknowledgement. It cannot show a disk that lies about its flushes,
half-written sectors, or a node that outlives its disk: tests/support/fake_files.py has those. Needs root and loop devices
(`why_impossible` says what lacks).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ambry.blob import BlobState, join
from ambry.checksum import Buffer, digest
from ambry.clustermap.layout import DatacenterEntry, Layout, NodeEntry, PartitionEntry
from ambry.errors import AmbryError
from ambry.network.connection import RpcConnection
from ambry.network.tcp import tune
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages.base import Hello, Message
from deploy import local_processes as processes
from deploy.local_config import config_text
from deploy.local_layout import LocalClusterError, Member
from tests.support.ports import free_ports
from tests.support.replica_reader import Copy, Held, ReplicaReader
from tests.support.waiting import eventually

CLUSTER = "power"
NODE = "dc1-n1"
DATACENTER_ID = 1
IMAGE_BYTES = 2 << 30
READY_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 20.0
UNMOUNT_TIMEOUT_S = 20.0

# linux/ext4.h: _IOR('X', 125, __u32); flag 2 is EXT4_GOING_FLAGS_NOLOGFLUSH, "don't flush log nor data".
EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = struct.pack("I", 2)


class LoopDisk:
    """An ext4 file system in a sparse file, mounted at `mount_point` through a loop device that goes with the mount."""

    def __init__(self, image: Path, mount_point: Path) -> None:
        self.image = image
        self.mount_point = mount_point

    def make(self) -> None:
        """A fresh, empty file system in place of what was there, mounted."""
        self.unmount()
        self.image.unlink(missing_ok=True)
        with self.image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        # The options keep mkfs and the kernel from writing to most of the image.
        _run("mkfs.ext4", "-q", "-F", "-b", "4096", "-N", "16384", "-E", "nodiscard", str(self.image))
        self.mount_point.mkdir(parents=True, exist_ok=True)
        self._mount()

    def cut(self) -> None:
        """Lose everything that is not synced at this moment, and whatever is written from now on."""
        fd = os.open(self.mount_point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(fd)

    def restore(self) -> None:
        """Power is back: mount again what the image holds. Nobody may have files open."""
        self.unmount()
        self._mount()

    def unmount(self) -> None:
        """Take it down, and its loop device; nothing to do where it is not mounted."""
        # A killed process may hold its last files for a moment after it was reaped.
        eventually(self._unmounted, f"{self.mount_point} is unmounted", timeout_s=UNMOUNT_TIMEOUT_S, interval_s=0.01)

    def _mount(self) -> None:
        _run("mount", "-t", "ext4", "-o", "loop", str(self.image), str(self.mount_point))

    def _unmounted(self) -> bool:
        if not self.mount_point.is_mount():
            return True
        subprocess.run(["umount", str(self.mount_point)], check=False, capture_output=True)
        return not self.mount_point.is_mount()


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")


def why_impossible(directory: Path) -> str:
    """What keeps this machine from power cuts; empty where one worked, on a disk of its own below `directory`."""
    if os.geteuid() != 0:
        return "mounting a file system to cut its power needs root"
    missing = [tool for tool in ("mkfs.ext4", "mount", "umount") if shutil.which(tool) is None]
    if missing:
        return f"cutting a file system's power needs {', '.join(missing)}"
    disk = LoopDisk(directory / "trial.img", directory / "trial")
    try:
        disk.make()
        (disk.mount_point / "unsynced").touch()
        disk.cut()
        disk.restore()
        kept = (disk.mount_point / "unsynced").exists()
    except OSError as error:
        return f"no ext4 on a loop device can be mounted and shut down here: {error}"
    finally:
        disk.unmount()
        disk.image.unlink(missing_ok=True)
    return "a file that nobody synced outlived the shutdown of its file system" if kept else ""


class PoweredNode:
    """One data node process, alone in its cluster, with its data on a LoopDisk and its log beside it.

    `partitions` replicas, ids from 0 on. `settings` are `--set` values. `close` leaves no process and no mount behind; the
    image stays for whoever looks into a failure.
    """

    def __init__(self, directory: Path, *, partitions: int, settings: Sequence[str]) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self._partitions = partitions
        self._settings = list(settings)
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._log_start = 0
        self.member = self._write_config()
        self.disk = LoopDisk(directory / "disk.img", self.member.data_dir)
        self.start_s = 0.5
        """How long the last start took until it was ready, seconds."""

    def _write_config(self) -> Member:
        member = Member(
            name=NODE,
            role="datanode",
            datacenter="dc1",
            datacenter_id=DATACENTER_ID,
            port=free_ports(1)[0],
            admin_port=0,
            directory=self._directory,
        )
        node = NodeEntry(name=NODE, host=member.host, port=member.port)
        layout = Layout(
            cluster=CLUSTER,
            version=1,
            datacenters=[DatacenterEntry(name="dc1", id=DATACENTER_ID, nodes=[node])],
            partitions=[PartitionEntry(id=number, replicas=[NODE]) for number in range(self._partitions)],
        )
        layout_path = self._directory / "layout.json"
        layout_path.write_bytes(msgspec.json.encode(layout))
        member.config.write_text(config_text(member, layout_path), "utf-8")
        return member

    # --- the process ---

    def start(self, settings: Sequence[str] = ()) -> None:
        """Start the process, which must not run, with these `--set` values as well; see `wait_ready`."""
        if self._child is not None:
            raise LocalClusterError("the node runs already")
        log = self.member.log
        self._log_start = log.stat().st_size if log.exists() else 0
        self._started_at = time.monotonic()
        self._child = processes.spawn(
            "datanode", self.member.config, [*self._settings, *settings], log=log, die_with_parent=True
        )

    def wait_ready(self) -> None:
        """Until its stores are open, which it says in its log. Raises LocalClusterError when it ends instead."""
        eventually(self._is_ready, "the data node is ready", timeout_s=READY_TIMEOUT_S, interval_s=0.005)
        self.start_s = time.monotonic() - self._started_at

    def _is_ready(self) -> bool:
        child = self._child
        if child is None or child.poll() is not None:
            ended = processes.how_it_ended(child.returncode if child else None)
            lines = processes.tail(self.member.log, start=self._log_start, lines=20)
            raise LocalClusterError("\n  ".join([f"the data node {ended}; the end of {self.member.log}:", *lines]))
        return self.member.log.exists() and bool(self.logged("data node ready"))

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event since the last start."""
        # A killed process may leave half a line.
        *lines, _ = self.member.log.read_bytes()[self._log_start :].split(b"\n")
        decoded = [msgspec.json.decode(line) for line in lines if line.startswith(b"{")]
        return [pairs for pairs in decoded if pairs["event"] == event]

    async def passed_of_start(self, share: float) -> None:
        """Until this share of what the last start took has passed since this start."""
        await asyncio.sleep(max(0.0, self._started_at + share * self.start_s - time.monotonic()))

    def kill(self) -> None:
        """End the process, and wait until it is gone; nothing to do where it does not run."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def cut_power(self) -> None:
        """Take the power from node and disk at one moment; see `LoopDisk.restore`."""
        if self._child is None:
            raise LocalClusterError("the node does not run")
        # Not kill(), which waits: what the node has under way must meet the cut.
        self._child.send_signal(signal.SIGKILL)
        self.disk.cut()
        self.kill()

    def close(self) -> None:
        """Leave no process, mount or loop device behind."""
        self.kill()
        self.disk.unmount()

    # --- talking to it ---

    async def connect(self) -> RpcConnection:
        """A connection to the running node, introduced; the caller aborts it."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            transport, connection = await loop.create_connection(RpcConnection, self.member.host, self.member.port)
        tune(transport)
        try:
            hello = Hello(CLUSTER, "test-power-cut", NODE)
            await connection.request(MessageType.HELLO, hello, timeout_s=REQUEST_TIMEOUT_S)
        except BaseException:
            connection.abort()
            raise
        return connection

    def reader(self) -> ReplicaReader:
        """For reading single records, an async context manager."""
        return ReplicaReader(CLUSTER, self.member)


async def ask(connection: RpcConnection, type: MessageType, message: Message, body: Buffer = b"") -> Frame:
    """One call on a connection; raises the AmbryError that ended it."""
    future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

    def done(outcome: Frame | AmbryError) -> None:
        if future.done():
            return
        if isinstance(outcome, AmbryError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    connection.call(type, message, done, timeout_s=REQUEST_TIMEOUT_S, body=body)
    return await future


@contextlib.contextmanager
def _unmounted_in_any_case(mount_point: Path) -> Iterator[None]:
    """A process that outlives this one if need be, and unmounts for it: no finalizer runs after a SIGKILL or SIGTERM."""
    script = 'cat; umount --lazy "$1"'
    with subprocess.Popen(
        ["sh", "-c", script, "unmounter", str(mount_point)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is not for it
    ):
        yield


@contextlib.contextmanager
def powered_node(directory: Path, *, partitions: int, settings: Sequence[str]) -> Iterator[PoweredNode]:
    """A node that is not started yet, on a disk that is not made yet; both are gone afterwards."""
    node = PoweredNode(directory, partitions=partitions, settings=settings)
    with _unmounted_in_any_case(node.disk.mount_point):
        try:
            yield node
        finally:
            print(f"log: {node.member.log}")
            node.close()


# --- what it owes ---


@dataclass(slots=True, kw_only=True)
class Blob:
    """A blob that was sent to the node, and what the node owes of it."""

    id: bytes
    seed: int
    size: int
    digest: bytes
    sent: BlobState
    """The join of everything that was asked for: no replica may know more."""
    owed: BlobState | None = None
    """The join of what was acknowledged, or read after a restart: no less may come back. None: it may be absent."""
    in_memory: bool = False
    """Whether it was acknowledged in class `memory`, which a power cut may take."""
    touched: int = 0
    """The load that last asked something for it."""


def fault_in(blob: Blob, copy: Copy, *, compacted: bool) -> str:
    """What is wrong with what the node says of a blob after a restart; empty if nothing is.

    `compacted`: a deleted blob may have lost its bytes, or be forgotten.
    """
    name = f"{copy.id} ({blob.size} bytes, seed {blob.seed})"
    if copy.held is Held.ABSENT:
        forgotten = compacted and blob.sent.deleted
        return "" if blob.owed is None or forgotten else f"LOST: {name}, owed {blob.owed}"
    if copy.held not in (Held.PRESENT, Held.STATE_ONLY):
        return f"{copy.held}: {name}, owed {blob.owed}: {copy.detail}"
    if blob.owed is not None and join(blob.owed, copy.state) != copy.state:
        return f"STATE LOST: {name} is {copy.state}, owed {blob.owed}"
    if join(blob.sent, copy.state) != blob.sent:
        return f"STATE NEVER SENT: {name} is {copy.state}, sent {blob.sent}"
    if copy.held is Held.STATE_ONLY:
        return "" if compacted and copy.state.deleted else f"BYTES LOST: {name}, state {copy.state}, owed {blob.owed}"
    if len(copy.payload) != blob.size or digest(copy.payload) != blob.digest:
        return f"WRONG BYTES: {name} has {len(copy.payload)} bytes"
    return ""
