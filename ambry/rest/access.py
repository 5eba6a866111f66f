"""Keys and what they let do, as both ends of the HTTP API say it.

A key is `ambry_<key id>_<secret>`: the id names it in lists and logs, the secret is 256 random bits in base64url (RFC 4648). A
server keeps the SHA-256 of the secret alone: of so many random bits nobody guesses one by its hash, so nothing slower is
needed.
"""

from __future__ import annotations

import enum
import hashlib
import re
from base64 import b32encode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from ambry.errors import InvalidRequest
from ambry.rest.text import is_plain

PREFIX = "ambry_"
KEY_ID_SIZE = 16
"""Characters."""
SECRET_BYTES = 32
KEY_NAME_SIZE_MAX = 128
ANY = "*"
"""Every account, or every container."""
_KEY = re.compile(rf"{PREFIX}([a-z2-7]{{{KEY_ID_SIZE}}})_([A-Za-z0-9_-]{{43}})")
_KEY_ID = re.compile(rf"[a-z2-7]{{{KEY_ID_SIZE}}}")


class Role(enum.IntFlag):
    """What somebody may do. None holds another in it."""

    NONE = 0
    READ = 1
    """Blobs, names, versions, lists, changes."""
    WRITE = 2
    """New blobs, and a longer life for those that are there."""
    DELETE = 4
    """Of blobs and names, and to bring back what was deleted."""
    NAME = 8
    """To let a name, a version or an alias point to something."""
    ADMIN = 16
    """Accounts, containers, keys, and what is told of the cluster."""


ALL_ROLES = Role.READ | Role.WRITE | Role.DELETE | Role.NAME | Role.ADMIN
_BY_TEXT = {str(role.name).lower(): role for role in ALL_ROLES}


def role_of(texts: Iterable[str]) -> Role:
    """The roles of these names. Raises InvalidRequest."""
    found = Role.NONE
    for text in texts:
        role = _BY_TEXT.get(text)
        if role is None:
            raise InvalidRequest(f"a role is one of {', '.join(_BY_TEXT)}, and not {text[:40]!r}")
        found |= role
    return found


def role_texts(roles: Role) -> list[str]:
    """Their names, always in the same order."""
    return [text for text, role in _BY_TEXT.items() if role & roles]


class Grant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Roles in some place. Where there is a `prefix` they hold for names that begin with it, and for nothing by its id."""

    roles: tuple[str, ...]
    account: str = ANY
    container: str = ANY
    prefix: str = ""


class KeyText(NamedTuple):
    """The two parts of a key; `secret` is never shown, nor written down."""

    id: str
    secret: str


def is_key_id(text: str) -> bool:
    return _KEY_ID.fullmatch(text) is not None


def is_key_name(text: str) -> bool:
    """Whether a key can be called that."""
    return 0 < len(text) <= KEY_NAME_SIZE_MAX and is_plain(text)


def parse_key(text: str) -> KeyText | None:
    """The parts of a key; None for what is none."""
    match = _KEY.fullmatch(text)
    return None if match is None else KeyText(match[1], match[2])


def key_text(key: KeyText) -> str:
    """The key as its owner has it."""
    return f"{PREFIX}{key.id}_{key.secret}"


def hash_of(secret: str) -> str:
    """What a server keeps of a secret: its SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_key(chance: Callable[[int], bytes], id: str = "") -> KeyText:
    """A key that nobody has; with an `id`, another secret of it. `chance` gives bytes that nobody can guess."""
    made = id or b32encode(chance(KEY_ID_SIZE * 5 // 8)).decode().lower()
    return KeyText(made, urlsafe_b64encode(chance(SECRET_BYTES)).decode().rstrip("="))
