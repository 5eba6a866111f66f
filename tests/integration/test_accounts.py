"""Accounts and containers over real frontends: several of a datacenter, several processes of one, and without their store."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ambry.cli.main import cli
from ambry.errors import AccountNotFound, AlreadyExists, ContainerNotFound, UpdateConflict
from ambry.rest.accounts import AccountStatus
from tests.support.clusters import running_cluster, shared_cluster
from tests.support.rest import call, put
from tests.support.twins import Twins
from tests.support.waiting import eventually

MODELS = {"x-ambry-target-account-name": "team", "x-ambry-target-container-name": "models"}


@pytest.fixture(scope="module")
def urls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two frontends of one datacenter, of two processes each."""
    with shared_cluster(
        request,
        tmp_path_factory,
        datacenters=1,
        frontends=2,
        partitions=2,
        overrides={"frontend": ["frontend.workers=2", "frontend.lame_duck_s=0.1"]},
    ) as cluster:
        yield [member.url for member in cluster.frontends("dc1")]


def post(url: str, path: str, value: Any, headers: dict[str, str] | None = None) -> Any:
    answer = call(
        url, "POST", path, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})}
    )
    assert answer.status == 200, answer.body
    return answer.json()


def test_a_change_is_live_on_every_process_of_every_frontend(urls: list[str]) -> None:
    made = post(
        urls[0], "/accounts", {"accounts": [{"accountName": "team", "containers": [{"containerName": "models"}]}]}
    )
    [account] = made["accounts"]
    [container] = account["containers"]
    blob = put(urls[1], b"hello", MODELS)
    for status, answers in (("INACTIVE", 403), ("ACTIVE", 200)):
        change = {"containers": [{"containerId": container["containerId"], "status": status}]}
        post(urls[0], "/accounts/containers", change, {"x-ambry-target-account-id": str(account["accountId"])})
        for url in urls:
            # A new connection each, so that every process is asked.
            eventually(
                lambda url=url, answers=answers: all(  # type: ignore[misc]
                    call(url, "GET", f"/{blob}").status == answers for _ in range(12)
                ),
                f"{url} knows that it is {status}",
            )


@pytest.mark.fault
def test_f34_without_its_metadata_store_a_frontend_serves_what_it_knows(tmp_path: Path) -> None:
    """The store is a file in a directory that is not there, until it is."""
    directory = tmp_path / "not" / "there"
    with running_cluster(
        tmp_path,
        datacenters=1,
        partitions=2,
        # Where containers can be encrypted nothing is written before it is known whether they are.
        overrides={
            "frontend": [
                f"metadata.path={directory / 'metadata.sqlite'}",
                "metadata.timeout_ms=3000",
                "encryption.provider=",
            ]
        },
    ) as cluster:
        [frontend] = cluster.frontends("dc1")
        blob = put(frontend.url, b"hello")
        assert call(frontend.url, "GET", f"/{blob}").body == b"hello"
        unknown = call(frontend.url, "POST", "/", b"hello", MODELS)
        assert unknown.status == 503 and unknown.headers["retry-after"]
        # Whether it is locked is not known, so nothing of it is deleted.
        assert call(frontend.url, "DELETE", f"/{blob}").status == 503
        directory.mkdir(parents=True)
        eventually(
            lambda: call(frontend.url, "DELETE", f"/{blob}").status == 202, "the store is found again", timeout_s=30
        )
        post(
            frontend.url,
            "/accounts",
            {"accounts": [{"accountName": "team", "containers": [{"containerName": "models"}]}]},
        )
        assert put(frontend.url, b"hello", MODELS)


@pytest.fixture(params=["sync", "async"])
def twins(request: pytest.FixtureRequest) -> Iterator[Twins]:
    made = Twins(request.param)
    yield made
    made.close()


def test_both_clients_make_change_and_tell(urls: list[str], twins: Twins) -> None:
    client = twins.connect(urls[0])
    name = f"made-by-{twins.kind}"
    made = client.create_account(name)
    with pytest.raises(AlreadyExists):
        client.create_account(name)
    container = client.create_container(name, "models", ttl_required=True, quota_bytes=1 << 20)
    assert (container.account_id, container.settings.quota_bytes) == (made.id, 1 << 20)
    changed = client.update_container(name, "models", quota_bytes=None, snapshot_version=1)
    assert (changed.settings.ttl_required, changed.settings.quota_bytes) == (True, None)
    with pytest.raises(UpdateConflict):
        client.update_container(name, "models", ttl_required=False, snapshot_version=1)
    assert client.container(name, "models") == changed
    assert client.account(name).containers == (changed,)
    assert client.update_account(name, status="INACTIVE").settings.status is AccountStatus.INACTIVE
    assert name in [account.name for account in client.accounts()]
    with pytest.raises(ContainerNotFound):
        client.container(name, "nothing")
    with pytest.raises(AccountNotFound):
        client.account("nobody")


def test_the_commands_make_change_and_tell(urls: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("AMBRY_ENDPOINTS", urls[0])

    def run(*args: str) -> Result:
        return CliRunner().invoke(cli, args, prog_name="ambry")

    assert run("account", "create", "typed").exit_code == 0
    made = run("container", "create", "models", "--account", "typed", "--ttl-required", "--quota-bytes", "1KiB")
    assert made.exit_code == 0, made.output
    lock = ("container", "set", "models", "--account", "typed", "--lock-until", "2999-01-01", "--output", "json")
    settings = json.loads(run(*lock).stdout)["settings"]
    assert (settings["ttlRequired"], settings["quotaBytes"]) == (True, 1024)
    shorter = run("container", "set", "models", "--account", "typed", "--lock-until", "2998-01-01")
    assert shorter.exit_code == 1 and "never shorter" in shorter.output
    assert "models" in run("container", "ls", "--account", "typed").stdout
    assert "ttlRequired" in run("container", "show", "models", "--account", "typed").stdout
    assert "typed" in run("account", "ls").stdout and "models" in run("account", "show", "typed").stdout
    assert run("account", "show", "nobody").exit_code == 3
    assert "INACTIVE" in run("account", "set", "typed", "--status", "INACTIVE").stdout


def test_f40_uploads_side_by_side_over_all_processes_never_pass_the_quota(urls: list[str]) -> None:
    """Four processes, each with its own share of the count."""
    most, name = 1 << 20, {"x-ambry-target-account-name": "bounded", "x-ambry-target-container-name": "models"}
    container = {"containerName": "models", "quotaBytes": most}
    post(urls[0], "/accounts", {"accounts": [{"accountName": "bounded", "containers": [container]}]})
    for url in urls:
        eventually(lambda url=url: call(url, "POST", "/", b"", name).status == 201, f"{url} knows of it")  # type: ignore[misc]
    sizes = [20_000 + 997 * number for number in range(80)]
    answers: list[tuple[int, int]] = []

    def client(number: int) -> None:
        for place in range(number, len(sizes), 8):
            size = sizes[place]
            body: Any = bytes(size) if place % 2 else iter([bytes(size // 2), bytes(size - size // 2)])
            answers.append((size, call(urls[place % 2], "POST", "/", body, name).status))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(sizes) and {status for _, status in answers} == {201, 429}
    stored = sum(size for size, status in answers if status == 201)
    assert most // 2 < stored <= most
