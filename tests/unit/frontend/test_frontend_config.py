from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ambry.clustermap.model import ClusterMap, Node
from ambry.errors import ConfigInvalid
from frontend.config import (
    AccessSection,
    AccountEntry,
    FrontendConfig,
    FrontendSection,
    RouterSection,
    check,
    rpc_address,
)


@pytest.fixture
def good(tmp_path: Path) -> FrontendConfig:
    layout = tmp_path / "layout.json"
    layout.write_text("{}")
    return FrontendConfig(frontend=FrontendSection(name="f1", datacenter="dc1", layout=str(layout)))


def test_the_defaults_with_a_name_a_datacenter_and_a_layout_are_enough(good: FrontendConfig) -> None:
    assert check(good) is good


@pytest.mark.parametrize("key", ["name", "datacenter", "layout"])
def test_what_must_be_set_is_named(good: FrontendConfig, key: str) -> None:
    section = msgspec.structs.replace(good.frontend, **{key: ""})
    with pytest.raises(ConfigInvalid, match=rf"frontend\.{key}"):
        check(msgspec.structs.replace(good, frontend=section))


def test_a_layout_that_is_not_there_is_named(good: FrontendConfig) -> None:
    section = msgspec.structs.replace(good.frontend, layout="/nowhere/layout.json")
    with pytest.raises(ConfigInvalid, match=r"/nowhere/layout\.json"):
        check(msgspec.structs.replace(good, frontend=section))


BAD: list[tuple[str, Any]] = [
    ("chunk_size_bytes", 0),
    ("chunk_size_bytes", (64 << 10) - 1),
    ("chunk_size_bytes", (64 << 10) + 1),
    ("chunk_size_bytes", (16 << 20) + (64 << 10)),
    ("read_unit_bytes", 1000),
    ("read_unit_bytes", 17 << 20),
    ("memory_budget_bytes", 8 * (4 << 20) - 1),
    # Zero of these would confirm without a copy, write no composite record, or stop at the first byte.
    ("success_target", 0),
    ("success_target", -1),
    ("put_attempts", 0),
    ("write_parallelism", 0),
    ("read_ahead", 0),
    ("request_timeout_ms", 0),
    ("request_timeout_ms", -5),
    ("hedge_after_ms", 0),
]


@pytest.mark.parametrize(("key", "value"), BAD)
def test_what_cannot_work_is_refused_and_named(good: FrontendConfig, key: str, value: int) -> None:
    router = msgspec.structs.replace(RouterSection(), **{key: value})
    with pytest.raises(ConfigInvalid, match=rf"router\.{key}"):
        check(msgspec.structs.replace(good, router=router))


def test_a_budget_that_could_never_lend_one_read_unit_is_refused(good: FrontendConfig) -> None:
    """Stored blobs keep their chunks: a download would break where its first unit can never be had."""
    router = RouterSection(chunk_size_bytes=64 << 10, read_unit_bytes=1 << 20, memory_budget_bytes=512 << 10)
    with pytest.raises(ConfigInvalid, match=r"router\.memory_budget_bytes"):
        check(msgspec.structs.replace(good, router=router))
    enough = msgspec.structs.replace(router, memory_budget_bytes=16 << 20)
    check(msgspec.structs.replace(good, router=enough))


@pytest.mark.parametrize(
    "accounts",
    [{}, {"ml": AccountEntry(id=1, containers={"default": 1})}, {"default": AccountEntry(id=1, containers={})}],
)
def test_uploads_that_name_no_container_must_have_one(good: FrontendConfig, accounts: dict[str, AccountEntry]) -> None:
    with pytest.raises(ConfigInvalid, match="accounts"):
        check(msgspec.structs.replace(good, accounts=accounts))


@pytest.mark.parametrize(
    ("ml", "said"),
    [
        (AccountEntry(id=1, containers={"a": 1}), "accounts: default and ml both have the id 1"),
        (AccountEntry(id=2, containers={"a": 7, "b": 7}), "accounts.ml.containers: a and b both have the id 7"),
        (AccountEntry(id=0, containers={"a": 1}), "accounts.ml has the id 0: it must lie between 1 and 65535"),
        (AccountEntry(id=1 << 32, containers={"a": 1}), "accounts.ml has the id 4294967296"),
        (AccountEntry(id=2, containers={"a": -1}), "accounts.ml.containers.a has the id -1"),
    ],
    ids=str,
)
def test_ids_that_no_blob_id_could_tell_apart_are_refused(good: FrontendConfig, ml: AccountEntry, said: str) -> None:
    """A frontend started with two accounts of one id; with one that does not fit every upload to it was a 500."""
    default = AccountEntry(id=1, containers={"default": 1})
    with pytest.raises(ConfigInvalid, match=re.escape(said)):
        check(msgspec.structs.replace(good, accounts={"default": default, "ml": ml}))
    sound = AccountEntry(id=2, containers={"default": 1, "other": 65_535})
    check(msgspec.structs.replace(good, accounts={"default": default, "ml": sound}))


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: x", "é", " a", "a" * 65, ""])
def test_a_name_that_no_header_could_carry_is_refused_before_it_breaks_every_answer(
    good: FrontendConfig, name: str
) -> None:
    default = AccountEntry(id=1, containers={"default": 1})
    for accounts in (
        {"default": default, name: AccountEntry(id=2, containers={"a": 1})},
        {"default": AccountEntry(id=1, containers={"default": 1, name: 2})},
    ):
        with pytest.raises(ConfigInvalid, match="stands in headers"):
            check(msgspec.structs.replace(good, accounts=accounts))
    for key in ("name", "datacenter"):
        section = msgspec.structs.replace(good.frontend, **{key: name})
        with pytest.raises(ConfigInvalid):
            check(msgspec.structs.replace(good, frontend=section))


def rpc(**section: Any) -> tuple[str, int] | None:
    """Where frontend f1 of dc1 is asked, by a layout that tells of it and of f2."""
    frontends = [
        Node(name=name, datacenter="dc1", datacenter_id=1, host="10.0.0.1", port=port)
        for name, port in (("f1", 1), ("f2", 2))
    ]
    told = ClusterMap(cluster="c", version=1, datacenters={"dc1": 1}, partitions=[], frontends=frontends)
    return rpc_address(FrontendSection(**{"name": "f1", "datacenter": "dc1", **section}), told)


def test_the_layout_says_where_others_ask_a_frontend_and_its_configuration_where_it_listens() -> None:
    assert rpc() == ("10.0.0.1", 1)
    assert rpc(name="f2") == ("10.0.0.1", 2)
    assert rpc(rpc_host="0.0.0.0") == ("0.0.0.0", 1)
    assert rpc(rpc_port=9) == ("10.0.0.1", 9)
    assert rpc(name="f3") is None
    assert rpc(name="f3", rpc_port=9) == ("127.0.0.1", 9)


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"host": "0.0.0.0"}, "access.enabled is false"),
        ({"host": "::"}, "access.enabled is false"),
        ({"host": "example.org"}, "access.enabled is false"),
        ({"admin_host": "0.0.0.0"}, "admin_host"),
    ],
)
def test_what_asks_for_no_key_listens_on_loopback_alone(tmp_path: Path, more: dict[str, Any], key: str) -> None:
    layout = tmp_path / "layout.json"
    layout.write_text("{}")
    section = FrontendSection(name="f1", datacenter="dc1", layout=str(layout), **more)
    with pytest.raises(ConfigInvalid, match=key):
        check(FrontendConfig(frontend=section, access=AccessSection(enabled=False)))
    if "host" in more:
        check(FrontendConfig(frontend=section))


@pytest.mark.parametrize(
    ("proxies", "says"),
    [
        (("10.0.0.1/24",), "10.0.0.1/24 has host bits set"),
        (("proxy.internal",), "does not appear to be an IPv4 or IPv6 network"),
        (("10.0.0.7:80",), "does not appear to be"),
        (("::ffff:10.0.0.0/104",), "write it as one"),
        (("10.0.0.7", "0.0.0.0/0"), "every address"),
        (("::/0",), "every address"),
    ],
)
def test_who_is_believed_is_an_address_or_a_network_and_not_everybody(
    good: FrontendConfig, proxies: tuple[str, ...], says: str
) -> None:
    section = msgspec.structs.replace(good.frontend, trusted_proxies=proxies)
    with pytest.raises(ConfigInvalid, match=r"frontend\.trusted_proxies") as refused:
        check(msgspec.structs.replace(good, frontend=section))
    assert says in refused.value.message


@pytest.mark.parametrize("behind", [{"behind_proxy": True}, {"trusted_proxies": ("127.0.0.1", "fd00::/8")}])
def test_what_a_proxy_sends_on_comes_from_anywhere_and_so_takes_keys(good: FrontendConfig, behind: Any) -> None:
    behind_one = msgspec.structs.replace(good, frontend=msgspec.structs.replace(good.frontend, **behind))
    assert check(behind_one) is behind_one
    with pytest.raises(ConfigInvalid, match=r"access\.enabled is false: without keys"):
        check(msgspec.structs.replace(behind_one, access=AccessSection(enabled=False)))
