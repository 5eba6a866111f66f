"""`ambry encryption` against a frontend with a provider of master keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ambry import AmbryClient, TransferConfig
from ambry.cli.main import cli
from tests.support.content import content
from tests.support.masters import TroubledProvider
from tests.support.named_frontend import named_frontend


class Shell:
    """Commands for one frontend, and its provider."""

    def __init__(self, url: str, provider: TroubledProvider) -> None:
        self.url = url
        self.provider = provider

    def __call__(self, *arguments: str, typed: str = "") -> Result:
        return CliRunner().invoke(
            cli, arguments, input=typed, prog_name="ambry", env={"AMBRY_ENDPOINTS": self.url, "AMBRY_ACCOUNT": "ml"}
        )


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    provider = TroubledProvider()
    with named_frontend(tmp_path / "m", provider) as url:
        yield Shell(url, provider)


def test_keys_are_made_rotated_wrapped_anew_and_deleted(shell: Shell) -> None:
    made = shell("container", "create", "secret one", "--encrypted")
    assert made.exit_code == 0, made.output
    assert "held" in shell("encryption", "show").output
    rotated = shell("encryption", "rotate", "ml/secret one")
    assert "ml/secret one: new blobs are encrypted" in rotated.output
    shell.provider.versions = ["1", "2"]
    rewrapped = shell("encryption", "rewrap", "--step", "1")
    assert rewrapped.exit_code == 0
    assert "master key 2: 2 keys wrapped anew, 0 were already, 0 stay as they are" in rewrapped.output
    keys = [json.loads(line) for line in shell("encryption", "show", "ml/secret one", "--json").output.splitlines()]
    assert [(key["version"], key["current"], key["master_version"]) for key in keys] == [
        ("1.1", False, "2"),
        ("2.1", True, "2"),
    ]
    assert shell("container", "show", "ml/secret one").output == shell("container", "show", "secret one").output
    refused = shell("encryption", "delete-key", "ml/secret one", "--yes")
    assert refused.exit_code == 2 and "set its status to INACTIVE first" in refused.output
    assert shell("container", "set", "ml/secret one", "--status", "INACTIVE").exit_code == 0
    doubted = shell("encryption", "delete-key", "secret one", typed="secret one\n")
    assert doubted.exit_code == 1 and "nothing was deleted" in doubted.output
    nobody = shell("encryption", "delete-key", "secret one")
    assert nobody.exit_code == 2 and "nobody is there to ask: nothing was deleted; --yes does it" in nobody.output
    unknown = shell("encryption", "delete-key", "secret one", "--version", "7.1", typed="ml/secret one\n")
    assert unknown.exit_code == 3 and "never had a key 7.1" in unknown.output and "Type" not in unknown.output
    gone = shell("encryption", "delete-key", "secret one", typed="ml/secret one\n")
    assert gone.exit_code == 0 and gone.output.count("deleted for ever 2") == 2


def test_what_cannot_be_wrapped_anew_is_a_failure(shell: Shell) -> None:
    assert shell("container", "create", "secret", "--encrypted").exit_code == 0
    shell.provider.versions = ["2"]
    failed = shell("encryption", "rewrap")
    assert failed.exit_code == 1 and "no version 1 of the master key any more" in failed.output
    shell.provider.away = True
    assert "nobody is there" in shell("encryption", "show").output


def test_a_large_file_goes_into_an_encrypted_container_in_parts(shell: Shell, tmp_path: Path) -> None:
    assert shell("container", "create", "secret", "--encrypted").exit_code == 0
    file = tmp_path / "large.bin"
    file.write_bytes(content(3, (2 << 20) + 5))
    with AmbryClient(shell.url, account="ml", container="secret") as client:
        info = client.put_file(file, transfer=TransferConfig(threshold=1 << 20, part_size=1 << 20))
        assert client.get(info.id).read() == file.read_bytes()
        assert client.head(info.id).etag.endswith('-3"')
    assert not file.with_name("large.bin.ambry-upload").exists()
