"""Disks that fail (EIO) for real processes: a library that is loaded before libc answers calls on segment files itself.

Which calls fail stands in a file that the processes map, so it can change while they run; how many did is counted there. Device
mapper's `error` and `flakey` would do it below the file system, but few machines that run tests have them.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntFlag
from pathlib import Path

import pytest

VARIABLE = "AMBRY_TEST_DISK"
SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

struct control { volatile unsigned fails; volatile unsigned count; };
static struct control *control;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("AMBRY_TEST_DISK");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *page = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        control = page == MAP_FAILED ? NULL : page;
        close(fd);
    }
}

static int fails(int fd, unsigned kind) {
    char link[64], path[4096];
    ssize_t size;
    if (!control || !(control->fails & kind))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof path - 1);
    if (size < 8 || memcmp(path + size - 8, ".segment", 8))
        return 0;
    __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    errno = EIO;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define VECTORED(name, kind)                                                                          \
    ssize_t name(int fd, const struct iovec *some, int count, off64_t offset, int flags) {            \
        static __typeof__(&name) next;                                                                \
        if (fails(fd, kind))                                                                          \
            return -1;                                                                                \
        next = next ? next : NEXT(name);                                                              \
        return next(fd, some, count, offset, flags);                                                  \
    }
VECTORED(preadv64v2, 1)
VECTORED(pwritev64v2, 2)

ssize_t pwrite64(int fd, const void *some, size_t size, off64_t offset) {
    static __typeof__(&pwrite64) next;
    if (fails(fd, 2))
        return -1;
    next = next ? next : NEXT(pwrite64);
    return next(fd, some, size, offset);
}

int fdatasync(int fd) {
    static __typeof__(&fdatasync) next;
    if (fails(fd, 4))
        return -1;
    next = next ? next : NEXT(fdatasync);
    return next(fd);
}
"""


class Fails(IntFlag):
    """What of a segment file fails."""

    NOTHING = 0
    READS = 1
    WRITES = 2
    SYNCS = 4


class FailingDisk:
    """The disk of the processes that are started within `for_children`. Skips the test where nothing can be compiled."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None or os.name != "posix":
            pytest.skip("there is no C compiler (cc): no process can have a failing disk here")
        self._library = directory / "failing_disk.so"
        source = directory / "failing_disk.c"
        source.write_text(SOURCE)
        subprocess.run(
            [compiler, "-O1", "-shared", "-fPIC", "-o", str(self._library), str(source), "-ldl"], check=True, timeout=60
        )
        self._file = directory / "fails"
        self._file.write_bytes(bytes(8))

    def set(self, fails: Fails) -> None:
        """From now on these calls fail, and no others."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("=I", fails))

    @property
    def count(self) -> int:
        """How many calls failed so far."""
        _, count = struct.unpack("=II", self._file.read_bytes())
        return int(count)

    @contextmanager
    def for_children(self) -> Iterator[None]:
        """What is started meanwhile has this disk."""
        wanted = {"LD_PRELOAD": str(self._library), VARIABLE: str(self._file)}
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
