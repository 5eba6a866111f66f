"""The units and the image hold what docs and configurations say: users, sandbox, limits, time to drain, paths."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ambry.service.credentials import STATE
from datanode.config import DataNodeConfig
from frontend.config import FrontendConfig
from frontend.supervisor import MARGIN_S
from tests.support.sandbox import unit

ROOT = Path(__file__).resolve().parents[3]
ROLES = ("datanode", "frontend")
EXPOSURE_MAX = 15
"""Tenths, of `systemd-analyze security`: 10 is a service without any sandbox."""
SANDBOX = {
    "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes", "ProtectKernelModules": "yes", "ProtectKernelLogs": "yes", "ProtectControlGroups": "yes",
    "MemoryDenyWriteExecute": "yes", "CapabilityBoundingSet": "", "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "LimitCORE": "0", "UMask": "0077", "Type": "notify", "RestartPreventExitStatus": "2", "KillMode": "mixed",
}  # fmt: skip


def containerfile() -> list[tuple[str, str]]:
    """Its instructions, in their order."""
    text = (ROOT / "deploy" / "container" / "Containerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], " ".join(line.split(None, 1)[1].split())) for line in lines]


def last_stage() -> dict[str, str]:
    """The last of each instruction behind the last FROM."""
    found = containerfile()
    begins = max(place for place, (word, _) in enumerate(found) if word == "FROM")
    return dict(found[begins:])


@pytest.mark.parametrize("role", ROLES)
def test_a_unit_has_its_sandbox_and_a_user_of_its_own(role: str) -> None:
    found = unit(role)
    assert {key: found.get(key) for key in SANDBOX} == {key: [value] for key, value in SANDBOX.items()}
    assert found["User"] == found["Group"] == [f"ambry-{role}"]
    assert f'u ambry-{role} - "' in (ROOT / "deploy/systemd/ambry.sysusers.conf").read_text("utf-8")
    assert found["ExecStart"] == [f"/opt/ambry/bin/python -m {role} --config /etc/ambry/%i.toml"]
    assert importlib.util.find_spec(f"{role}.__main__") is not None


@pytest.mark.parametrize("role", ROLES)
def test_what_a_unit_has_made_at_its_start_is_where_doctor_expects_it(role: str) -> None:
    (made,) = unit(role)["StateDirectory"]
    assert Path("/var/lib", made).parent in STATE


def test_a_unit_waits_for_as_long_as_a_drain_may_take_and_lets_have_what_is_needed() -> None:
    front, node = FrontendConfig().frontend, DataNodeConfig()
    frontend_s, node_s = (float(unit(role)["TimeoutStopSec"][0]) for role in ("frontend", "datanode"))
    assert frontend_s > front.lame_duck_s + front.drain_timeout_s + 2 * MARGIN_S
    assert node_s > node.node.drain_timeout_s + 60, "and a checkpoint of all replicas"
    assert int(unit("frontend")["LimitNOFILE"][0]) > 2 * front.connections_max
    assert int(unit("datanode")["LimitNOFILE"][0]) > 2 * (node.node.connections_max + node.store.open_files_max)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze on this machine")
@pytest.mark.parametrize("role", ROLES)
def test_systemd_takes_a_unit_and_finds_little_that_it_may_do(role: str, tmp_path: Path) -> None:
    text = (ROOT / f"deploy/systemd/ambry-{role}@.service").read_text("utf-8")
    place = tmp_path / f"ambry-{role}@n1.service"
    place.write_text(text.replace("/opt/ambry/bin/python", sys.executable))
    for words in (["verify", "--man=no"], ["security", "--offline=yes", f"--threshold={EXPOSURE_MAX}"]):
        ran = subprocess.run(["systemd-analyze", *words, str(place)], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "Unknown" not in ran.stderr and "ignoring" not in ran.stderr, ran.stderr


def test_the_image_runs_as_nobody_special_and_stops_by_draining() -> None:
    found = last_stage()
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", found["USER"]), "a number: Kubernetes can see that it is not root"
    assert found["STOPSIGNAL"] == "SIGTERM"
    assert found["VOLUME"] == found["WORKDIR"] == "/var/lib/ambry"
    entry, said = json.loads(found["ENTRYPOINT"]), json.loads(found["CMD"])
    assert entry == ["/opt/ambry/bin/python", "-m"] and importlib.util.find_spec(f"{said[0]}.__main__") is not None
    health = re.fullmatch(r".* CMD (\[.*\])", found["HEALTHCHECK"])
    assert health is not None
    compile(json.loads(health[1])[2], "HEALTHCHECK", "exec")
    assert f"127.0.0.1:{dict(environment(found['ENV']))['AMBRY_NODE__ADMIN_PORT']}/healthz" in health[1]


def environment(text: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (each.partition("=") for each in text.split())]


def test_what_the_image_says_of_the_configuration_is_known_to_it() -> None:
    shapes = {"frontend": FrontendConfig(), "node": DataNodeConfig()}
    for name, _ in environment(last_stage()["ENV"]):
        if name.startswith("AMBRY_"):
            section, key = name.removeprefix("AMBRY_").lower().split("__")
            assert hasattr(getattr(shapes[section], section), key), name


def test_no_secret_comes_into_a_layer() -> None:
    """Copied is what is packaged, by name; of the rest of a working copy nothing reaches the builder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = {each.rstrip("*") for each in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    copied = {
        word for name, text in containerfile() if name == "COPY" and "--from" not in text for word in text.split()[:-1]
    }
    assert copied == packages | {"pyproject.toml", "README.md", "LICENSE"}
    allowed = (ROOT / ".containerignore").read_text("utf-8").splitlines()
    assert {line[1:] for line in allowed if line.startswith("!")} == copied and "*" in allowed
    assert not [
        text for word, text in containerfile() if word in ("ADD", "ARG", "ENV") and re.search(r"KEY|SECRET|TOKEN", text)
    ]
