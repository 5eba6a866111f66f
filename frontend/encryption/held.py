"""Master keys that a frontend holds itself: in a file, or in a variable of its environment.

Each line, or each part between commas, is a version and its key: 64 hexadecimal digits. The last one wraps what comes.

    # /etc/ambry/master.keys, mode 0600
    1 53aa...
    2 9c0b...
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, MutableMapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from frontend.encryption.provider import KEY_SIZE, VERSION_SIZE_MAX, ProviderFailed, Wrapped
from frontend.encryption.secret_files import SecretFile

NONCE_SIZE = 12
VERSIONS_MAX = 1_000
_LINE = re.compile(rf"([A-Za-z0-9._-]{{1,{VERSION_SIZE_MAX}}})[\s:=]+([0-9A-Fa-f]{{{KEY_SIZE * 2}}})")


class HeldKeys:
    """`text` gives the lines, as they are now; it is called on a thread. Raises ProviderFailed."""

    def __init__(self, name: str, text: Callable[[], str], *, chance: Callable[[int], bytes]) -> None:
        """`chance` gives bytes that nobody can guess."""
        self.name = name
        self._text = text
        self._chance = chance

    async def newest(self) -> str:
        return list(await self._keys())[-1]

    async def wrap(self, key: bytes, about: bytes) -> Wrapped:
        version, master = list((await self._keys()).items())[-1]
        nonce = self._chance(NONCE_SIZE)
        return Wrapped(version, nonce + AESGCM(master).encrypt(nonce, key, about))

    async def unwrap(self, wrapped: Wrapped, about: bytes) -> bytes:
        keys = await self._keys()
        master = keys.get(wrapped.version)
        if master is None:
            there = ", ".join(keys)
            raise ProviderFailed(
                f"there is no version {wrapped.version} of the master key any more, only {there}", away=False
            )
        try:
            return AESGCM(master).decrypt(wrapped.text[:NONCE_SIZE], wrapped.text[NONCE_SIZE:], about)
        except (InvalidTag, ValueError):
            raise ProviderFailed(
                f"version {wrapped.version} of the master key is another one than what wrapped it", away=False
            ) from None

    async def _keys(self) -> dict[str, bytes]:
        return parse(await asyncio.to_thread(self._text))


def parse(text: str) -> dict[str, bytes]:
    """Master keys by their versions, in their order. Raises ProviderFailed, which tells nothing of a key."""
    found: dict[str, bytes] = {}
    for number, line in enumerate(re.split(r"[\n,]", text), 1):
        said = line.partition("#")[0].strip()
        if not said:
            continue
        match = _LINE.fullmatch(said)
        if match is None:
            raise ProviderFailed(
                f"line {number} is no version with a key of {KEY_SIZE * 2} hexadecimal digits", away=False
            )
        if match[1] in found:
            raise ProviderFailed(f"line {number} says version {match[1]} a second time", away=False)
        found[match[1]] = bytes.fromhex(match[2])
    if not 0 < len(found) <= VERSIONS_MAX:
        raise ProviderFailed(f"1 to {VERSIONS_MAX} versions of a master key can be had, not {len(found)}", away=False)
    return found


def key_file(path: str, *, chance: Callable[[int], bytes]) -> HeldKeys:
    """Master keys in a file that nobody else may read. It is read each time, so a version that is added is known at once."""
    return HeldKeys("file", SecretFile(path).read, chance=chance)


def key_variable(variable: str, environment: MutableMapping[str, str], *, chance: Callable[[int], bytes]) -> HeldKeys:
    """Master keys in a variable, which is taken out: no command that this process starts gets it."""
    text = environment.pop(variable, "")

    def said() -> str:
        if not text:
            raise ProviderFailed(f"the variable {variable} is not set", away=False)
        return text

    return HeldKeys("environment", said, chance=chance)
