"""What both roles are judged by: nothing is found of what is right, and each fault by its code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ambry.service import diagnosis as rules
from ambry.service.diagnosis import CertificateSeen, FileSeen, ProcessSeen, Severity, Sight
from ambry.service.tls import DAY_MS, NodeIdentity, NodeRole, NodeTlsSection, TlsSection

NOW = 1_795_000_000_000
WHO = NodeIdentity("main", NodeRole.DATANODE, "dc1-n1")
SECTION = NodeTlsSection(
    certificate="/etc/ambry/n.crt", key="/etc/ambry/n.key", authority="/etc/ambry/ca.crt", revoked="/etc/ambry/r.pem"
)
GOOD = CertificateSeen(
    identities=(WHO.uri,), not_before_ms=NOW - 1, not_after_ms=NOW + 300 * DAY_MS, fits_key=True, of_authority=True
)
RUNNING = ProcessSeen(
    pid=7, uid=990, core_bytes_max=0, descriptors_max=65_536, arguments=("python", "-m", "datanode"), environment={}
)
SEEN = Sight(
    config=Path("/etc/ambry/n.toml"),
    now_ms=NOW,
    files={
        Path("/etc/ambry"): FileSeen(0o755, 0, 1),
        Path("/etc/ambry/n.toml"): FileSeen(0o640, 0, 1),
        Path("/etc/ambry/n.key"): FileSeen(0o600, 990, 1),
    },
    certificates={"/etc/ambry/n.crt": GOOD},
    lists_end_ms={"/etc/ambry/r.pem": NOW + 300 * DAY_MS},
    process=RUNNING,
)


def codes(found: Any) -> list[str]:
    return [each.code for each in found]


def with_file(path: str, mode: int, uid: int = 990) -> Sight:
    return replace(SEEN, files={**SEEN.files, Path(path): FileSeen(mode, uid, 1)})


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (SEEN, []),
        (with_file("/etc/ambry/n.key", 0o640), ["secret-readable"]),
        (with_file("/etc/ambry/n.key", 0o600, uid=1000), ["secret-of-another"]),
        (with_file("/etc/ambry", 0o777), ["directory-writable"]),
        (with_file("/etc/ambry", 0o1777), []),
        (replace(SEEN, files={}), ["secret-missing"]),
    ],
)
def test_a_file_of_a_secret_is_its_owners_alone(seen: Sight, found: list[str]) -> None:
    assert codes(rules.secret_file(seen, "node_tls.key", SECTION.key)) == found


def test_a_password_makes_the_configuration_a_secret() -> None:
    assert codes(rules.configuration_file(SEEN, secret=False)) == []
    assert codes(rules.configuration_file(SEEN, secret=True)) == ["secret-readable"]
    assert codes(rules.configuration_file(with_file("/etc/ambry/n.toml", 0o666), secret=False)) == [
        "configuration-writable"
    ]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"not_after_ms": NOW}, ["certificate-expired"]),
        ({"not_after_ms": NOW + 29 * DAY_MS}, ["certificate-ends-soon"]),
        ({"not_before_ms": NOW + DAY_MS}, ["certificate-not-yet"]),
        ({"fits_key": False}, ["certificate-of-another-key"]),
        ({"of_authority": False}, ["certificate-of-another-authority"]),
        ({"revoked": True}, ["certificate-revoked"]),
        ({"identities": ()}, ["certificate-of-another-node"]),
        ({"identities": ("ambry://main/frontend/dc1-n1",)}, ["certificate-of-another-node"]),
        ({"identities": ("ambry://main/datanode/dc1-n2",)}, ["certificate-of-another-node"]),
        ({"identities": ("ambry://test/datanode/dc1-n1",)}, ["certificate-of-another-node"]),
    ],
)
def test_a_certificate_is_good_now_and_of_this_node(change: dict[str, Any], found: list[str]) -> None:
    seen = replace(SEEN, certificates={SECTION.certificate: replace(GOOD, **change)})
    assert codes(rules.node_tls(seen, SECTION, "10.0.0.1", WHO)) == found


@pytest.mark.parametrize(
    ("ends", "found"),
    [
        (NOW + 8 * DAY_MS, []),
        (NOW + 6 * DAY_MS, ["revocation-ends-soon"]),
        (NOW, ["revocation-stale"]),
        ("no list stands in it", ["revocation-unreadable"]),
    ],
)
def test_a_list_of_revoked_certificates_has_not_ended(ends: int | str, found: list[str]) -> None:
    assert codes(rules.node_tls(replace(SEEN, lists_end_ms={SECTION.revoked: ends}), SECTION, None, WHO)) == found


def test_off_loopback_there_is_tls_or_somebody_says_who_does_it() -> None:
    def front(host: str, *, behind_proxy: bool) -> list[str]:
        return codes(rules.front_tls(SEEN, TlsSection(), host, behind_proxy=behind_proxy))

    assert front("127.0.0.1", behind_proxy=False) == front("0.0.0.0", behind_proxy=True) == []
    assert front("0.0.0.0", behind_proxy=False) == ["front-in-the-clear"]
    assert codes(rules.node_tls(SEEN, NodeTlsSection(), "10.0.0.1", WHO)) == ["nodes-in-the-clear"]
    assert codes(rules.node_tls(SEEN, NodeTlsSection(), "::1", WHO)) == []
    assert codes(rules.node_tls(SEEN, NodeTlsSection(), None, WHO)) == []
    without_list = NodeTlsSection(certificate=SECTION.certificate, key=SECTION.key, authority=SECTION.authority)
    assert codes(rules.node_tls(SEEN, without_list, "10.0.0.1", WHO)) == ["no-revocation"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"uid": 0}, ["root"]),
        ({"core_bytes_max": 1 << 62}, ["core-dumps"]),
        ({"core_bytes_max": None}, ["core-dumps"]),
        ({"descriptors_max": 1_024}, ["few-descriptors"]),
        ({"arguments": ("--set", "metadata.url=postgresql://u:hunter2@db/x")}, ["secret-in-arguments"]),
        ({"arguments": ("--key", "ambry_abcd1234_" + "x" * 43)}, ["secret-in-arguments"]),
        ({"environment": {"AMBRY_METADATA__URL": "postgresql://db/x?password=hunter2"}}, ["secret-in-environment"]),
        ({"environment": {"MASTERS": "1 00ff"}}, ["secret-in-environment"]),
        ({"environment": None}, ["environment-unread"]),
        ({"clock_doubt": "3 of 4 peers are 60 s ahead"}, ["clock-wrong"]),
        ({"clock_offsets_ms": {"dc1-n2": -2_500, "dc1-n3": 900}}, ["clock-apart"]),
    ],
)
def test_a_process_is_nobody_special_and_tells_nothing(change: dict[str, Any], found: list[str]) -> None:
    seen = replace(SEEN, process=replace(RUNNING, **change))
    told = list(rules.process(seen, secret_variables=("MASTERS",)))
    assert codes(told) == found
    assert "hunter2" not in repr(told) and "x" * 43 not in repr(told), "what is found is told, the secret is not"


def test_a_process_that_does_not_run_was_not_looked_at() -> None:
    (only,) = rules.process(replace(SEEN, process=None))
    assert (only.code, only.severity) == ("not-running", Severity.NOTE)


def test_the_admin_port_and_the_names_that_are_answered_to() -> None:
    assert codes(rules.admin_port("127.0.0.1", "node.admin_host", NodeTlsSection())) == []
    assert codes(rules.admin_port("0.0.0.0", "node.admin_host", NodeTlsSection())) == ["admin-port-open"]
    assert codes(rules.admin_port("0.0.0.0", "node.admin_host", SECTION)) == []
    assert codes(rules.host_names(("blobs.example",), "node.hosts")) == []
    assert codes(rules.host_names(("*",), "node.hosts")) == ["any-host-name"]
