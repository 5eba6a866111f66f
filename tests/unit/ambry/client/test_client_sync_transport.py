"""What only the blocking client promises: threads and forks."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from ambry import AmbryClient
from tests.support.stub_frontend import StubFrontend
from tests.support.twins import QUICK

DATA = bytes(range(256)) * 20_000


def in_child(action) -> int:  # type: ignore[no-untyped-def]
    """Run `action` in a forked child; its exit code, 0 when it returned true."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if action() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_uses_connections_of_its_own(stub: StubFrontend) -> None:
    blob = stub.add(DATA)
    with AmbryClient(stub.url) as client:
        assert client.get_bytes(blob) == DATA
        assert in_child(lambda: client.get_bytes(blob) == DATA) == 0
        assert client.get_bytes(blob) == DATA
    by = [each.connection for each in stub.seen("GET")]
    assert by[0] == by[2] != by[1]


def test_a_reader_taken_over_a_fork_goes_on_by_itself_in_both(stub: StubFrontend) -> None:
    blob = stub.add(DATA)
    with AmbryClient(stub.url, retry=QUICK) as client, client.get(blob) as reader:
        first = reader.read(1000)
        assert in_child(lambda: first + reader.read() == DATA) == 0
        assert first + reader.read() == DATA


def test_many_threads_share_one_client(stub: StubFrontend) -> None:
    with AmbryClient(stub.url) as client, ThreadPoolExecutor(8) as threads:
        infos = list(threads.map(lambda n: client.put(b"%d" % n), range(200)))
        assert [client.get_bytes(info.id) for info in infos] == [b"%d" % n for n in range(200)]
    assert stub.connections <= 9


def test_a_restarted_server_costs_no_error(stub: StubFrontend) -> None:
    blob = stub.add(DATA)
    with AmbryClient(stub.url) as client:
        for _ in range(20):
            assert client.get_bytes(blob) == DATA
            stub.hang_up()
