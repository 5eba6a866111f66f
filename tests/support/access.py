"""Keys for tests: an administrator of the configuration, and requests with a key."""

from __future__ import annotations

from ambry.clock import Clock, system_secret
from ambry.rest.access import KeyText, hash_of, key_text, new_key
from frontend.access.verified import Access


def root_line(key: KeyText, name: str = "admin") -> str:
    """As it stands in access.root_keys."""
    return f"{key.id}:{hash_of(key.secret)}:{name}"


def bearer(key: KeyText | str) -> dict[str, str]:
    """The header of a request with this key."""
    return {"Authorization": f"Bearer {key if isinstance(key, str) else key_text(key)}"}


def access_with(key: KeyText, clock: Clock) -> Access:
    """Asks for keys, and knows this administrator."""
    return Access(clock=clock, root_keys=[root_line(key)])


def fresh_key() -> KeyText:
    return new_key(system_secret)
