"""`ambry doctor` over configurations, a whole cluster's directory, and processes that run with them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ambry.client.accounts import AccountInfo, ContainerInfo
from ambry.rest.accounts import AccountSettings, ContainerSettings
from deploy.certificates import CertificateAuthority
from deploy.container_settings import judge
from deploy.doctor import EXIT_DANGER, EXIT_WARNING, doctor
from deploy.local_directory import LocalDirectory
from deploy.local_layout import Options, new_shape
from deploy.local_processes import find, wait_until

SECRET = "hunter2-of-the-database"


@pytest.fixture
def cluster(tmp_path: Path) -> LocalDirectory:
    """A directory with keys and certificates, of which nothing runs."""
    local = LocalDirectory(tmp_path / "c")
    # Nothing listens there: whoever asks is refused at once.
    local.create(lambda: new_shape(Options(auth=True, tls=True, port_base=1_000, datacenters=1), cluster="c"))
    local.write_files()
    return local


def run(*arguments: object) -> Result:
    return CliRunner().invoke(doctor, [str(each) for each in arguments])


def found(*arguments: object) -> dict[str, set[str]]:
    """The codes of what was found, by the name of the directory or of the process."""
    told = json.loads(run(*arguments, "--output", "json").stdout)
    return {
        (place.parent if place.suffix == ".toml" else place).name: {each["code"] for each in one["findings"]}
        for one in told
        for place in (Path(one["config"]),)
    }


@contextlib.contextmanager
def running_with(config: Path, *more: str, **environment: str) -> Iterator[None]:
    """A process that says it runs with this configuration."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", "-m", "frontend", "--config", str(config), *more]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **environment})
    try:
        assert wait_until(lambda: find(process.pid, config) is not None, 60.0)
        yield
    finally:
        process.communicate()


def test_a_cluster_as_it_is_made_has_nothing_dangerous_in_it(cluster: LocalDirectory) -> None:
    result = run("--dir", cluster.path)
    assert result.exit_code == EXIT_WARNING, result.output
    assert "0 dangers, 1 warning" in result.output
    assert found("--dir", cluster.path) == {
        "c": {"containers-unasked"},
        "dc1-f1": {"master-keys-beside-data", "audit-not-required", "not-running"},
        **{f"dc1-n{number}": {"not-running"} for number in (1, 2, 3)},
    }


def test_what_was_opened_to_others_is_told(cluster: LocalDirectory) -> None:
    cluster.path.chmod(0o777)
    cluster.access.key_file.chmod(0o644)
    cluster.tls.directory.joinpath("datanode-dc1-n1.key").chmod(0o640)
    told = found("--dir", cluster.path)
    assert {"secret-readable", "directory-writable"} <= told["c"]
    assert "secret-readable" in told["dc1-n1"] and "secret-readable" not in told["dc1-n2"]
    assert run("--dir", cluster.path).exit_code == EXIT_DANGER


def test_certificates_are_read(cluster: LocalDirectory) -> None:
    certs = cluster.tls.directory
    for name in ("crt", "key"):
        certs.joinpath(f"datanode-dc1-n2.{name}").replace(certs / f"datanode-dc1-n1.{name}")
    certs.joinpath("datanode-dc1-n3.crt").write_bytes(certs.joinpath("frontend-dc1-f1.crt").read_bytes())
    told = found("--dir", cluster.path)
    assert "certificate-of-another-node" in told["dc1-n1"]
    assert {"certificate-unreadable", "secret-missing"} <= told["dc1-n2"]
    assert {"certificate-of-another-key", "certificate-of-another-node"} <= told["dc1-n3"]


def test_revoked_expired_and_foreign_certificates_are_told(cluster: LocalDirectory, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = CertificateAuthority(cluster.tls.directory, now=now)
    authority.revoke("datanode-dc1-n1")
    CertificateAuthority(cluster.tls.directory, now=now - timedelta(days=500)).rotate("datanode-dc1-n2")
    foreign = CertificateAuthority(tmp_path / "foreign", now=now)
    foreign.init("c")
    cluster.tls.directory.joinpath("authority.crt").write_bytes(foreign.certificate_file.read_bytes())
    told = found("--dir", cluster.path)
    assert "certificate-revoked" in told["dc1-n1"]
    assert "certificate-expired" in told["dc1-n2"]
    assert all("certificate-of-another-authority" in told[f"dc1-n{number}"] for number in (1, 2, 3))


def test_a_running_process_is_looked_at_with_what_it_was_told(cluster: LocalDirectory) -> None:
    config = cluster.path / "dc1-f1" / "config.toml"
    url = f"postgresql://ambry:{SECRET}@db.example/x"
    with running_with(config, "--set", "metadata.engine=postgresql", "--set", f"metadata.url={url}"):
        assert {"secret-in-arguments", "metadata-in-the-clear"} <= found("--config", config)["dc1-f1"]
        assert SECRET not in run("--config", config).output
    with running_with(config, AMBRY_METADATA__ENGINE="postgresql", AMBRY_METADATA__URL=url):
        assert {"secret-in-environment", "metadata-in-the-clear"} <= found("--config", config)["dc1-f1"]
        assert SECRET not in run("--config", config).output


def test_what_is_no_configuration_is_told(tmp_path: Path) -> None:
    config = tmp_path / "x.toml"
    for text, said in (
        ("", "of no role"),
        ("[frontend", "not valid TOML"),
        ('[node]\nnmae = "x"', "did you mean node.name?"),
    ):
        config.write_text(text)
        result = run("--config", config)
        assert (result.exit_code, said in result.output) == (EXIT_DANGER, True), result.output
    assert run().exit_code == 2
    assert run("--dir", tmp_path).exit_code == 1


def test_containers_are_judged_by_what_they_say() -> None:
    def codes(account: AccountSettings, container: ContainerSettings) -> set[str]:
        one = ContainerInfo(name="c", id=1, account_id=1, settings=container)
        return {each.code for each in judge(AccountInfo(name="a", id=1, settings=account, containers=(one,)))}

    assert codes(AccountSettings(quota_bytes=1), ContainerSettings()) == set()
    assert codes(AccountSettings(), ContainerSettings(quota_bytes=1)) == set()
    assert codes(AccountSettings(), ContainerSettings()) == {"no-quota"}
    open_to_all = ContainerSettings(
        quota_bytes=1, default_durability="memory", is_private=False, access_control_allow_origin="*"
    )
    assert codes(AccountSettings(), open_to_all) == {"durability-memory", "public", "any-origin"}
