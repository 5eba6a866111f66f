"""Uploads in parts in both clients, against a frontend with a metadata store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count

import pytest
from click.testing import CliRunner

from ambry import AlreadyExists, AmbryClient, InvalidRequest, PreconditionFailed
from ambry.cli.main import cli
from tests.support.named_frontend import named_frontend
from tests.support.twins import Twins

_numbers = count()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with named_frontend(tmp_path_factory.mktemp("meta") / "meta.sqlite") as running:
        yield running


@pytest.fixture
def name() -> str:
    return f"uploads/ü {next(_numbers)}"


def test_an_upload_that_goes_on_by_its_id_has_the_name_that_it_began_with(url: str, name: str, twins: Twins) -> None:
    """The id was said to be all that is needed, and made a blob that nobody could find."""
    client = twins.connect(url)
    with AmbryClient(url) as admin:
        admin.create_container("default", f"c{name[-1]}{twins.kind}")
    ref = f"ambry://default/c{name[-1]}{twins.kind}/{name.replace(' ', '%20')}"
    begun = client.start_upload(name=ref)
    begun.write_part(1, b"part")
    info = client.resume_upload(begun.id).complete()
    assert info.name == name and client.get_bytes(ref) == b"part"
    assert client.resume_upload(begun.id).complete().name == name, "again is the same"


def test_what_must_hold_of_the_name_is_said_when_it_goes_on(url: str, name: str, twins: Twins) -> None:
    client = twins.connect(url)
    there = client.put(b"there", name=name)
    for said, error in (({"if_absent": True}, AlreadyExists), ({"if_match": '"other"'}, PreconditionFailed)):
        begun = client.start_upload(name=name, **said)
        begun.write_part(1, b"part")
        with pytest.raises(error):
            client.resume_upload(begun.id, **said).complete()
        assert client.resolve(name) == there.id
    begun = client.start_upload()
    with pytest.raises(InvalidRequest, match="is for none"):
        client.resume_upload(begun.id, if_absent=True)
    assert client.resume_upload(begun.id).abort() is None


def test_the_steps_of_the_command_give_a_name(url: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMBRY_ENDPOINTS", url)

    def run(*args: str) -> str:
        done = CliRunner().invoke(cli, args, prog_name="ambry")
        assert done.exit_code == 0, done.output
        return done.stdout

    upload = json.loads(run("upload", "begin", "--name", name, "--json"))["upload"]
    run("upload", "put", upload, "1", __file__)
    assert json.loads(run("upload", "complete", upload, "--if-absent", "--json"))["name"] == name
    with AmbryClient(url) as client:
        assert client.exists(name)
