"""Who waits for another one's download says for whom, and not for ever."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from ambry.client.cache_waiting import STILL_S, TELL_S, FetchWatch
from ambry.errors import RequestTimeout
from tests.support.blob_cache import cache_of, new_id
from tests.support.twins import FakeClock


def test_who_waits_tells_for_whom_and_goes_on_as_long_as_something_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`ambry cache get` of a blob whose fetcher was stopped printed nothing, and had no end."""
    cache, blob, clock = cache_of(tmp_path), new_id(), FakeClock()
    arrival = cache.claim(blob)
    assert arrival is not None
    watch = FetchWatch(cache, blob, clock)
    part = tmp_path / f"incoming/{blob}.1.part"
    with caplog.at_level(logging.WARNING, "ambry.client"):
        for size in range(1, 5):
            part.write_bytes(b"x" * size)
            clock.now += STILL_S - 1
            watch.look()
        who = f"process {os.getpid()}"
        assert caplog.messages == [f"waits for {who}, which fetches blob {blob} into the cache {tmp_path}"]
        clock.now += STILL_S - 1
        watch.look()
        clock.now += 2
        with pytest.raises(
            RequestTimeout,
            match=f"{who} fetches blob {blob} .*, and nothing of it came for 600 s; it may be stopped: end",
        ):
            watch.look()
    arrival.release()
    assert watch.who == "another process"


def test_nothing_is_told_of_a_short_wait(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    watch = FetchWatch(cache_of(tmp_path), new_id(), clock)
    clock.now += TELL_S
    watch.look()
    assert caplog.messages == []
