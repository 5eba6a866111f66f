"""What is unsafe about a frontend: one fault at a time, each by its code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ambry.config import convert
from ambry.service.diagnosis import FileSeen, ProcessSeen, Severity, Sight
from frontend.config import FrontendConfig
from frontend.diagnosis import judge, wanted

LAYOUT = {
    "cluster": "main",
    "version": 1,
    "datacenters": [{"name": "dc1", "id": 1, "nodes": [{"name": "n1", "host": "127.0.0.1", "port": 7000}]}],
    "partitions": [{"id": 0, "replicas": ["n1"]}],
}
RUNNING = ProcessSeen(pid=7, uid=990, core_bytes_max=0, descriptors_max=65_536, arguments=(), environment={})


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = tmp_path / "layout.json"
    path.write_text(json.dumps(LAYOUT))
    return path


def found(
    layout: Path,
    *,
    modes: dict[str, int] | None = None,
    devices: dict[str, int] | None = None,
    notes: bool = False,
    **sections: Any,
) -> set[str]:
    """The codes of all but notes, or of those, of a configuration that is right but for `sections`."""
    place = layout.parent
    tree: dict[str, Any] = {
        "frontend": {"name": "f1", "datacenter": "dc1", "layout": str(layout)},
        "audit": {"file": str(place / "audit.jsonl"), "required": True},
    }
    for name, more in sections.items():
        tree[name] = {**tree.get(name, {}), **more}
    config = convert(FrontendConfig, tree, source="a test")
    files = {path: FileSeen(0o600, 990, 1) for path in (place / "f.toml", *wanted(config).files)}
    files[place] = FileSeen(0o755, 990, 1)
    for name, mode in (modes or {}).items():
        files[place / name] = FileSeen(mode, 990, 1)
    for name, device in (devices or {}).items():
        files[place / name] = replace(files[place / name], device=device)
    seen = Sight(config=place / "f.toml", now_ms=0, files=files, certificates={}, lists_end_ms={}, process=RUNNING)
    return {each.code for each in judge(config, seen) if (each.severity is Severity.NOTE) == notes}


def test_a_proxy_that_is_not_believed_hides_who_asks(layout: Path) -> None:
    behind: dict[str, Any] = {"host": "10.0.0.1", "behind_proxy": True}
    assert "clients-unseen" in found(layout, notes=True, frontend=behind)
    assert "clients-unseen" not in found(layout, notes=True, frontend={**behind, "trusted_proxies": ["10.0.0.2"]})
    assert "clients-unseen" not in found(layout, notes=True)


def before_the_start(layout: Path, config: dict[str, Any], *, process: ProcessSeen | None) -> dict[str, Severity]:
    """What is found where nothing is there but the layout, and the credential of a process that runs."""
    tree = {"frontend": {"name": "f1", "datacenter": "dc1", "layout": str(layout)}, **config}
    converted = convert(FrontendConfig, tree, source="a test")
    secret = Path(converted.access.secret_file)
    files = {} if process is None else {secret: FileSeen(0o440, 0, 2), secret.parent: FileSeen(0o550, 0, 2)}
    seen = Sight(
        config=layout.parent / "f.toml", now_ms=0, files=files, certificates={}, lists_end_ms={}, process=process
    )
    return {each.code: each.severity for each in judge(converted, seen)}


UNIT = {
    "access": {"secret_file": "/run/credentials/ambry-frontend@f1.service/url.secret"},
    "audit": {"file": "/var/lib/ambry-frontend/f1/audit.jsonl", "required": True},
}
"""As docs/operations.md, Under systemd, says."""


def test_what_systemd_makes_when_a_unit_starts_is_no_danger_before(layout: Path) -> None:
    """`refused` for the directory of the audit and `secret-missing` stood in the check before the first start."""
    found = before_the_start(layout, UNIT, process=None)
    assert found["made-at-start"] is Severity.NOTE
    assert not found.keys() & {"refused", "secret-missing"}
    elsewhere = {"access": {"secret_file": "/srv/url.secret"}, "audit": {"file": "/srv/nowhere/f1/audit.jsonl"}}
    found = before_the_start(layout, elsewhere, process=None)
    assert found["refused"] is found["secret-missing"] is Severity.DANGER
    assert "made-at-start" not in found


def test_a_process_that_runs_has_what_systemd_makes_or_that_is_told(layout: Path) -> None:
    """The bit of the group in the mode of a credential is the mask of its access list."""
    assert not before_the_start(layout, {"access": UNIT["access"]}, process=RUNNING).keys() & {
        "made-at-start", "secret-missing", "secret-readable",
    }  # fmt: skip
    assert before_the_start(layout, UNIT, process=RUNNING)["refused"] is Severity.DANGER


def test_nothing_is_found_of_what_is_right(layout: Path) -> None:
    assert found(layout) == set()


@pytest.mark.parametrize(
    ("sections", "codes"),
    [
        ({"access": {"enabled": False}}, {"no-keys"}),
        ({"access": {"enabled": False}, "frontend": {"host": "0.0.0.0"}}, {"no-keys", "refused", "front-in-the-clear"}),
        ({"frontend": {"host": "10.0.0.1"}}, {"front-in-the-clear"}),
        ({"frontend": {"host": "10.0.0.1", "behind_proxy": True}}, set()),
        ({"frontend": {"admin_host": "0.0.0.0"}}, {"admin-port-open", "refused"}),
        ({"frontend": {"hosts": ["*"]}}, {"any-host-name"}),
        (
            {"frontend": {"host": "10.0.0.1", "behind_proxy": True}, "limits": {"anonymous_requests_per_s": 0}},
            {"no-rate"},
        ),
        ({"frontend": {"connections_max": 100_000}}, {"few-descriptors"}),
        ({"frontend": {"rpc_host": "10.0.0.1", "rpc_port": 7001}}, {"nodes-in-the-clear"}),
        ({"frontend": {"layout": "/nowhere"}}, {"refused"}),
        ({"audit": {"file": "", "required": False}}, {"no-audit"}),
        ({"encryption": {"provider": "environment"}}, {"master-key-in-environment"}),
        (
            {"encryption": {"provider": "command", "command": ["fetch", "https://u:hunter2@vault/"]}},
            {"secret-in-arguments"},
        ),
        (
            {"encryption": {"provider": "vault", "url": "http://vault:8200", "key": "k", "token_file": "/etc/token"}},
            {"vault-in-the-clear"},
        ),
    ],
)
def test_each_fault_is_named(layout: Path, sections: dict[str, Any], codes: set[str]) -> None:
    assert found(layout, **sections) == codes


@pytest.mark.parametrize(
    ("url", "codes"),
    [
        ("postgresql:///ambry", set()),
        ("postgresql://localhost/ambry", set()),
        ("postgresql://db/ambry", {"metadata-in-the-clear"}),
        ("postgresql://db/ambry?sslmode=prefer", {"metadata-in-the-clear"}),
        ("postgresql://db/ambry?sslmode=require", {"metadata-unverified"}),
        ("postgresql://db/ambry?sslmode=verify-full", set()),
        ("postgresql://a:hunter2@db/ambry?sslmode=verify-full", {"password-in-configuration"}),
        ("postgresql://db/ambry?sslmode=verify-full&password=hunter2", {"password-in-configuration"}),
    ],
)
def test_the_database_of_the_metadata_is_asked_in_tls_by_somebody_who_has_no_password_in_the_open(
    layout: Path, url: str, codes: set[str]
) -> None:
    assert found(layout, metadata={"engine": "postgresql", "url": url}) == codes


def test_files_of_secrets_are_looked_at(layout: Path) -> None:
    place = layout.parent
    access = {"secret_file": str(place / "url.secret")}
    assert found(layout, access=access) == set()
    assert found(layout, access=access, modes={"url.secret": 0o644}) == {"secret-readable"}
    url = {"engine": "postgresql", "url": "postgresql://a:hunter2@localhost/x"}
    assert "secret-readable" in found(layout, metadata=url, modes={"f.toml": 0o644})
    assert found(layout, modes={"metadata-dc1.sqlite": 0o644}) == {"readable-by-others"}
    assert found(layout, modes={"metadata-dc1.sqlite": 0o644, "": 0o700}) == set(), "nobody else comes there"


def test_master_keys_lie_on_another_disk_than_what_they_wrap(layout: Path) -> None:
    encryption = {"provider": "file", "path": str(layout.parent / "master.keys")}
    assert found(layout, encryption=encryption) == {"master-keys-beside-data"}
    assert found(layout, encryption=encryption, devices={"master.keys": 2}) == set()
