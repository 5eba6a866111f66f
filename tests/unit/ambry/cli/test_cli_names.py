"""`ambry ls`, `ambry name`, and names in the commands for blobs, against a frontend with a metadata store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ambry import AmbryClient, NameRef
from ambry.cli.main import cli

pytestmark = pytest.mark.usefixtures("here")


def run(*args: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, args, input=stdin, prog_name="ambry")


def said(*args: str, stdin: bytes | None = None) -> str:
    done = run(*args, stdin=stdin)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_name_stands_wherever_an_id_does(here: Path) -> None:
    (here / "model.bin").write_bytes(b"bytes")
    blob = said("put", "model.bin", "--name", "team/fraud", "--meta", "run=17").strip()
    assert said("name", "resolve", "team/fraud").strip() == blob
    assert json.loads(said("head", "team/fraud", "--json"))["name"] == "team/fraud"
    assert said("cat", "ambry://default/default/team/fraud", "--range", "1-2") == "yt"
    said("get", "team/fraud", "-o", "copy")
    assert (here / "copy").read_bytes() == b"bytes"
    said("ttl", "team/fraud", "forever")
    said("rm", "team/fraud")
    assert run("head", "team/fraud").exit_code == 4
    said("undelete", "team/fraud")
    (here / "model.bin").unlink()
    said("get", "team/fraud")
    assert (here / "model.bin").read_bytes() == b"bytes"
    missing = run("get", "team/fruad")
    assert (
        missing.exit_code == 3
        and "there is no name 'team/fruad' in the container default/default (request" in missing.stderr
    )
    assert run("rm", "team/fruad").exit_code == 3 and run("rm", "-f", "team/fruad").exit_code == 0


def test_a_blob_without_a_file_name_is_saved_under_its_own(here: Path) -> None:
    said("put", "-", "--name", "piped/part.csv", stdin=b"a,b")
    said("get", "piped/part.csv")
    assert (here / "part.csv").read_bytes() == b"a,b"


def test_several_files_go_below_one_name(here: Path) -> None:
    for file in ("a 1", "b"):
        (here / file).write_bytes(file.encode())
    lines = said("put", "a 1", "b", "--name", "several/", "--output", "json").splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["several/a 1", "several/b"]
    said("put", "a 1", "--name", "ambry://default/default/several/more/")
    assert said("ls", "several/").splitlines() == [
        "ambry://default/default/several/a%201",
        "several/b",
        "ambry://default/default/several/more/a%201",
    ]
    for wrong in (("a 1", "b", "--name", "x"), ("-", "--name", "x/"), ("b", "./b", "--name", "x/")):
        assert run("put", *wrong, stdin=b"").exit_code == 2
    assert "NAME" in said("put", "b", "--name", "several/b", "--output", "table").splitlines()[0]


def test_who_may_let_a_name_point_elsewhere(here: Path) -> None:
    (here / "f").write_bytes(b"1")
    etag = json.loads(said("put", "f", "--name", "cas", "--if-absent", "--json"))["etag"]
    refused = run("put", "f", "--name", "cas", "--if-absent")
    assert refused.exit_code == 1 and "--if-absent" in refused.stderr and "x-ambry" not in refused.stderr
    (here / "f").write_bytes(b"2")
    said("put", "f", "--name", "cas", "--if-match", etag)
    assert run("put", "f", "--name", "cas", "--if-match", etag).exit_code == 1
    assert len(said("name", "history", "cas").splitlines()) == 3
    assert run("put", "f", "--if-absent").exit_code == 2


def test_names_are_bound_renamed_and_brought_back(here: Path) -> None:
    blob = said("put", "-", "--name", "move/a", stdin=b"1").strip()
    assert json.loads(said("name", "bind", "move/b", "move/a", "--json"))["id"] == blob
    refused = run("name", "rename", "move/a", "move/b")
    assert refused.exit_code == 1 and "--overwrite" in refused.stderr and "x-ambry" not in refused.stderr
    said("name", "rename", "move/a", "move/b", "--overwrite", "-q")
    assert said("ls", "move/") == "move/b\n"
    moves = [json.loads(line) for line in said("name", "history", "move/a", "--json").splitlines()]
    assert [(each["deleted"], each["id"]) for each in moves] == [(True, None), (False, blob)]
    said("rm", "move/b")
    said("name", "undelete", "move/b")
    assert run("name", "undelete", "move/b").exit_code == 1
    assert run("name", "bind", "move/b", blob[:-1]).exit_code == 2


def test_a_list_has_columns_that_stay_where_they_are(here: Path) -> None:
    for name in ("list/a", "list/deep/1", "list/deep/2"):
        said("put", "-", "--name", name, "--ttl", "1h", stdin=b"12345")
    lines = said("ls", "list/", "-l", "--delimiter", "/").splitlines()
    assert [line.split()[-1] for line in lines] == ["NAME", "list/a", "list/deep/"]
    assert {line.index(line.split()[-1]) for line in lines} == {120} and lines[1].split()[0] == "5"
    assert said("ls", "list/", "-n", "2").splitlines() == ["list/a", "list/deep/1"]
    found = [json.loads(line) for line in said("ls", "list/", "--delimiter", "/", "--json").splitlines()]
    assert found[0]["uri"] == "ambry://default/default/list/a" and found[0]["expires"] is not None
    assert found[1] == {"prefix": "list/deep/", "uri": "ambry://default/default/list/deep/"}
    empty = run("ls", "nothing/")
    assert (empty.exit_code, empty.stdout, empty.stderr) == (0, "", "ambry: there is no name in nothing/\n")
    assert run("ls", "nothing/", "-q").stderr == ""
    assert run("ls", "ambry://default/never/").exit_code == 2


def test_another_container_is_chosen_by_options_environment_or_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    said("put", "-", "--name", "there", "--account", "ml", "--container", "models", stdin=b"1")
    assert said("ls", "ambry://ml/models/") == "ambry://ml/models/there\n"
    assert run("head", "there").exit_code == 3
    monkeypatch.setenv("AMBRY_ACCOUNT", "ml")
    monkeypatch.setenv("AMBRY_CONTAINER", "models")
    assert said("ls", "ambry://ml/models/") == "there\n" and said("cat", "there") == "1"


def test_a_cluster_that_is_not_there_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMBRY_ENDPOINTS", "http://127.0.0.1:9")
    for args in (("ls",), ("ls", "-l"), ("name", "resolve", "a"), ("get", "a"), ("name", "history", "a")):
        failed = run(*args)
        assert (
            failed.exit_code == 5
            and failed.stderr.startswith("ambry: cannot connect")
            and failed.stderr.count("\n") == 1
            and "or name others: --endpoint, or AMBRY_ENDPOINTS" in failed.stderr
            and failed.stdout == ""
        )


CHARACTERS = st.one_of(
    st.sampled_from([chr(code) for code in range(1, 128)]),
    st.sampled_from(["/", "//", ".", "..", "%2F", "~", "-", "😀", "ü", "u\u0308", "\u202e"]),
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
)
"""No NUL: an argument of a process cannot hold one."""
NAMES = st.lists(CHARACTERS, min_size=1, max_size=30).map("".join)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
def test_what_ls_prints_can_be_pasted_back(url: str, name: str) -> None:
    with AmbryClient(url) as client:
        blob = client.put(name.encode(), name=NameRef(name)).id
        listed = said("ls", str(NameRef(name, "default", "default"))).splitlines()
        (printed,) = [line for line in listed if client.resolve(line) == blob]
        assert (
            run("cat", printed).stdout_bytes == name.encode() and printed.isprintable() and printed.split() == [printed]
        )
        assert said("name", "resolve", "--", name).strip() == str(blob) or name.startswith("ambry://")
        said("rm", printed)
        assert not client.exists(NameRef(name))
