"""`ambry usage` against a frontend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ambry import AmbryClient, AsyncAmbryClient
from ambry.cli.main import cli
from tests.support.named_frontend import named_frontend


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with named_frontend(tmp_path / "m") as found:
        yield found


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="ambry", env={"AMBRY_ENDPOINTS": url, "AMBRY_ACCOUNT": "ml"})


def test_what_was_asked_for_is_shown_by_container(url: str) -> None:
    assert run(url, "account", "set", "ml", "--quota-bytes", "10MiB", "--quota-blobs", "7").exit_code == 0
    assert run(url, "container", "set", "models", "--quota-blobs", "5").exit_code == 0
    with AmbryClient([url], account="ml", container="models") as client:
        blob = client.put(b"hello")
        client.get(blob.id)
        report = client.usage()
    [account] = [each for each in report.accounts if each.account == "ml"]
    assert (account.quota_bytes, account.quota_blobs) == (10 << 20, 7)
    [models] = [each for each in report.containers if each.container == "models"]
    assert models.requests >= 2 and models.bytes_in == 5 and models.quota_blobs == 5
    table = run(url, "usage")
    assert table.exit_code == 0, table.output
    assert "REQUESTS" in table.output and "ml/models" in table.output
    lines = [json.loads(line) for line in run(url, "usage", "--json").output.splitlines()]
    assert [line["quota_blobs"] for line in lines if line["container"] == "models"] == [5]
    by_key = run(url, "usage", "--keys")
    assert by_key.exit_code == 0 and "NAME" in by_key.output


def test_quotas_of_accounts_are_shown_and_an_empty_table_says_why(url: str) -> None:
    """The command showed no account's quota anywhere, and to a key for some names a header over nothing."""
    assert run(url, "account", "set", "ml", "--quota-bytes", "10MiB").exit_code == 0
    shown = run(url, "usage", "--accounts", "--account", "ml")
    assert shown.exit_code == 0 and [line.split() for line in shown.output.splitlines()] == [
        ["BYTES", "OF", "BLOBS", "OF", "ACCOUNT"], ["0", str(10 << 20), "0", "-", "ml"],
    ]  # fmt: skip
    assert json.loads(run(url, "usage", "--accounts", "--account", "ml", "--json").output)["quota_bytes"] == 10 << 20
    [line] = [line.split() for line in run(url, "account", "ls").output.splitlines() if line.endswith("ml")]
    assert line[3:] == [str(10 << 20), "-", "ml"]
    assert run(url, "usage", "--accounts", "--keys").exit_code == 2
    none = run(url, "usage", "--accounts", "--account", "nowhere")
    assert none.exit_code == 0 and "`ambry key show`" in none.stderr


async def test_the_awaiting_client_has_it_too(url: str) -> None:
    async with AsyncAmbryClient([url]) as client:
        assert (await client.usage()).at_ms
