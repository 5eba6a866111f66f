"""Contexts from files, and who a certificate says its owner is."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import ConfigInvalid
from ambry.service import tls as tls_module
from ambry.service.tls import (
    Certificates,
    NodeIdentity,
    NodeRole,
    NodeTls,
    NodeTlsSection,
    ReloadingTls,
    front_context,
    identity_of,
    identity_of_uri,
    node_tls,
    serving_context,
)
from tests.support.captured_log import capture_log, said
from tests.support.eventually import eventually
from tests.support.node_certificates import authority, front_section, node_section

TEXT = st.text(min_size=1, max_size=40).filter(lambda text: not any(0xD800 <= ord(c) < 0xE000 for c in text))


@given(TEXT, st.sampled_from(NodeRole), TEXT)
def test_an_identity_is_read_as_it_was_written(cluster: str, role: NodeRole, name: str) -> None:
    identity = NodeIdentity(cluster, role, name)
    assert identity_of_uri(identity.uri) == identity


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "ambry://c/datanode",
        "ambry://c/datanode/",
        "ambry://c/other/n",
        "http://c/datanode/n",
        "ambry://c/datanode/n/m",
    ],
)
def test_what_is_no_identity_is_none(uri: str) -> None:
    assert identity_of_uri(uri) is None


def test_a_certificate_that_says_two_things_says_nothing() -> None:
    both = ("URI", "ambry://c/datanode/a"), ("URI", "ambry://c/frontend/b")
    assert identity_of({"subjectAltName": both}) is None
    assert identity_of({"subjectAltName": (*both[:1], ("DNS", "x"))}) == NodeIdentity("c", NodeRole.DATANODE, "a")
    assert identity_of({}) is None and identity_of(None) is None


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    section = front_section(authority(tmp_path))
    assert front_context(section).minimum_version is ssl.TLSVersion.TLSv1_2
    Path(section.key).chmod(0o640)
    with pytest.raises(ConfigInvalid, match="chmod 600"):
        front_context(section)


@pytest.mark.parametrize("missing", ["certificate", "key", "authority"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    whole = node_section(authority(tmp_path), NodeRole.DATANODE, "n1")
    files = {name: getattr(whole, name) for name in ("certificate", "key", "authority", "revoked")}
    with pytest.raises(ConfigInvalid, match=missing):
        serving_context(NodeTlsSection(**{**files, missing: ""}))
    with pytest.raises(ConfigInvalid, match="cannot be used"):
        serving_context(NodeTlsSection(**{**files, missing: str(tmp_path / "none")}))
    assert node_tls(NodeTlsSection()) is None


def test_changed_files_make_another_context_and_broken_ones_none(tmp_path: Path) -> None:
    made = authority(tmp_path)
    tls = ReloadingTls(front_section(made), front_context)
    before = tls.context
    assert not tls.look() and tls.context is before
    made.rotate("front")
    assert tls.look() and tls.context is not before
    now = tls.context
    (tmp_path / "front.crt").write_text("broken")
    assert not tls.look() and tls.context is now
    made.issue("front", identity=None, hosts=["localhost"])
    assert tls.look()


def test_files_that_cannot_be_used_are_told_once_and_not_while_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = capture_log(monkeypatch, tls_module)
    wanted = "changed certificates cannot be used; the ones before stay"
    made = authority(tmp_path)
    tls = ReloadingTls(front_section(made), front_context)
    (tmp_path / "front.crt").write_text("half of")
    assert not tls.look() and said(events, wanted) == []
    made.issue("front", identity=None, hosts=["localhost"])
    assert tls.look() and said(events, wanted) == []
    (tmp_path / "front.crt").write_text("broken")
    for _ in range(4):
        assert not tls.look()
    assert len(said(events, wanted)) == 1 and "front.crt" in str(said(events, wanted)[0]["error"])


async def test_files_are_read_at_once_when_somebody_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = capture_log(monkeypatch, tls_module)
    made = authority(tmp_path)
    front = ReloadingTls(front_section(made), front_context)
    nodes = NodeTls(node_section(made, NodeRole.FRONTEND, "f1"))
    certificates = Certificates(front, None, nodes)
    before = front.context, nodes.serving.context, nodes.calling.context
    certificates.read_again()
    certificates.read_again()
    await eventually(lambda: nodes.trust is not None)
    now = front.context, nodes.serving.context, nodes.calling.context
    assert not set(before) & set(now)
    assert len(said(events, "certificates read again")) == 3, "asked twice, read once"
    (tmp_path / "front.crt").write_text("broken")
    certificates.read_again()
    await eventually(lambda: said(events, "changed certificates cannot be used; the ones before stay"))
    assert front.context is now[0]
    Certificates(None).read_again()
    assert said(events, "nothing to read again: no certificates are set")
