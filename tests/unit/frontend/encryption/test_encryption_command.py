"""Master keys behind a command."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from frontend.encryption.command import CommandKeys
from frontend.encryption.provider import ProviderFailed, Wrapped

KEY, ABOUT = b"k" * 32, b"about \xff"
VAULT = """
import base64, json, sys
question = json.load(sys.stdin)
assert len(sys.argv) == 1
if question["op"] == "newest":
    answer = {"version": "7"}
elif question["op"] == "wrap":
    text = base64.b64encode(bytes(b ^ 85 for b in base64.b64decode(question["key"]))).decode()
    answer = {"version": "7", "wrapped": base64.b64encode((text + question["about"]).encode()).decode()}
else:
    text = base64.b64decode(question["wrapped"]).decode()
    if not text.endswith(question["about"]):
        answer = {"error": "not about this"}
    else:
        text = text.removesuffix(question["about"])
        answer = {"key": base64.b64encode(bytes(b ^ 85 for b in base64.b64decode(text))).decode()}
print(json.dumps(answer))
"""


def command(tmp_path: Path, text: str) -> CommandKeys:
    path = tmp_path / "vault"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o700)
    return CommandKeys([str(path)])


async def test_a_command_wraps_and_opens(tmp_path: Path) -> None:
    keys = command(tmp_path, VAULT)
    wrapped = await keys.wrap(KEY, ABOUT)
    assert (wrapped.version, await keys.newest(), await keys.unwrap(wrapped, ABOUT)) == ("7", "7", KEY)
    with pytest.raises(ProviderFailed, match="vault: not about this") as raised:
        await keys.unwrap(wrapped, b"else")
    assert not raised.value.away


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import sys; sys.exit(3)", "ended with code 3"),
        ("print('{\"version\": ')", "no JSON object"),
        ("print('[]')", "no JSON object"),
        ("print('{}')", "which version"),
        ("print('{\"version\": 7}')", "which version"),
        ("print('x' * 100_000)", "answers more than"),
        ("", "answered 0 bytes"),
    ],
)
async def test_half_an_answer_is_none(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ProviderFailed, match=why) as raised:
        await command(tmp_path, text).newest()
    assert raised.value.away


@pytest.mark.parametrize("text", ["{}", '{"key": 5}', '{"key": "not base64!"}'])
async def test_an_answer_without_its_key_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(ProviderFailed, match="without key in base64"):
        await command(tmp_path, f"print('{text}')").unwrap(Wrapped("1", b"x"), ABOUT)


async def test_a_command_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProviderFailed, match="cannot be run: No such file"):
        await CommandKeys([str(tmp_path / "none")]).newest()


async def test_whoever_stops_waiting_ends_the_command_and_what_it_started(tmp_path: Path) -> None:
    keys = command(
        tmp_path,
        "import os, subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(tmp_path / 'part')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        f"os.rename({str(tmp_path / 'part')!r}, {str(tmp_path / 'pids')!r})\n"
        "child.wait()",
    )
    asking = asyncio.create_task(keys.newest())
    await soon((tmp_path / "pids").exists)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    for pid in (tmp_path / "pids").read_text().split():
        await soon(partial(ended, pid))


def ended(pid: str) -> bool:
    """Whether it is no more than what nobody has asked how it ended."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.005)
