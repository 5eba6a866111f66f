"""Requests at random times: how many, in which order, and how they are read from a socket."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.bench.store_arrivals import MESSAGE, READ, READS_PER_S, WRITE, WRITES_PER_S, arriving, parse, schedule


def test_times_grow_and_the_rates_are_as_asked() -> None:
    planned = list(schedule(1, 10.0))
    times = [at for at, _ in planned]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 10.0
    for kind, per_s in ((WRITE, WRITES_PER_S), (READ, READS_PER_S)):
        assert sum(1 for _, what in planned if what == kind) / 10.0 == pytest.approx(per_s, rel=0.1)


def test_requests_come_in_bunches() -> None:
    times = [at for at, _ in schedule(1, 10.0)]
    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) < 0.1 / (WRITES_PER_S + READS_PER_S)
    assert max(gaps) > 3 / (WRITES_PER_S + READS_PER_S)


@pytest.mark.parametrize("cut", range(2 * MESSAGE.size + 1))
def test_messages_are_read_whole_wherever_the_socket_cuts_them(cut: int) -> None:
    data = MESSAGE.pack(1, WRITE) + MESSAGE.pack(1 << 60, READ)
    first, rest = parse(data[:cut])
    second, left = parse(rest + data[cut:])
    assert first + second == [(1, WRITE), (1 << 60, READ)]
    assert left == b""


def test_they_arrive_over_a_socket_until_it_ends() -> None:
    expected = [kind for _, kind in schedule(7, 0.05)]
    data = b""
    with arriving(7, 0.05) as socket:
        while piece := socket.recv(65536):
            data += piece
    messages, left = parse(data)
    assert [kind for _, kind in messages] == expected
    assert left == b""
    assert [sent_at for sent_at, _ in messages] == sorted(sent_at for sent_at, _ in messages)
