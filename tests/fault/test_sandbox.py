"""A data node and a frontend run in the sandbox of their units: they start, say so, store, read, and drain.

What the sandbox takes away is tried first, so that nothing is proven about one that is not there.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ambry import AmbryClient
from deploy.local_directory import LocalDirectory
from deploy.local_layout import Member, Options, members, new_shape, ports
from deploy.local_processes import free_port_base
from tests.support import sandbox
from tests.support.content import content

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(bool(sandbox.why_not()), reason=sandbox.why_not() or "there is one"),
]

TRIED = """
import ctypes, mmap, os, socket
def refused(what, *errors):
    try:
        what()
    except OSError as error:
        assert not errors or error.errno in errors, error
        return
    raise SystemExit(f"{what} was let through")
assert os.getuid() == 64100, os.getuid()
refused(lambda: open("/etc/hosts", "a"))
refused(lambda: open("/usr/bin/planted", "w"))
refused(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))
refused(lambda: os.chroot("/"), 1)
refused(lambda: os.chown("own", 0, 0))
libc = ctypes.CDLL(None, use_errno=True)
for number in (101, 165, 321):   # ptrace, mount, bpf on x86_64
    assert libc.syscall(number, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 1, number
print("tried")
"""


def one_of_each(directory: Path) -> LocalDirectory:
    local = LocalDirectory(directory)

    def of(base: int) -> Options:
        return Options(datacenters=1, nodes=1, frontends=1, partitions=1, auth=True, port_base=base)

    base = free_port_base(lambda base: list(ports(members(new_shape(of(base), cluster="boxed"), directory))))
    local.create(lambda: new_shape(of(base), cluster="boxed"))
    local.write_files()
    return local


@contextmanager
def boxed(member: Member, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Started, and heard to be ready, as systemd would hear it."""
    path = member.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(60)
        process = sandbox.start(member, "log.file=", *more, NOTIFY_SOCKET=str(path))
        try:
            assert manager.recv(64) == b"READY=1"
            yield process
            # bwrap waits for the process, which is the first of its own namespace: it is told itself.
            (inner,) = children_of(children_of(process.pid)[0])[:1] or children_of(process.pid)
            os.kill(inner, signal.SIGTERM)
            assert manager.recv(64) == b"STOPPING=1"
            said, _ = process.communicate(timeout=60)
            assert process.returncode == 0, said
        finally:
            process.kill()
            process.communicate()


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of system calls are those of x86_64")
@pytest.mark.parametrize("role", ["datanode", "frontend"])
def test_the_sandbox_is_there(role: str, tmp_path: Path) -> None:
    local = one_of_each(tmp_path / "c")
    member = next(each for each in local.members if each.role == role)
    process = sandbox.run(member, ["-c", TRIED])
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "tried\n")


def test_a_blob_goes_in_and_comes_out_in_the_sandbox(tmp_path: Path) -> None:
    local = one_of_each(tmp_path / "c")
    node = next(each for each in local.members if each.role == "datanode")
    front = next(each for each in local.members if each.role == "frontend")
    small, large = content(1, 4_096), content(2, 9_000_000)
    with ExitStack() as stack:
        stack.enter_context(boxed(node))
        stack.enter_context(boxed(front, f"metadata.path={front.directory}/metadata.sqlite"))
        client = stack.enter_context(AmbryClient(endpoints=[front.url], key=local.access.key()))
        ids = [client.put(data, name=name, ttl=None).id for name, data in (("a", small), ("b", large))]
        assert [client.get_bytes(each) for each in ids] == [small, large]
        assert client.get_bytes("a") == small
        assert {"audit.jsonl", "metadata.sqlite"} <= {each.name for each in front.directory.iterdir()}
