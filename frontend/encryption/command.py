"""Master keys behind a command: it asks whatever vault there is. One question on its standard input, one answer on its output.

    question                                                       answer
    {"op": "newest"}                                               {"version": "3"}
    {"op": "wrap", "key": KEY, "about": ABOUT}                     {"version": "3", "wrapped": TEXT}
    {"op": "unwrap", "version": "3", "wrapped": TEXT, "about": ABOUT}    {"key": KEY}

Bytes are in base64. An answer may be {"error": "a sentence"} instead, for what will not become better; with any exit code but 0
it did not answer. Nothing secret is in its arguments, and what it says to standard error goes nowhere.
"""

from __future__ import annotations

import asyncio
import binascii
import os
import signal
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ambry.errors import InvariantBroken
from frontend.encryption.provider import ProviderFailed, Wrapped, check_version

ANSWER_BYTES_MAX = 64 << 10
SAID_MAX = 200
"""Characters of a sentence that is passed on."""


class CommandKeys:
    """Runs the command for each question. Whoever stops waiting ends it."""

    name = "command"

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._called = Path(command[0]).name

    async def newest(self) -> str:
        return check_version((await self._ask({"op": "newest"})).get("version"))

    async def wrap(self, key: bytes, about: bytes) -> Wrapped:
        answer = await self._ask({"op": "wrap", "key": _text(key), "about": _text(about)})
        return Wrapped(check_version(answer.get("version")), self._bytes(answer, "wrapped"))

    async def unwrap(self, wrapped: Wrapped, about: bytes) -> bytes:
        question = {
            "op": "unwrap", "version": wrapped.version, "wrapped": _text(wrapped.text), "about": _text(about)
        }  # fmt: skip
        return self._bytes(await self._ask(question), "key")

    async def _ask(self, question: dict[str, str]) -> dict[str, Any]:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=ANSWER_BYTES_MAX,
                start_new_session=True,
            )
        except OSError as cause:
            raise ProviderFailed(f"{self._called} cannot be run: {cause.strerror}", away=True) from None
        try:
            said = await self._talk(process, msgspec.json.encode(question))
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    # With whatever it started.
                    os.killpg(process.pid, signal.SIGKILL)
                await asyncio.shield(process.wait())
        if process.returncode:
            raise ProviderFailed(f"{self._called} ended with code {process.returncode}", away=True)
        try:
            answer = msgspec.json.decode(said)
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = None
        if not isinstance(answer, dict):
            raise ProviderFailed(f"{self._called} answered {len(said)} bytes that are no JSON object", away=True)
        if isinstance(error := answer.get("error"), str):
            raise ProviderFailed(f"{self._called}: {error[:SAID_MAX]}", away=False)
        return answer

    async def _talk(self, process: asyncio.subprocess.Process, question: bytes) -> bytes:
        """Its whole answer."""
        to, of = process.stdin, process.stdout
        if to is None or of is None:
            raise InvariantBroken("a command was started without its pipes")
        with suppress(ConnectionError):
            to.write(question + b"\n")
            await to.drain()
        to.close()
        said = bytearray()
        while piece := await of.read(ANSWER_BYTES_MAX):
            said += piece
            if len(said) > ANSWER_BYTES_MAX:
                raise ProviderFailed(f"{self._called} answers more than {ANSWER_BYTES_MAX} bytes", away=True)
        await process.wait()
        return bytes(said)

    def _bytes(self, answer: dict[str, Any], field: str) -> bytes:
        try:
            return b64decode(answer[field], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise ProviderFailed(f"{self._called} answered without {field} in base64", away=True) from None


def _text(data: bytes) -> str:
    return b64encode(data).decode()
