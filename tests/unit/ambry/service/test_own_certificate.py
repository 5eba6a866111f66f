"""What a process says of its own certificates. Who is cut off: tests/unit/ambry/network/test_line_of_certificates.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.clock import SystemClock
from ambry.service import metrics, own_certificate
from ambry.service.own_certificate import OwnCertificates
from ambry.service.tls import DAY_MS, NodeRole, NodeTls, NodeTlsSection, ReloadingTls, front_context
from tests.support.captured_log import capture_log
from tests.support.fake_clock import SettableClock
from tests.support.node_certificates import authority, front_section, node_section


def clock_of_now() -> SettableClock:
    return SettableClock(wall=SystemClock().wall_ms())


class Node:
    """One that follows its files, with a clock of its own."""

    def __init__(self, section: NodeTlsSection) -> None:
        self.tls = NodeTls(section)
        self.clock = clock_of_now()
        self.own = OwnCertificates(node=self.tls, front=None, clock=self.clock)

    async def look(self) -> list[str]:
        await self.tls.tick()
        await self.own.tick()
        return self.own.refused()


def number(name: str, certificate: str) -> float:
    found = metrics.registry.get_sample_value(name, {"certificate": certificate})
    assert found is not None
    return found


async def test_a_node_whose_certificate_was_revoked_says_so_until_it_has_another(tmp_path: Path) -> None:
    """It said that it was ready, and nobody let it in."""
    made = authority(tmp_path)
    node = Node(node_section(made, NodeRole.DATANODE, "n1", days=300))
    assert await node.look() == node.own.warnings() == []
    assert number("ambry_certificate_refused", "node_tls.certificate") == 0
    made.revoke("datanode-n1")
    [reason] = await node.look()
    assert reason.startswith("node_tls.certificate: it was revoked (good from ") and "ambry certs rotate" in reason
    assert node.own.warnings() == [reason]
    assert number("ambry_certificate_refused", "node_tls.certificate") == 1
    made.rotate("datanode-n1", days=300)
    assert await node.look() == node.own.warnings() == []
    assert number("ambry_certificate_refused", "node_tls.certificate") == 0


@pytest.mark.parametrize(("days_ago", "days", "reason"), [(10, 5, "it has expired"), (-3, 5, "it is not good yet")])
async def test_a_certificate_is_good_between_its_dates(tmp_path: Path, days_ago: float, days: int, reason: str) -> None:
    authority(tmp_path, days_ago=20)
    made = authority(tmp_path, days_ago=days_ago)
    [told] = await Node(node_section(made, NodeRole.DATANODE, "n1", days=days)).look()
    assert told.startswith(f"node_tls.certificate: {reason} (good from ")


async def test_a_certificate_of_an_authority_that_left_is_refused(tmp_path: Path) -> None:
    made, other = authority(tmp_path / "a"), authority(tmp_path / "b")
    node = Node(node_section(made, NodeRole.DATANODE, "n1"))
    made.certificate_file.write_bytes(other.certificate_file.read_bytes())
    [reason] = await node.look()
    assert "it is of no authority in node_tls.authority" in reason


async def test_lists_that_name_others_say_nothing_of_it_and_one_that_is_missing_does(tmp_path: Path) -> None:
    made, other = authority(tmp_path / "a"), authority(tmp_path / "b")
    node_section(made, NodeRole.DATANODE, "n2")
    node = Node(node_section(made, NodeRole.DATANODE, "n1"))
    made.revoke("datanode-n2")
    assert await node.look() == []
    made.revoked_file.write_bytes(other.revoked_file.read_bytes())
    [reason] = await node.look()
    assert "no list of the authority that issued it" in reason


async def test_it_is_told_a_month_before_it_ends_and_once_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = capture_log(monkeypatch, own_certificate)
    node = Node(node_section(authority(tmp_path), NodeRole.DATANODE, "n1", days=40))
    until_s = 0.0
    for day, told in ((0, 0), (9, 0), (11, 1), (11.5, 1), (12.1, 2)):
        await node.look()
        until_s = until_s or number("ambry_certificate_expires_timestamp_seconds", "node_tls.certificate")
        node.clock.wall = round(until_s * 1000 - (40 - day) * DAY_MS)
        await node.look()
        lines = [each for each in events if each["event"] == "own certificate ends soon"]
        assert len(lines) == told, f"on day {day}"
    assert node.own.warnings()[0].startswith("node_tls.certificate expires in 27 days, on ")
    assert node.own.refused() == []


async def test_a_fronts_certificate_is_judged_by_its_dates_and_keeps_nobody_from_being_answered(tmp_path: Path) -> None:
    made = authority(tmp_path)
    front = ReloadingTls(front_section(made, days=300), front_context)
    clock = clock_of_now()
    own = OwnCertificates(node=None, front=front, clock=clock)
    await own.tick()
    assert own.warnings() == []
    made.revoke("front")
    await own.tick()
    assert own.warnings() == [], "clients look at no list"
    clock.wall += 301 * DAY_MS
    await own.tick()
    assert own.refused() == []
    [reason] = own.warnings()
    assert reason.startswith("tls.certificate: it has expired (good from ")
    assert number("ambry_certificate_refused", "tls.certificate") == 1


async def test_of_a_process_without_certificates_nothing_is_said() -> None:
    own = OwnCertificates(node=None, front=None, clock=clock_of_now())
    await own.tick()
    assert own.refused() == own.warnings() == []
