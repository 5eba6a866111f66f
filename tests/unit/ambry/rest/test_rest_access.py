"""Keys as text, and roles by name."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.clock import system_secret
from ambry.errors import InvalidRequest
from ambry.rest.access import ALL_ROLES, Role, hash_of, is_key_id, key_text, new_key, parse_key, role_of, role_texts


def test_a_key_is_told_by_its_text_and_found_by_it() -> None:
    made = new_key(system_secret)
    assert parse_key(key_text(made)) == made and is_key_id(made.id)
    assert key_text(made).startswith("ambry_") and len(made.secret) == 43
    assert hash_of(made.secret) == hashlib.sha256(made.secret.encode()).hexdigest()
    another = new_key(system_secret, made.id)
    assert another.id == made.id and another.secret != made.secret


@given(st.integers(0, 64), st.characters(codec="ascii"))
def test_what_is_longer_or_holds_anything_else_is_no_key(at: int, more: str) -> None:
    text = key_text(new_key(lambda size: bytes(size)))
    longer = text[:at] + more + text[at:]
    found = parse_key(longer)
    assert found is None or (key_text(found) == longer and len(longer) == len(text))
    assert parse_key(text[:at] + text[at + 1 :]) is None


def test_roles_have_names() -> None:
    assert role_of(["read", "admin"]) == Role.READ | Role.ADMIN
    assert role_texts(ALL_ROLES) == ["read", "write", "delete", "name", "admin"]
    with pytest.raises(InvalidRequest, match="a role is one of read, write"):
        role_of(["owner"])
