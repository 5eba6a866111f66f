from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ambry.clock import SystemClock
from ambry.errors import Overloaded
from frontend import metrics
from frontend.audit import trail as module
from frontend.audit.file import AuditFile
from frontend.audit.trail import REFUSALS_AT_ONCE, AuditTrail
from frontend.request import RequestContext
from frontend.who import ANYBODY
from tests.support.fake_clock import SettableClock


class Disk(AuditFile):
    """A file whose disk may be full."""

    full = False

    def write(self, lines: bytes, *, sync: bool) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().write(lines, sync=sync)


def on(path: Path, **more: Any) -> tuple[AuditTrail, Disk]:
    disk = Disk(path, rotate_bytes=1 << 20, keep=1)
    return AuditTrail(disk, clock=more.pop("clock", SystemClock()), **more), disk


def tell(trail: AuditTrail, id: str, *, status: int = 201, **noted: Any) -> None:
    context = RequestContext(id=id, timeout_s=1.0, deadline=1.0, who=ANYBODY, changes=True)
    trail.tell(context, method="POST", op="put", status=status, refused=status == 403, noted=noted)


def ids(path: Path) -> list[str]:
    return [json.loads(line)["request_id"] for line in path.read_bytes().splitlines()]


async def test_what_was_told_is_in_the_file_in_its_order_when_it_is_closed(tmp_path: Path) -> None:
    trail, _ = on(tmp_path / "a")
    for number in range(100):
        tell(trail, f"r{number}")
    await trail.close()
    assert ids(tmp_path / "a") == [f"r{number}" for number in range(100)]


async def test_lines_are_written_while_others_come_without_being_asked_for(tmp_path: Path) -> None:
    trail, _ = on(tmp_path / "a")
    for number in range(3):
        tell(trail, f"r{number}")
        async with asyncio.timeout(10):
            while not (tmp_path / "a").exists() or len(ids(tmp_path / "a")) <= number:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.01)
    await trail.close()


async def test_lines_wait_for_a_disk_that_is_full_and_stand_there_once_when_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.02)
    trail, disk = on(tmp_path / "a")
    disk.full = True
    tell(trail, "r1")
    async with asyncio.timeout(10):
        while not trail._failing:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)
    tell(trail, "r2")
    assert not (tmp_path / "a").exists()
    disk.full = False
    async with asyncio.timeout(10):
        while trail._failing:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)
    await trail.close()
    assert ids(tmp_path / "a") == ["r1", "r2"]


async def test_what_finds_no_room_is_lost_and_counted_and_changes_are_refused_where_none_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES_MAX", 2_000)
    trail, disk = on(tmp_path / "a", required=True)
    disk.full = True
    before = metrics.AUDIT_LOST.value
    trail.check_takes_changes()
    for number in range(40):
        tell(trail, f"r{number}")
    assert metrics.AUDIT_LOST.value > before
    with pytest.raises(Overloaded, match="the audit cannot be written"):
        trail.check_takes_changes()
    disk.full = False
    await trail.close()
    trail.check_takes_changes()
    assert ids(tmp_path / "a")[0] == "r0"


async def test_a_flood_of_refusals_does_not_push_out_what_others_did(tmp_path: Path) -> None:
    clock = SettableClock()
    trail, _ = on(tmp_path / "a", clock=clock)
    for number in range(int(REFUSALS_AT_ONCE) + 50):
        tell(trail, f"no{number}", status=403)
    tell(trail, "yes")
    clock.advance(1.0)
    tell(trail, "later", status=403)
    await trail.close()
    lines = [json.loads(line) for line in (tmp_path / "a").read_bytes().splitlines()]
    assert len(lines) == int(REFUSALS_AT_ONCE) + 2
    assert [line["request_id"] for line in lines[-2:]] == ["yes", "later"] and lines[-1]["left_out"] == 50
