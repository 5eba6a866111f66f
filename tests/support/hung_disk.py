"""A disk that hangs under real processes: reads and writes are accepted and do not come back until `go_on`.

An ext4 file system on a loop device of its own, and a blkio cgroup (v1) whose members may move one byte a second of it
(https://www.kernel.org/doc/Documentation/cgroup-v1/blkio-controller.txt). So calls of the file layer hang in the kernel, and
page faults of a mapped index as well, in state D, where no signal reaches them. Needs root; `why_impossible` says what lacks.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.support.power_cut import LoopDisk

CONTROLLER = Path("/sys/fs/cgroup/blkio")
LIMITS = ("blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device")
UNLIMITED = 0


def why_impossible() -> str:
    """What keeps this machine from hanging a disk; empty where nothing does."""
    if os.geteuid() != 0:
        return "hanging a disk needs root"
    missing = [tool for tool in ("mkfs.ext4", "mount", "umount") if shutil.which(tool) is None]
    if missing:
        return f"hanging a disk needs {', '.join(missing)}"
    if not (CONTROLLER / LIMITS[0]).exists():
        return f"there is no blkio controller of cgroup v1 at {CONTROLLER}"
    return ""


class HungDisk:
    """Put it where a directory is with `take_over`; `close` leaves no mount, no cgroup and nothing that hangs."""

    def __init__(self, image: Path, mount_point: Path) -> None:
        self.mount_point = mount_point
        self._disk = LoopDisk(image, mount_point)
        self._group = CONTROLLER / f"ambry-test-{os.getpid()}"

    def take_over(self) -> None:
        """What the directory holds is on this disk from now on; nobody may have files of it open."""
        aside = self.mount_point.with_name("before")
        self.mount_point.rename(aside)
        self._disk.make()
        (self.mount_point / "lost+found").rmdir()
        shutil.copytree(aside, self.mount_point, dirs_exist_ok=True)
        self._group.mkdir()

    def watch(self, pid: int) -> None:
        """The disk hangs for this process, and whatever threads it has or starts."""
        (self._group / "cgroup.procs").write_text(str(pid))

    def forget_pages(self) -> None:
        """Nothing of its files is in the page cache but what is dirty, or mapped and in use."""
        for path in self.mount_point.rglob("*"):
            if path.is_file():
                fd = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(fd)

    def hang(self) -> None:
        self._limit(1)

    def go_on(self) -> None:
        self._limit(UNLIMITED)

    def close(self) -> None:
        if self._group.exists():
            self.go_on()
            left = (self._group / "cgroup.procs").read_text().split()
            for pid in left:
                (CONTROLLER / "cgroup.procs").write_text(pid)
            self._group.rmdir()
        self._disk.unmount()

    def _limit(self, bytes_per_s: int) -> None:
        device = self.mount_point.stat().st_dev
        for name in LIMITS:
            (self._group / name).write_text(f"{os.major(device)}:{os.minor(device)} {bytes_per_s}")


def waits_for_a_disk(pid: int) -> bool:
    """Whether a thread of a process is in uninterruptible sleep (proc(5), state D)."""
    states = [task.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0] for task in _tasks(pid)]
    return "D" in states


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())
