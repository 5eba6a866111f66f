"""Who would still be let in. What connections do about it: tests/unit/ambry/network/test_line_of_certificates.py."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from ambry.service.tls import NodeRole
from ambry.service.trust import Trust
from deploy.certificates import CertificateAuthority
from tests.support.handshake import shaken
from tests.support.node_certificates import authority, node_section


def authorities(*made: CertificateAuthority) -> frozenset[bytes]:
    return frozenset(ssl.PEM_cert_to_DER_cert(each.certificate_file.read_text()) for each in made)


def test_a_certificate_is_judged_by_its_authority_and_by_every_list(tmp_path: Path) -> None:
    made, other = authority(tmp_path / "a"), authority(tmp_path / "b")
    client = node_section(made, NodeRole.DATANODE, "n2")
    shown, _ = shaken(node_section(made, NodeRole.DATANODE, "n1"), client)
    assert Trust(authorities(made), b"").refuses(shown) == ""
    assert "not trusted any more" in Trust(authorities(other), b"").refuses(shown)
    foreign, empty = other.revoked_file.read_bytes(), made.revoked_file.read_bytes()
    assert Trust(authorities(made, other), foreign + empty).refuses(shown) == ""
    assert Trust(authorities(made), foreign).refuses(shown) == "", "a list that is missing ends nothing"
    made.revoke("datanode-n2")
    named = made.revoked_file.read_bytes()
    for lists in (named, named + foreign, foreign + named):
        trust = Trust(authorities(made, other), lists)
        assert trust.refuses(shown) == trust.refuses(shown) == "it was taken back"


def test_a_list_that_cannot_be_read_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        Trust(frozenset(), b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
