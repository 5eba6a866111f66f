"""Secrets of every kind, planted in a running cluster, are found in no log, audit, metric, page, answer or place in /proc.

Right and wrong requests are made with them, and processes are made to fail in the middle of it.
"""

from __future__ import annotations

import json
import os
import re
import resource
import secrets
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import pytest

from ambry import AmbryClient, Timeout
from ambry.errors import AmbryError
from ambry.rest.access import Grant
from deploy.local_cluster import LocalCluster
from deploy.local_layout import Member
from tests.support.clusters import shared_cluster
from tests.support.files_below import files_below
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Machine:
    """A cluster, and every secret that it was given; `said` is what clients were answered."""

    cluster: LocalCluster
    secrets: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def frontend(self) -> Member:
        return self.cluster.frontends("dc1")[0]

    @property
    def admin(self) -> AmbryClient:
        return AmbryClient([self.frontend.url], key=self.secrets["admin key"])

    def ask(self, method: str, path: str, key: str = "", body: bytes = b"", **headers: str) -> str:
        """The answer, with its headers."""
        sent = {**headers, **({"Authorization": f"Bearer {key}"} if key else {})}
        connection = HTTPConnection("127.0.0.1", self.frontend.port, timeout=30)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            told = f"{answer.status}\n{answer.headers}\n{answer.read().decode('utf-8', 'replace')}"
        finally:
            connection.close()
        self.said.append(told)
        return told


def of_a_key(text: str) -> str:
    """The secret part of a key: the id may be told."""
    return text.split("_", 2)[2]


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with shared_cluster(request, tmp_path_factory, datacenters=1, nodes=1, partitions=1, auth=True) as cluster:
        made, directory = Machine(cluster), cluster.directory
        made.secrets["admin key"] = cluster.key or ""
        made.secrets["secret of signed URLs"] = (directory / "access.secret").read_text().strip()
        made.secrets["master key"] = (directory / "master.keys").read_text().split()[1]
        yield made


def use(machine: Machine) -> None:
    """Right and wrong requests, with secrets in all the places where clients put them."""
    with machine.admin as admin:
        made = admin.keys.create("reader", Grant(roles=("read", "write")))
        machine.secrets["key of a reader"] = of_a_key(made.text)
        rotated = admin.keys.rotate(made.info.id)
        machine.secrets["rotated key"] = of_a_key(rotated.text)
        admin.create_container("default", "sealed", encrypted=True)
    for name, key in (("right", rotated.text), ("revoked", made.text), ("wrong", made.text[:-4] + "AAAA")):
        idempotency = machine.secrets[f"idempotency key of a {name} request"] = "idem-" + secrets.token_hex(16)
        headers = {"x-ambry-idempotency-key": idempotency, "x-ambry-target-container-name": "sealed"}
        machine.ask("POST", "/", key, b"hello", **headers)
        machine.ask("POST", "/", key, b"another body", **headers)
        machine.ask("GET", "/accounts", key)
        machine.ask("GET", f"/nothing?key={key}", key)
        machine.ask("GET", f"/{key}", key)
        machine.ask("GET", "/", "", b"", **{"Authorization": f"Basic {key}"})
        machine.ask("GET", "/", "", b"", **{"Authorization": f"Bearer {key} {key}"})
        machine.ask(
            "GET", "/", "", b"", **{"x-ambry-key": key, "Cookie": f"key={key}", "Referer": f"http://x/?key={key}"}
        )
        machine.ask("PUT", f"/named/default/default/{key}", key, b"x", **{"x-ambry-ttl": key})
        machine.ask("POST", "/keys", key, json.dumps({"name": 5, "secret": key}).encode())
        machine.secrets[f"text of a {name} key"] = of_a_key(key)
    with machine.admin as admin:
        url = admin.presign("GET", admin.put(b"signed", ttl=None).id)
    machine.secrets["signature of a URL"] = signature(url)
    path = url.removeprefix(machine.frontend.url)
    machine.ask("GET", path)
    machine.ask("GET", path + "&more=1")
    machine.ask("PUT", path)


def signature(url: str) -> str:
    found = re.search(r"ambry-signature=([^&]+)", url)
    assert found is not None, url
    return found[1]


def make_fail(machine: Machine) -> None:
    """Refuse to start with secrets in the wrong place, lose a peer, end in the middle."""
    frontend = machine.frontend
    (node,) = machine.cluster.nodes("dc1")
    machine.cluster.kill(node.name, signal.SIGKILL)
    with machine.admin as admin, pytest.raises(AmbryError):
        admin.put(b"nobody takes it", ttl=None, timeout=Timeout(read=5, total=5))
    machine.cluster.start(node.name)
    database = machine.secrets["password of the database"] = "db-" + secrets.token_hex(16)
    url = f"postgresql://ambry:{database}@127.0.0.1:1/ambry?sslmode=disable"
    token = machine.secrets["token of a vault"] = "s." + secrets.token_hex(16)
    directory = machine.cluster.directory
    directory.joinpath("vault.token").write_text(token)
    directory.joinpath("vault.token").chmod(0o600)
    directory.joinpath("bad.keys").write_text("1 " + machine.secrets["master key"][:-1] + "\n")
    directory.joinpath("bad.keys").chmod(0o600)
    for name, wrong in {
        "database": ["metadata.engine=postgresql", f"metadata.url={url}"],
        "url": ["metadata.engine=postgresql", f"metadata.url=postgresql://ambry:{database}@[::1/x"],
        "vault": [
            "encryption.provider=vault", "encryption.url=http://127.0.0.1:1", "encryption.key=k",
            f"encryption.token_file={directory}/vault.token",
        ],
        "keys": ["encryption.provider=file", f"encryption.path={directory}/bad.keys"],
        "secret": [f"access.secret_file={directory}/admin.key"],
        "type": [f"frontend.port={database}"],
    }.items():  # fmt: skip
        config = directory / f"bad-{name}.toml"
        config.write_text(frontend.config.read_text())
        environment = {"AMBRY_FRONTEND__PORT": "0"}
        for key, _, value in (each.partition("=") for each in wrong):
            environment[f"AMBRY_{key.replace('.', '__').upper()}"] = value
        ended = start_and_end(config, environment)
        directory.joinpath(f"bad-{name}.said").write_text(ended)


def start_and_end(config: Path, environment: dict[str, str]) -> str:
    """What a frontend says until it gives up, or is stopped once it serves."""
    others = ("frontend.admin_port=0", "frontend.lame_duck_s=0", "log.file=", "audit.file=")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "frontend",
            "--config",
            str(config),
            *(item for each in others for item in ("--set", each)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "frontend ready" in line:
            process.send_signal(signal.SIGTERM)
    process.wait(60)
    return said


def pages(member: Member) -> Iterator[tuple[str, str]]:
    """Everything that its admin port shows."""
    listed = json.loads(page(member, "/"))
    for path in sorted(set(re.findall(r"/[a-z]+", json.dumps(listed))) | {"/metrics"}):
        try:
            yield f"{member.name}{path}", page(member, path)
        except OSError as error:
            yield f"{member.name}{path}", str(error)


def page(member: Member, path: str) -> str:
    with urllib.request.urlopen(member.admin_url + path, timeout=30) as answer:
        body: bytes = answer.read()
    return body.decode()


def shown(machine: Machine) -> Iterator[tuple[str, str]]:
    """All that others than the owner of a secret may come to see, and where."""
    directory = machine.cluster.directory
    named = ("admin.key", "admin.header", "access.secret", "master.keys", "vault.token", "bad.keys")
    own = {directory / name for name in named}
    for path, held in files_below(directory):
        if path not in own:
            yield str(path.relative_to(directory)), held.decode("latin-1")
    for member in machine.cluster.members:
        yield from pages(member)
    for name, pid in machine.cluster.describe().pids().items():
        for what in ("cmdline", "environ", "status"):
            yield f"{name} /proc/{what}", Path(f"/proc/{pid}/{what}").read_bytes().decode("latin-1")
    for number, told in enumerate(machine.said):
        yield f"answer {number}", told


def test_no_secret_is_shown_anywhere(machine: Machine) -> None:
    use(machine)
    make_fail(machine)
    eventually(lambda: "ready" in page(machine.frontend, "/readyz"), "the frontend is ready again")
    looked_at = dict(shown(machine))
    assert len(looked_at) > 40 and any("audit" in where for where in looked_at)
    assert all(len(secret) >= 20 for secret in machine.secrets.values()), machine.secrets.keys()
    # By an idempotency key the metadata store finds its row.
    found = [
        f"{what} in {where}"
        for what, secret in machine.secrets.items()
        for where, text in looked_at.items()
        if secret in text and not (what.startswith("idempotency") and ".sqlite" in where)
    ]
    assert found == [], "\n".join(found)


def test_no_process_leaves_a_core_dump_or_a_file_for_everybody(machine: Machine) -> None:
    for pid in machine.cluster.describe().pids().values():
        assert resource.prlimit(pid, resource.RLIMIT_CORE)[0] == 0
    assert stat.S_IMODE(machine.cluster.directory.stat().st_mode) == 0o700
    patterns = ("*.sqlite*", "data/**/*", "*.jsonl")
    made: dict[str, int] = {}
    for pattern in patterns:
        for path in machine.cluster.directory.rglob(pattern):
            with suppress(FileNotFoundError):  # it went meanwhile
                made[str(path)] = path.stat().st_mode
    files = {path: mode for path, mode in made.items() if stat.S_ISREG(mode)}
    assert files and {path: oct(mode) for path, mode in files.items() if mode & 0o007} == {}
