"""Both clients over TLS: who is trusted, and that an answer is told from what TLS says for itself."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from ambry import AmbryError, ConfigInvalid, InvalidRequest, TLSConfig
from ambry.client import tls as tls_module
from tests.support.certificates import Authority, server_context
from tests.support.content import content
from tests.support.stub_frontend import StubFrontend
from tests.support.twins import Twins


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_blobs_go_over_tls_and_connections_are_kept(
    twins: Twins, authority: Authority, version: ssl.TLSVersion
) -> None:
    """A ticket of TLS 1.3, which the server sends by itself, was taken for an early answer: of a body no more was sent."""
    context = server_context(authority.issue("server"))
    context.minimum_version = context.maximum_version = version
    data = content(3, 3_000_000)
    with StubFrontend(context=context) as stub:
        client = twins.connect(stub.url, tls=TLSConfig(ca=authority.ca))
        info = client.put(data)
        assert client.get_bytes(info.id) == data
        assert client.get_bytes(info.id, range=(10, 20)) == data[10:20]
        assert stub.connections == 1


def test_an_early_refusal_is_heard_over_tls(twins: Twins, authority: Authority) -> None:
    with StubFrontend(context=server_context(authority.issue("server"))) as stub:
        stub.fail("POST", "status", status=413, code="TooLarge", detail="too large for here", early=True)
        client = twins.connect(stub.url, tls=TLSConfig(ca=authority.ca))
        with pytest.raises(AmbryError, match="too large for here"):
            client.put(content(3, 30_000_000))


def test_a_certificate_of_an_authority_that_is_not_trusted_is_refused_at_once(
    twins: Twins, authority: Authority, tmp_path: Path
) -> None:
    with StubFrontend(context=server_context(authority.issue("server"))) as stub:
        for tls in (None, TLSConfig(ca=Authority(tmp_path, "foreign").ca)):
            with pytest.raises(AmbryError, match=r"certificate of https://127.* is refused: .*AMBRY_CA") as told:
                twins.connect(stub.url, tls=tls).put(b"x")
            assert not told.value.retryable and told.value.attempts == 1


@pytest.mark.parametrize(("days", "url", "told"), [(-1, "127.0.0.1", "expired"), (1, "localhost", "localhost")])
def test_a_certificate_that_has_expired_or_names_another_is_refused(
    twins: Twins, authority: Authority, days: int, url: str, told: str
) -> None:
    with StubFrontend(context=server_context(authority.issue("server", days=days))) as stub:
        endpoint = stub.url.replace("127.0.0.1", url)
        with pytest.raises(AmbryError, match=f"certificate of https://.* is refused: .*{told}"):
            twins.connect(endpoint, tls=TLSConfig(ca=authority.ca)).put(b"x")


def test_a_certificate_of_another_name_is_not_taken_for_one_of_another_authority(
    twins: Twins, authority: Authority
) -> None:
    """Who named a frontend otherwise than its certificate was sent to look for an authority to trust."""
    with StubFrontend(context=server_context(authority.issue("server"))) as stub:
        with pytest.raises(AmbryError, match=r"certs issue front NAME --host") as told:
            twins.connect(stub.url.replace("127.0.0.1", "localhost"), tls=TLSConfig(ca=authority.ca)).put(b"x")
        assert "AMBRY_CA" not in told.value.message


def test_a_client_trusts_what_its_file_of_authorities_holds_by_now(
    twins: Twins, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authority of a cluster was replaced, and every client had to be started anew."""
    monkeypatch.setattr(tls_module, "LOOK_EVERY_S", 0.0)
    foreign = Authority(tmp_path, "foreign")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(foreign.ca.read_bytes())
    with StubFrontend(context=server_context(authority.issue("server"))) as stub:
        client = twins.connect(stub.url, tls=TLSConfig(ca=trusted))
        with pytest.raises(AmbryError, match="is refused"):
            client.put(b"x")
        trusted.write_bytes(b"-----BEGIN CERTIFICATE-----\nhalf of a fi")
        with pytest.raises(AmbryError, match="is refused"):
            client.put(b"x")
        trusted.write_bytes(foreign.ca.read_bytes() + authority.ca.read_bytes())
        client.put(b"x")


def test_a_client_shows_its_own_certificate_where_it_is_asked_for(twins: Twins, authority: Authority) -> None:
    context = server_context(authority.issue("server"), clients=authority.ca)
    mine = authority.issue("client")
    with StubFrontend(context=context) as stub:
        shown = twins.connect(stub.url, tls=TLSConfig(ca=authority.ca, cert=mine.cert, key=mine.key))
        assert shown.get_bytes(shown.put(b"bytes").id) == b"bytes"
        with pytest.raises(AmbryError):
            twins.connect(stub.url, tls=TLSConfig(ca=authority.ca)).put(b"x")


def test_https_to_a_port_for_http_says_so(twins: Twins, stub: StubFrontend) -> None:
    with pytest.raises(AmbryError, match=r"port for https"):
        twins.connect(stub.url.replace("http:", "https:")).put(b"x")


def test_files_that_cannot_be_used_are_named(twins: Twins, authority: Authority, tmp_path: Path) -> None:
    mine, other = authority.issue("mine"), authority.issue("other")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    shared = tmp_path / "shared.key"
    shared.write_bytes(mine.key.read_bytes())
    shared.chmod(0o644)
    for tls, told in (
        (TLSConfig(ca=tmp_path / "none.pem"), "none.pem"),
        (TLSConfig(ca=nonsense), "nonsense.pem"),
        (TLSConfig(cert=mine.cert, key=other.key), "mine.crt"),
        (TLSConfig(cert=mine.cert, key=shared), "chmod 600"),
    ):
        with pytest.raises(ConfigInvalid, match=told):
            twins.connect("https://127.0.0.1:1", tls=tls).put(b"x")
    with pytest.raises(InvalidRequest, match="belongs to a certificate"):
        TLSConfig(key=mine.key)
