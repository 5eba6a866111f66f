"""`ambry replica`: what it sends to the admin port, what it prints, its exit codes."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from ambry.errors import InvalidRequest
from ambry.service.admin import start_admin
from datanode.commands import replica

ARGUMENTS = ("--partition", "7", "--who", "me", "--why", "burnt", "--without", "dn-3", "AAA", "BBB")


async def run(answer: Any) -> tuple[Result, list[tuple[int, Any]]]:
    """The command against an admin port whose action gives or raises `answer`."""
    asked: list[tuple[int, Any]] = []

    async def accept(number: int, body: bytes) -> Any:
        asked.append((number, msgspec.json.decode(body)))
        if isinstance(answer, Exception):
            raise answer
        return answer

    actions = {"/partitions/{number}/accept-loss": accept}
    admin = await start_admin("127.0.0.1", 0, ready=lambda: [], pages={}, actions=actions)
    try:
        command = ["accept-loss", "--admin", f"http://127.0.0.1:{admin.port}", *ARGUMENTS]
        return await asyncio.to_thread(CliRunner().invoke, replica, command), asked
    finally:
        await admin.close()


async def test_it_sends_what_was_decided_and_says_what_became_of_it() -> None:
    result, asked = await run({"partition": 7, "lost": ["AAA"], "found": ["BBB"]})
    assert (result.exit_code, result.output) == (0, "lost: AAA\nfound: BBB\n")
    assert asked == [(7, {"blobs": ["AAA", "BBB"], "who": "me", "why": "burnt", "without": ["dn-3"]})]


async def test_vouching_is_one_request() -> None:
    asked: list[int] = []

    async def vouch(number: int, _body: bytes) -> dict[str, int]:
        asked.append(number)
        return {"partition": number}

    admin = await start_admin("127.0.0.1", 0, ready=lambda: [], pages={}, actions={"/partitions/{number}/vouch": vouch})
    command = ["vouch", "--admin", f"http://127.0.0.1:{admin.port}", "--partition", "7"]
    result = await asyncio.to_thread(CliRunner().invoke, replica, command)
    await admin.close()
    assert (result.exit_code, result.output, asked) == (0, "partition 7 may say not-found\n", [7])


async def test_a_refusal_is_printed_and_fails() -> None:
    result, _ = await run(InvalidRequest("AAA may still be there"))
    assert result.exit_code == 1
    assert result.output.endswith("/partitions/7/accept-loss: InvalidRequest: AAA may still be there\n")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://127.0.0.1:port"])
def test_a_port_where_nobody_is_fails(url: str) -> None:
    result = CliRunner().invoke(replica, ["accept-loss", "--admin", url, *ARGUMENTS])
    assert result.exit_code == 1
    assert (result.output.startswith("ambry replica: "), result.output.count("\n")) == (True, 1)
    assert url in result.output
