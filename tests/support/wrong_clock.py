"""Wrong wall clocks for real processes: a library that is loaded before libc adds an offset to what it says.

The offset stands in a file that the processes map, so it can change while they run. Not libfaketime: its clock_nanosleep fails
with EINVAL, which time.sleep uses (libfaketime 0.9.10, CPython 3.11). Monotonic clocks are left alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

VARIABLE = "AMBRY_TEST_CLOCK"
SOURCE = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *ahead_s;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("AMBRY_TEST_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *page = mmap(NULL, sizeof *ahead_s, PROT_READ, MAP_SHARED, fd, 0);
        ahead_s = page == MAP_FAILED ? NULL : page;
        close(fd);
    }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && ahead_s && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *ahead_s;
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &precise))
        return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now)
        *now = precise.tv_sec;
    return precise.tv_sec;
}
"""


class WrongClock:
    """The wall clock of the processes that are started within `for_children`. Skips the test where nothing can be compiled."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None or os.name != "posix":
            pytest.skip("there is no C compiler (cc): no process can have a wrong clock here")
        self._library = directory / "wrong_clock.so"
        source = directory / "wrong_clock.c"
        source.write_text(SOURCE)
        subprocess.run(
            [compiler, "-O1", "-shared", "-fPIC", "-o", str(self._library), str(source)], check=True, timeout=60
        )
        self._file = directory / "ahead"
        self._file.write_bytes(bytes(8))

    def set(self, ahead_s: int) -> None:
        """From now on the clock is so far ahead."""
        with self._file.open("r+b") as file:
            file.write(ahead_s.to_bytes(8, "little", signed=True))

    @contextmanager
    def for_children(self) -> Iterator[None]:
        """What is started meanwhile goes by this clock."""
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
