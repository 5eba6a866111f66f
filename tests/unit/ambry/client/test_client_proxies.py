"""Proxies of the environment: who is asked through one, and how."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from ambry import AmbryClient, ConfigInvalid, Proxies, TLSConfig
from ambry.client.wire.refusals import ConnectFailed
from tests.support.certificates import Authority, server_context
from tests.support.content import content
from tests.support.ports import free_ports
from tests.support.proxy import ForwardingProxy
from tests.support.stub_frontend import StubFrontend
from tests.support.twins import Twins

DATA = content(10, 2_000_000)


@pytest.mark.parametrize(
    ("env", "endpoint", "through"),
    [
        ({"http_proxy": "http://p:3128"}, "http://store:17100", "http://p:3128"),
        ({"http_proxy": "p:3128"}, "http://store", "http://p:3128"),
        ({"http_proxy": "http://p"}, "https://store", ""),
        ({"HTTP_PROXY": "http://p"}, "http://store", ""),
        ({"HTTPS_PROXY": "http://p"}, "https://store", "http://p"),
        ({"https_proxy": "http://a", "HTTPS_PROXY": "http://b"}, "https://store", "http://a"),
        ({"ALL_PROXY": "http://p"}, "http://store", "http://p"),
        ({"http_proxy": "", "all_proxy": "http://p"}, "http://store", "http://p"),
        *(
            ({"http_proxy": "http://p"}, f"http://{host}", "")
            for host in ("127.0.0.1:17100", "127.8.9.1", "localhost", "a.localhost", "[::1]:5")
        ),
        *(
            ({"http_proxy": "http://p", "no_proxy": rule}, "http://a.store.corp:17100", "")
            for rule in ("*", "store.corp", ".corp", "x, a.store.corp", "*.corp", "A.Store.Corp", "corp:17100")
        ),
        *(
            ({"http_proxy": "http://p", "NO_PROXY": rule}, "http://a.store.corp:17100", "http://p")
            for rule in ("", "tore.corp", "corp:80", "b.store.corp", "10.0.0.0/8", ".")
        ),
        ({"http_proxy": "http://p", "no_proxy": "10.0.0.0/8"}, "http://10.1.2.3", ""),
        ({"http_proxy": "http://p", "no_proxy": "fd00::/8"}, "http://[fd00::1]:5", ""),
        ({"http_proxy": "http://p", "no_proxy": "10.0.0.0/8"}, "http://11.1.2.3", "http://p"),
    ],
)
def test_who_is_asked_through_a_proxy(env: dict[str, str], endpoint: str, through: str) -> None:
    found = Proxies.from_environment(env).of(endpoint)
    assert (found.url if found else "") == through


@pytest.mark.parametrize("url", ["socks5://p:1080", "https://p", "http://", "http://p:0", "http://p:99999"])
def test_what_is_no_proxy_is_refused(url: str) -> None:
    """A SOCKS proxy of the environment stopped whoever spoke to this machine alone."""
    found = Proxies.from_environment({"http_proxy": url, "no_proxy": "corp"})
    assert found.of("http://127.0.0.1:17100") is None and found.of("http://store.corp") is None
    assert found.of("https://store") is None, "it is for http"
    with pytest.raises(ConfigInvalid, match="a proxy is http://host:port"):
        found.of("http://store")


def test_a_password_of_a_proxy_is_shown_nowhere() -> None:
    proxies = Proxies(http="http://me:hunter2@p:1")
    assert "hunter2" not in repr(proxies) + repr(proxies.of("http://store")) + str(proxies.of("http://store"))
    with pytest.raises(ConfigInvalid) as told:
        Proxies(http="socks5://me:hunter2@p").of("http://store")
    assert "hunter2" not in str(told.value)


def test_requests_go_through_it_on_kept_connections_with_its_password(stub: StubFrontend, twins: Twins) -> None:
    stub.other_names = {"store.test:17100"}
    with ForwardingProxy(int(stub.url.rpartition(":")[2])) as proxy:
        client = twins.connect("http://store.test:17100", proxies=Proxies(http=f"http://me:p%40ss@{proxy.authority}"))
        info = client.put(DATA)
        assert client.get_bytes(info.id) == DATA
        assert stub.connections == 1
        assert [each.partition("\r\n")[0] for each in proxy.seen] == [
            "POST http://store.test:17100/ HTTP/1.1",
            f"GET http://store.test:17100/{info.id} HTTP/1.1",
        ]
        assert all("proxy-authorization: basic bwu6cebzcw==" in each.lower() for each in proxy.seen)
        assert stub.requests[0].headers["host"] == "store.test:17100"
        assert "proxy-authorization" not in stub.requests[0].headers


def test_https_goes_through_a_tunnel_in_which_the_proxy_sees_nothing(twins: Twins, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with StubFrontend(context=server_context(authority.issue("server"))) as stub:
        stub.other_names = {"store.test:17100"}
        with ForwardingProxy(int(stub.url.rpartition(":")[2])) as proxy:
            through = Proxies(https=f"http://{proxy.authority}")
            client = twins.connect("https://store.test:17100", tls=TLSConfig(ca=authority.ca), proxies=through)
            info = client.put(DATA)
            assert client.get_bytes(info.id) == DATA
            assert [each.partition(" HTTP/")[0] for each in proxy.seen] == ["CONNECT store.test:17100"]


def test_a_proxy_that_is_away_or_refuses_is_named(stub: StubFrontend, twins: Twins) -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(
        ConnectFailed, match=f"cannot connect to http://store through the proxy {dead}: Connection refused"
    ):
        twins.connect("http://store", proxies=Proxies(http=dead)).head(stub.add(b""))
    with ForwardingProxy(1) as proxy:
        proxy.refusing = "407 Proxy Authentication Required"
        with pytest.raises(ConnectFailed, match=r"the proxy .* lets nobody through to https://store: 407"):
            twins.connect("https://store", proxies=Proxies(https=f"http://{proxy.authority}")).head(stub.add(b""))


def test_from_env_has_those_of_the_environment_and_a_pickled_client_keeps_them(
    stub: StubFrontend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    stub.other_names = {"store.test"}
    for name in ("all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ForwardingProxy(int(stub.url.rpartition(":")[2])) as proxy:
        monkeypatch.setenv("http_proxy", proxy.authority)
        blob = stub.add(b"x")
        with pickle.loads(pickle.dumps(AmbryClient.from_env(endpoints="http://store.test"))) as client:
            assert client.get_bytes(blob) == b"x" and len(proxy.seen) == 1
        with AmbryClient.from_env(endpoints=stub.url) as client:
            assert client.get_bytes(blob) == b"x" and len(proxy.seen) == 1, "loopback is never asked through a proxy"
