"""A small authority: what it issues, takes back, and how another one takes its place."""

from __future__ import annotations

import errno
import itertools
import json
import os
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509

from ambry.service.tls import NodeIdentity, NodeRole, NodeTlsSection
from deploy import certificates as module
from deploy import pem, whole_file
from deploy.certificates import CertificateAuthority, CertificateError
from deploy.certs_commands import certs
from deploy.issued_certificates import KnownCertificates, read_issued
from deploy.pem import begun_blocks
from tests.support.handshake import lets_in
from tests.support.node_certificates import CLUSTER, authority, node_section


def copy(made: CertificateAuthority, to: Path, name: str) -> NodeTlsSection:
    """The files of a node as somebody carried them to it."""
    to.mkdir(exist_ok=True)
    for file in ("authority.crt", "revoked.pem", f"{name}.crt", f"{name}.key"):
        (to / file).write_bytes((made.directory / file).read_bytes())
        (to / file).chmod(0o600)
    return NodeTlsSection(*(str(to / file) for file in (f"{name}.crt", f"{name}.key", "authority.crt", "revoked.pem")))


def test_two_nodes_let_each_other_in_whichever_step_of_a_rotation_each_has_heard_of(tmp_path: Path) -> None:
    """A rotation wrote a list that the new authority signed alone, and nodes that had it turned away all of the old one's."""
    made = authority(tmp_path / "ca")
    for name in ("n1", "n2"):
        node_section(made, NodeRole.DATANODE, name)
    steps: list[tuple[NodeTlsSection, NodeTlsSection]] = []

    def given_out() -> None:
        place = tmp_path / f"step{len(steps)}"
        place.mkdir()
        steps.append((copy(made, place / "1", "datanode-n1"), copy(made, place / "2", "datanode-n2")))

    given_out()
    made.rotate_authority()
    given_out()
    for name in made.names():
        made.rotate(name)
    given_out()
    made.retire()
    given_out()
    for (one, (server, _)), (two, (_, client)) in itertools.product(enumerate(steps), repeat=2):
        if abs(one - two) <= 1:
            assert lets_in(server, client) == "", (one, two)
    assert lets_in(steps[3][0], steps[0][1]) != "", "what the authority before issued is over"


@pytest.mark.parametrize("when", ["before", "between"])
def test_what_was_taken_back_stays_so_through_a_rotation(tmp_path: Path, when: str) -> None:
    made = authority(tmp_path)
    server, client = node_section(made, NodeRole.DATANODE, "n1"), node_section(made, NodeRole.FRONTEND, "f1")
    if when == "before":
        made.revoke("frontend-f1")
    made.rotate_authority()
    if when == "between":
        assert lets_in(server, client) == ""
        made.revoke("frontend-f1")
    assert "revoked" in lets_in(server, client)
    assert made.is_revoked(made.read("frontend-f1"))
    made.rotate("datanode-n1")
    assert "revoked" in lets_in(server, client)
    made.retire()
    assert lets_in(server, client) != ""
    made.rotate("frontend-f1")
    assert lets_in(server, client) == ""
    made.revoke("frontend-f1")
    made.revoke("frontend-f1")
    assert "revoked" in lets_in(server, client)


def test_an_authority_is_retired_when_nothing_counts_on_it_any_more(tmp_path: Path) -> None:
    made = authority(tmp_path)
    with pytest.raises(CertificateError, match="none to retire"):
        made.retire()
    node_section(made, NodeRole.DATANODE, "n1")
    node_section(made, NodeRole.FRONTEND, "f1")
    made.issue("old", identity=None, hosts=["a"], days=1)
    made.rotate_authority()
    with pytest.raises(CertificateError, match="ambry certs retire"):
        made.rotate_authority()
    later = CertificateAuthority(tmp_path, now=datetime.now(UTC) + timedelta(days=2))
    later.rotate("datanode-n1")
    with pytest.raises(CertificateError, match="in use: frontend-f1; "):
        later.retire()
    later.revoke("frontend-f1")
    later.retire()
    assert len(x509.load_pem_x509_certificates(made.certificate_file.read_bytes())) == 1
    assert made.key_file.read_bytes().count(b"BEGIN") == made.revoked_file.read_bytes().count(b"BEGIN") == 1
    assert made.key_file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CertificateError, match="not trusted any more"):
        later.revoke("old")


@pytest.mark.parametrize("step", ["rotate_authority", "retire"])
def test_a_step_that_is_broken_off_anywhere_leaves_an_authority_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    replace = whole_file.replace
    for writes in range(3):
        made = authority(tmp_path / str(writes))
        section = node_section(made, NodeRole.DATANODE, "n1")
        if step == "retire":
            made.rotate_authority()
            made.rotate("datanode-n1")
        left = iter(range(writes))

        def break_off(path: Path, content: bytes, left: object = left, **how: Any) -> None:
            if next(left, None) is None:  # type: ignore[call-overload]
                raise OSError("no space left on device")
            replace(path, content, **how)

        with monkeypatch.context() as patch:
            patch.setattr(module, "replace", break_off)
            with pytest.raises(OSError):
                getattr(made, step)()
        assert lets_in(section, section) == ""
        made.rotate("datanode-n1")
        assert lets_in(section, section) == ""
        getattr(made, step)()
        assert lets_in(section, section) == ""


def test_where_the_key_of_the_authority_before_is_gone_it_can_be_retired_all_the_same(tmp_path: Path) -> None:
    made = authority(tmp_path)
    section = node_section(made, NodeRole.DATANODE, "n1")
    made.rotate_authority()
    made.key_file.write_bytes(pem.blocks(made.key_file.read_bytes())[0])
    with pytest.raises(CertificateError, match="has no key of the authority of"):
        made.revoke("datanode-n1")
    made.rotate("datanode-n1")
    made.retire()
    assert lets_in(section, section) == ""


def test_what_was_issued_before_a_rotation_can_be_taken_back_after_it(tmp_path: Path) -> None:
    """Only what stood under the name was known: after a rotation a stolen certificate was good to its end."""
    made = authority(tmp_path / "ca")
    server = node_section(made, NodeRole.DATANODE, "n1")
    node_section(made, NodeRole.FRONTEND, "f1")
    (tmp_path / "1").mkdir()
    stolen = copy(made, tmp_path / "1", "frontend-f1")
    made.rotate("frontend-f1")
    own = copy(made, tmp_path / "2", "frontend-f1")
    assert lets_in(server, stolen) == lets_in(server, own) == ""
    [serial] = made.revoke("frontend-f1", older=True)
    assert "revoked" in lets_in(server, stolen)
    assert lets_in(server, own) == ""
    assert [(each.name, each.state, each.current) for each in made.issued()] == [
        ("datanode-n1", "good", True),
        ("frontend-f1", "good", True),
        ("frontend-f1", "revoked", False),
    ]
    assert made.issued()[2].serial == serial
    made.rotate("frontend-f1")
    assert made.revoke(serial=made.issued()[2].serial) == [made.issued()[2].serial]
    assert "revoked" in lets_in(server, own)
    assert len(made.revoke("frontend-f1")) == 3, "all of a name"
    with pytest.raises(CertificateError, match="`ambry certs list` tells what was"):
        made.revoke(serial="0123")


def test_what_was_issued_before_the_authority_was_rotated_is_told_apart_and_taken_back_in_its_list(
    tmp_path: Path,
) -> None:
    made = authority(tmp_path)
    server, client = node_section(made, NodeRole.DATANODE, "n1"), node_section(made, NodeRole.FRONTEND, "f1")
    (tmp_path / "old").mkdir()
    old = copy(made, tmp_path / "old", "frontend-f1")
    made.rotate_authority()
    made.rotate("frontend-f1")
    assert len(made.revoke("frontend-f1")) == 2
    for section in (old, client):
        assert "revoked" in lets_in(server, section)
    made.rotate("datanode-n1")
    made.rotate("frontend-f1")
    made.retire()
    assert [each.state for each in made.issued()] == ["good", "untrusted", "good", "revoked", "untrusted"]


@pytest.mark.parametrize("again", ["rotate", "issue"])
def test_what_an_earlier_release_issued_can_be_taken_back_after_it_was_issued_anew(tmp_path: Path, again: str) -> None:
    """It was known by its file alone, which the first rotation replaced: a stolen one was good to its end."""
    made = authority(tmp_path / "ca")
    server = node_section(made, NodeRole.FRONTEND, "f1")
    node_section(made, NodeRole.DATANODE, "n1")
    made.issued_file.unlink()
    assert [(each.name, each.current) for each in made.issued()] == [("datanode-n1", True), ("frontend-f1", True)]
    (tmp_path / "1").mkdir()
    stolen = copy(made, tmp_path / "1", "datanode-n1")
    if again == "rotate":
        made.rotate("datanode-n1")
    else:
        node_section(made, NodeRole.DATANODE, "n1")
    own = copy(made, tmp_path / "2", "datanode-n1")
    assert [each.current for each in made.issued()] == [True, False, True]
    assert lets_in(server, stolen) == lets_in(server, own) == ""
    assert len(made.revoke("datanode-n1", older=True)) == 1
    assert "revoked" in lets_in(server, stolen) and lets_in(server, own) == ""
    assert len(made.revoke("datanode-n1")) == 2


@pytest.mark.parametrize("damage", ["nonsense before", "torn at its end", "an entry in the middle"])
def test_what_was_issued_and_cannot_be_read_hides_nothing_else_and_is_not_written_over(
    tmp_path: Path, damage: str
) -> None:
    made = authority(tmp_path)
    for name in ("a", "b", "c"):
        made.issue(name, identity=None, hosts=[name])
    assert made.unread() == []
    whole = made.issued_file.read_bytes()
    blocks = begun_blocks(whole)
    torn = {
        "nonsense before": b"nonsense\n" + whole,
        "torn at its end": whole[:-100],
        "an entry in the middle": blocks[0] + blocks[1][:200] + b"\n" + blocks[2],
    }[damage]
    made.issued_file.write_bytes(torn)
    assert len(made.unread()) == 1 and "issued.pem cannot be read" in made.unread()[0]
    assert {each.name for each in made.issued()} == {"a", "b", "c"}, "what stands under its name is known by that"
    assert len(made.revoke("a")) == 1 and made.is_revoked(made.read("a"))
    for change, name in ((made.rotate, "b"), (partial(made.issue, identity=None, hosts=["d"]), "d")):
        with pytest.raises(CertificateError, match=r"issued\.pem cannot be read.*backup"):
            change(name)
    assert made.issued_file.read_bytes() == torn


def test_revocation_passes_over_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    made = authority(tmp_path)
    for name in ("a", "b"):
        made.issue(name, identity=None, hosts=[name])
    (tmp_path / "b.crt").write_bytes(b"")
    (tmp_path / "empty.crt").write_bytes(b"")
    told = CliRunner().invoke(certs, ["revoke", "--dir", str(tmp_path), "a"])
    assert told.exit_code == 0 and "passed over: there is no certificate" in told.output, told.output
    assert [(each.name, each.state, each.current) for each in made.issued()] == [
        ("a", "revoked", True),
        ("b", "good", False),
    ]
    assert len(made.revoke("b")) == 1, "issued.pem knows it"
    made.issue("e", identity=None, hosts=["e"])
    told = CliRunner().invoke(certs, ["rotate", "--dir", str(tmp_path)])
    assert told.exit_code == 0 and str(tmp_path / "e.crt") in told.output, told.output


def test_what_is_issued_is_remembered_before_anybody_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = authority(tmp_path)
    written: list[str] = []
    monkeypatch.setattr(module, "replace", lambda path, content, **how: written.append(path.name))
    made.issue("front", identity=None, hosts=["a"])
    assert written == ["issued.pem", "front.key", "front.crt"]


def test_a_name_is_of_one_node_or_of_the_front(tmp_path: Path) -> None:
    """`issue front datanode-n1` took the place of that node's certificate and key."""
    made = authority(tmp_path)
    section = node_section(made, NodeRole.DATANODE, "n1")
    key = Path(section.key).read_bytes()
    with pytest.raises(
        CertificateError, match=r"of ambry://test/datanode/n1, which this one would replace: take another"
    ):
        made.issue("datanode-n1", identity=None, hosts=["a"])
    made.issue("operator-me", identity=None, hosts=["a"])
    with pytest.raises(CertificateError, match="a certificate of the front, which this one would replace"):
        node_section(made, NodeRole.OPERATOR, "me")
    assert Path(section.key).read_bytes() == key and lets_in(section, section) == ""
    made.issue("operator-me", identity=None, hosts=["b"])
    made.revoke("operator-me")
    node_section(made, NodeRole.OPERATOR, "me")
    assert [(each.name, each.state, each.hosts) for each in made.issued() if each.name == "operator-me"] == [
        ("operator-me", "good", ("127.0.0.1",)),
        ("operator-me", "revoked", ("b",)),
        ("operator-me", "revoked", ("a",)),
    ]


def test_what_was_taken_back_is_issued_anew_only_where_it_is_named(tmp_path: Path) -> None:
    """`ambry certs rotate` made a good certificate of what somebody had revoked."""

    def rotate(*names: str) -> list[str]:
        told = CliRunner().invoke(certs, ["rotate", "--dir", str(tmp_path), *names])
        assert told.exit_code == 0, told.output
        assert ("rotate datanode-gone" in told.stderr) == (not names)
        return [Path(line).name for line in told.stdout.splitlines()]

    made = authority(tmp_path)
    node_section(made, NodeRole.DATANODE, "n1")
    node_section(made, NodeRole.DATANODE, "gone", days=1)
    made.revoke("datanode-gone")
    assert rotate() == ["datanode-n1.crt"]
    made.rotate_authority()
    assert rotate() == ["datanode-n1.crt"]
    made.retire()
    assert rotate() == ["datanode-n1.crt"], "its authority's list is gone, and nobody takes it all the same"
    later = CertificateAuthority(tmp_path, now=datetime.now(UTC) + timedelta(days=2))
    assert {each.name: each.state for each in later.issued() if each.current} == {
        "datanode-gone": "untrusted",
        "datanode-n1": "good",
    }
    assert rotate("datanode-gone") == ["datanode-gone.crt"]


def test_files_are_readable_by_those_they_are_for_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        made = authority(tmp_path)
        made.issue("front", identity=None, hosts=["a"])
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "authority.crt": 0o644,
        "authority.key": 0o600,
        "front.crt": 0o644,
        "front.key": 0o600,
        "issued.pem": 0o644,
        "revoked.pem": 0o644,
    }


def test_a_full_disk_leaves_no_part_of_a_key_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = authority(tmp_path)
    made.issue("front", identity=None, hosts=["a"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for change in (lambda: made.rotate("front"), made.rotate_authority):
            with pytest.raises(OSError, match="No space left"):
                change()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["", ".", "a/b", "..", "a b", "n1\n", "-n1", "n" * 49, "n\u00e9", "a:b"])
def test_a_name_that_no_layout_takes_is_refused(tmp_path: Path, name: str) -> None:
    made = authority(tmp_path)
    with pytest.raises(CertificateError, match="cannot be the name of a node"):
        made.issue(f"datanode-{name}", identity=NodeIdentity(CLUSTER, NodeRole.DATANODE, name), hosts=[])
    with pytest.raises(CertificateError, match="cannot be the name of a node"):
        made.issue(name, identity=None, hosts=["a"])
    with pytest.raises(CertificateError, match="cannot be the name of a cluster"):
        CertificateAuthority(tmp_path / "other", now=datetime.now(UTC)).init(name)


@pytest.mark.parametrize(
    "host",
    [
        "https://a",
        "a:443",
        "a b",
        "",
        "-a",
        "a..b",
        "b\u00fccher.example",
        "a." + "b" * 64,
        "999.1.1.1",
        "0x7f.1",
        "127.1",
    ],
)
def test_a_host_that_is_none_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(CertificateError, match="is no host"):
        authority(tmp_path).issue("front", identity=None, hosts=[host])


@pytest.mark.parametrize("host", ["10.1.2.3", "::1", "localhost", "*.example.org", "a-1.example.org", "dc1_n1"])
def test_a_host_is_an_address_or_a_name_of_dns(tmp_path: Path, host: str) -> None:
    made = authority(tmp_path)
    made.issue("front", identity=None, hosts=[host])
    assert made.issued()[0].hosts == (host,)


def test_a_rotation_from_the_command_line(tmp_path: Path) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        told = CliRunner().invoke(certs, [arguments[0], "--dir", str(tmp_path), *arguments[1:]])
        assert told.exit_code == code, told.output
        return told.output

    assert "Keep" in run("init", "--cluster", CLUSTER)
    assert "datanode-n1.key" in run("issue", "datanode", "n1")
    assert "then `ambry certs retire`" in run("rotate", "--authority")
    assert "datanode-n1; `ambry certs rotate` them" in run("retire", code=1)
    run("rotate")
    assert "hold one authority" in run("retire")
    run("revoke", "datanode-n1")
    lines = [line.split("\t") for line in run("list").splitlines()]
    assert [(line[0], line[2], line[4:]) for line in lines] == [
        ("datanode-n1", "revoked", []),
        ("datanode-n1", "untrusted", ["before"]),
    ]
    assert "name a certificate" in run("revoke", code=2)
    [told] = json.loads(run("issue", "front", "web", "--host", "a.example", "--output", "json"))
    assert (told["name"], told["state"], told["hosts"], told["current"]) == ("web", "good", ["a.example"], True)
    assert told["key"] == str(tmp_path / "web.key")
    rotated = json.loads(run("rotate", "web", "--output", "json"))[0]
    assert json.loads(run("revoke", "web", "--older", "--output", "json"))["revoked"] == [told["serial"]]
    assert [each["serial"] for each in json.loads(run("list", "--output", "json")) if each["state"] == "good"] == [
        rotated["serial"]
    ]
    assert NodeIdentity(CLUSTER, NodeRole.DATANODE, "n1").uri in str(authority(tmp_path).read("datanode-n1").extensions)


def test_there_must_be_an_authority_for_everything_but_to_make_one(tmp_path: Path) -> None:
    """`list` of a directory that is not there said nothing, and exited with 0."""
    (tmp_path / "empty").mkdir()
    for directory in (tmp_path / "nothing", tmp_path / "empty"):
        for command in (["list"], ["rotate"], ["revoke", "a"], ["retire"], ["issue", "datanode", "n1"]):
            told = CliRunner().invoke(certs, [command[0], "--dir", str(directory), *command[1:]])
            assert told.exit_code == 1 and "`ambry certs init` makes" in told.output, told.output
    assert [each.name for each in tmp_path.iterdir()] == ["empty"]


def test_a_cluster_name_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    told = CliRunner().invoke(certs, ["init", "--dir", str(tmp_path / "certs"), "--cluster", "a/b"])
    assert told.exit_code == 1 and "a/b" in told.output
    assert list(tmp_path.iterdir()) == []


def test_to_issue_again_tells_what_is_replaced_and_how_to_take_that_back(tmp_path: Path) -> None:
    made = authority(tmp_path)

    def issue() -> str:
        told = CliRunner().invoke(certs, ["issue", "--dir", str(tmp_path), "datanode", "n1"])
        assert told.exit_code == 0, told.output
        return told.output

    assert "replaces" not in issue()
    [first] = made.issued()
    assert (
        f"datanode-n1 had a certificate, {first.serial}, which this one replaces here; it stays good until" in issue()
    )
    made.revoke("datanode-n1")
    assert "stays good" not in (again := issue()) and "replaces here" in again


def test_issued_pem_is_read_once_for_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, read = authority(tmp_path), list[Path]()

    def reads(path: Path) -> KnownCertificates:
        read.append(path)
        return read_issued(path)

    monkeypatch.setattr(module, "read_issued", reads)
    made.issue("a", identity=None, hosts=["a"])
    assert len(read) == 1
