"""Bytes per second, as what to wait; and that both clients do wait, each way."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry import TransferConfig
from ambry.client.pace import PIECE_BYTES_MIN, Bandwidth
from tests.support.content import content
from tests.support.stub_frontend import StubFrontend
from tests.support.twins import FakeClock, Twins

DATA = content(12, 400_000)


def test_without_a_bound_nobody_waits() -> None:
    pace = Bandwidth(None, FakeClock())
    assert pace.piece(1 << 30) == 1 << 30
    assert pace.passed(1 << 30) == 0.0


def test_bytes_pass_at_the_rate_and_what_was_not_used_is_not_saved_up() -> None:
    clock = FakeClock()
    pace = Bandwidth(1000, clock)
    assert pace.passed(500) == pytest.approx(0.5)
    assert pace.passed(500) == pytest.approx(1.0)
    clock.now += 0.25
    assert pace.passed(0) == pytest.approx(0.75)
    clock.now += 100
    assert pace.passed(100) == pytest.approx(0.1)


def test_pieces_are_a_quarter_of_a_second_at_most() -> None:
    clock = FakeClock()
    assert Bandwidth(8 << 20, clock).piece(16 << 20) == 2 << 20
    assert Bandwidth(8 << 20, clock).piece(100) == 100
    assert Bandwidth(1, clock).piece(1 << 20) == PIECE_BYTES_MIN


SLOW = TransferConfig(max_bandwidth=100_000)


@pytest.mark.parametrize("how", ["get", "get_into", "get_file", "put", "put_file"])
@pytest.mark.parametrize("of_call", [False, True])
def test_both_ways_take_as_long_as_the_bound_says(
    stub: StubFrontend, twins: Twins, tmp_path: Path, how: str, of_call: bool
) -> None:
    blob = stub.add(DATA)
    (tmp_path / "in").write_bytes(DATA)
    if of_call and how.startswith("get") and how != "get_file":
        pytest.skip("it takes no transfer")
    client = twins.connect(stub.url, fake_time=True, **({} if of_call else {"transfer": SLOW}))
    own = {"transfer": SLOW} if of_call else {}
    before = twins.clock.now
    if how == "get":
        assert client.get_bytes(blob) == DATA
    elif how == "get_into":
        buffer = bytearray(len(DATA))
        client.get_into(blob, buffer)
        assert buffer == DATA
    elif how == "get_file":
        client.get_file(blob, tmp_path / "out", **own)
        assert (tmp_path / "out").read_bytes() == DATA
    elif how == "put":
        client.put(DATA, **own)
    else:
        client.put_file(tmp_path / "in", **own)
    assert 3.7 <= twins.clock.now - before <= 4.1
    assert all(each <= 0.27 for each in twins.clock.slept)


def test_calls_of_one_client_share_it(stub: StubFrontend, twins: Twins) -> None:
    blob = stub.add(DATA[:100_000])
    client = twins.connect(stub.url, fake_time=True, transfer=SLOW)
    before = twins.clock.now
    for _ in range(3):
        client.get_bytes(blob)
    assert twins.clock.now - before >= 2.7
