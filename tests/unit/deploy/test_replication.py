"""`ambry replication` asks the admin ports of data nodes and says by its exit code whether all is well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from ambry.cli.main import cli
from ambry.errors import ReplicaUnavailable
from ambry.service.admin import Admin, start_admin

COMPLETE = {"complete": True, "undecided": "", "lacking": 0, "repaired": 0, "doubtful": 0, "more": False}
CURSOR = {"lag_bytes": 0, "lag_s": 2.5, "silent_s": 1.5, "outstanding": 0, "connected": True, "caught_up": True}
PAGES = [
    {"partition": 1, "state": "open", "peers": {"n2": CURSOR}},
    {"partition": 2, "state": "open", "peers": {"n2": CURSOR | {"lag_bytes": 4096}}},
]


class FakeNode:
    """A data node's admin port."""

    def __init__(self) -> None:
        self.pages: list[dict[str, Any]] = list(PAGES)
        self.results: dict[int, dict[str, Any]] = {}
        self.asked: list[tuple[str, int]] = []
        self.admin: Admin

    async def start(self) -> None:
        actions = {f"/partitions/{{number}}/{what}": self._action(what) for what in ("verify", "repair")}
        pages = {"/partitions": lambda: self.pages}
        self.admin = await start_admin("127.0.0.1", 0, ready=list, pages=pages, actions=actions)

    def _action(self, what: str) -> Any:
        async def act(number: int, _body: bytes) -> Any:
            self.asked.append((what, number))
            if number == 99:
                raise ReplicaUnavailable("partition 99 is opening")
            return [{"partition": number, "peer": "n2", **COMPLETE, **self.results.get(number, {})}]

        return act

    async def run(self, *arguments: str) -> Result:
        command = ["replication", *arguments, "--admin", f"http://127.0.0.1:{self.admin.port}"]
        return await asyncio.to_thread(CliRunner().invoke, cli, command)


@pytest.fixture
async def node() -> AsyncIterator[FakeNode]:
    fake = FakeNode()
    await fake.start()
    yield fake
    await fake.admin.close()


async def test_replicas_that_lack_nothing_exit_with_0(node: FakeNode) -> None:
    result = await node.run("verify")
    assert (result.exit_code, result.stdout) == (0, "2 pairs of replicas compared, 2 lack nothing\n")
    assert node.asked == [("verify", 1), ("verify", 2)]


@pytest.mark.parametrize(
    "found", [{"lacking": 3}, {"undecided": "not connected"}, {"doubtful": 1}, {"more": True}], ids=str
)
async def test_a_difference_is_shown_and_exits_with_1(node: FakeNode, found: dict[str, Any]) -> None:
    node.results[2] = {"complete": False, **found}
    result = await node.run("verify", "--output", "json")
    assert result.exit_code == 1
    told = msgspec.json.decode(result.stdout)
    assert told["compared"] == 2
    assert [(line["partition"], *(line[name] for name in found)) for line in told["lacking"]] == [(2, *found.values())]
    table = await node.run("verify")
    assert "1 lack nothing" in table.stdout
    # It said that two were compared, as if what is undecided lacked something.
    assert ("1 pairs of replicas compared, 1 lack nothing; 1 could not be compared yet" in table.stdout) is (
        "undecided" in found
    )
    assert ("only of what was looked at" in table.stdout) is ("more" in found)
    assert table.exit_code == 1


@pytest.mark.parametrize(("repaired", "more", "code"), [(3, False, 0), (2, False, 1), (3, True, 1)])
async def test_a_repair_is_well_when_all_of_it_is_here(node: FakeNode, repaired: int, more: bool, code: int) -> None:
    node.results[2] = {"complete": False, "lacking": 3, "repaired": repaired, "more": more}
    result = await node.run("repair", "--partition", "2")
    assert result.exit_code == code
    assert node.asked == [("repair", 2)]


@pytest.mark.parametrize("command", ["verify", "repair"])
async def test_a_copy_that_is_known_to_be_damaged_is_not_well(node: FakeNode, command: str) -> None:
    """A blob that was damaged on all disks was answered 503, and `verify` said that nothing was lacking."""
    node.pages = [PAGES[0], PAGES[1] | {"damaged": 3}]
    result = await node.run(command)
    assert result.exit_code == 1
    assert (
        "3 copies are damaged and looked for elsewhere: /wanted on the admin ports of http://127.0.0.1" in result.stdout
    )
    told = msgspec.json.decode((await node.run(command, "--output", "json")).stdout)
    assert [(line["partition"], line["damaged"]) for line in told["damaged"]] == [(2, 3)]


@pytest.mark.parametrize("command", ["lag", "verify", "repair"])
async def test_a_partition_that_nobody_holds_is_no_success(node: FakeNode, command: str) -> None:
    """`lag --partition 8` (of 1 and 2) said `0 of 0 pairs` and exited with 0."""
    result = await node.run(command, "--partition", "8")
    assert (result.exit_code, result.stderr) == (1, "ambry replication: none of these nodes holds partition 8\n")
    assert node.asked == []
    below = await node.run(command, "--partition", "-1")
    assert (below.exit_code, "--partition" in below.stderr) == (2, True)


async def test_a_node_without_the_partition_is_not_asked_about_it(node: FakeNode) -> None:
    """With more nodes than replicas, `--partition N` failed on those that hold no replica of it."""
    other = FakeNode()
    await other.start()
    other.pages = [PAGES[0]]
    result = await node.run("verify", "--partition", "2", "--admin", f"127.0.0.1:{other.admin.port}")
    await other.admin.close()
    assert (result.exit_code, result.stdout) == (0, "1 pairs of replicas compared, 1 lack nothing\n")
    assert other.asked == []


async def test_a_long_table_is_cut_and_what_lacks_most_comes_first(node: FakeNode) -> None:
    """One wiped node printed a line for each of its pairs: 126 times the same with 8 partitions."""
    node.pages = [{"partition": number, "state": "open", "peers": {"n2": CURSOR}} for number in range(30)]
    unsure = {"complete": False, "undecided": "does not know yet what it missed"}
    node.results = dict.fromkeys(range(30), unsure) | {29: {"complete": False, "lacking": 3}}
    said = (await node.run("verify")).stdout
    assert said.count("does not know yet") == 19
    assert said.index(" 29 ") < said.index("does not know yet")
    assert "and 10 more; --output json has them all" in said
    assert "29 could not be compared yet, try those again later" in said
    assert len(msgspec.json.decode((await node.run("verify", "--output", "json")).stdout)["lacking"]) == 30
    node.pages = [PAGES[1] | {"partition": number} for number in range(30)]
    assert (await node.run("lag")).stdout.count("4096") == 20
    assert (await node.run("lag", "--all")).stdout.count("4096") == 30


@pytest.mark.parametrize("arguments", [["verify", "--partition", "99"], ["verify", "--admin", "http://127.0.0.1:1"]])
async def test_what_cannot_be_asked_is_said_and_fails(node: FakeNode, arguments: Sequence[str]) -> None:
    node.pages.append({"partition": 99, "state": "opening"})
    result = await node.run(*arguments)
    assert result.exit_code == 1
    assert "ambry replication: " in result.stderr


async def test_lag_shows_who_is_behind(node: FakeNode) -> None:
    result = await node.run("lag")
    assert result.exit_code == 0
    assert "4096" in result.stdout
    assert "1 of 2 pairs of replicas behind or not connected" in result.stdout
    told = msgspec.json.decode((await node.run("lag", "--output", "json")).stdout)
    assert [(line["partition"], line["lag_bytes"], line["silent_s"]) for line in told["replicas"]] == [
        (1, 0, 1.5),
        (2, 4096, 1.5),
    ]


async def test_a_replica_that_is_copied_whole_is_said(node: FakeNode) -> None:
    copying = {"partition": 2, "state": "copying", "peers": {"n2": {}, "n3": {}}}
    copying |= {"bytes": 700, "bytes_per_s": 70, "bytes_to_go": 300, "seconds_to_go": 4}
    waiting = {"partition": 1, "state": "waiting", "peers": {"n2": {}}, "bytes_to_go": 900, "seconds_to_go": None}
    node.pages = [PAGES[0] | {"bootstrap": waiting}, PAGES[1] | {"bootstrap": copying}]
    said = (await node.run("lag")).stdout
    assert "partition 1 waits to be copied from n2: about 900 bytes" in said
    assert "partition 2 is being copied from n2, n3: 700 bytes at 70 bytes/s, about 300 to go, 4 s" in said
    told = msgspec.json.decode((await node.run("lag", "--output", "json")).stdout)
    assert [line["partition"] for line in told["copied"]] == [1, 2]


async def test_a_replica_that_is_not_open_is_said(node: FakeNode) -> None:
    node.pages.append({"partition": 3, "state": "opening"})
    result = await node.run("lag")
    assert (result.exit_code, result.stderr.count("partition 3 is opening")) == (1, 1)


def test_it_must_be_said_whom_to_ask() -> None:
    assert CliRunner().invoke(cli, ["replication", "verify"]).exit_code == 2
