"""Who is taken for a peer: the same cluster, the node that the layout says, and versions that meet."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from ambry import __version__
from ambry.errors import ReleaseMismatch, StoreMismatch
from ambry.network.introduction import RPC_VERSION_MAX, RPC_VERSION_MIN
from ambry.protocol.messages.base import Hello
from tests.support.fake_clock import SettableClock
from tests.support.introductions import introduction


def test_a_hello_says_all_there_is_to_know() -> None:
    assert introduction("n1", clock=SettableClock(wall=77)).hello("n2") == Hello(
        cluster="test",
        name="n1",
        expected="n2",
        version_min=1,
        version_max=1,
        features=("cancel", "segments"),
        layout_version=1,
        now_ms=77,
        instance=b"n1..............",
        release=__version__,
        requests_max=1024,
        bytes_max=64 << 20,
    )


def test_two_processes_of_one_release_accept_each_other() -> None:
    caller, node = introduction("f1"), introduction("n1")
    node.check_caller(caller.hello("n1"))
    node.check_caller(caller.hello())
    caller.check_node(node.hello(), name="n1", address="n1:1")


def test_somebody_else_is_refused() -> None:
    node = introduction("n1")
    with pytest.raises(StoreMismatch, match="this is n1 of cluster test, not n2 of test"):
        node.check_caller(introduction("f1").hello("n2"))
    with pytest.raises(StoreMismatch, match="this is n1 of cluster test, not a node of other"):
        node.check_caller(introduction("f1", cluster="other").hello())
    with pytest.raises(StoreMismatch, match="n9:1 is n1 of cluster test, not n9 of test; check the layout"):
        introduction("f1").check_node(node.hello(), name="n9", address="n9:1")


@pytest.mark.parametrize(
    ("version_min", "version_max", "meet"),
    [
        (RPC_VERSION_MIN, RPC_VERSION_MAX, True),
        (RPC_VERSION_MIN, RPC_VERSION_MAX + 5, True),
        (0, RPC_VERSION_MIN, True),
        (RPC_VERSION_MAX + 1, RPC_VERSION_MAX + 2, False),
        (0, RPC_VERSION_MIN - 1, False),
    ],
)
def test_versions_have_to_meet_and_a_refusal_names_both(version_min: int, version_max: int, meet: bool) -> None:
    other = msgspec.structs.replace(
        introduction("n2").hello(), version_min=version_min, version_max=version_max, release="9.9.9"
    )
    us = introduction("n1")
    checks: list[Callable[[], None]] = [
        lambda: us.check_caller(other),
        lambda: us.check_node(other, name="n2", address="n2:1"),
    ]
    for check in checks:
        if meet:
            check()
            continue
        with pytest.raises(ReleaseMismatch) as caught:
            check()
        for part in (
            f"n1 (release {__version__}) speaks versions {RPC_VERSION_MIN} to {RPC_VERSION_MAX}",
            f"n2 (release 9.9.9) speaks {version_min} to {version_max}",
        ):
            assert part in caught.value.message


def test_a_peer_that_says_only_its_name_speaks_the_first_version() -> None:
    introduction("n1").check_caller(Hello("test", "f1"))
