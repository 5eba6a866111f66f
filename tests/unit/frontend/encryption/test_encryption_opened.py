"""Data keys as a container's key wraps them: without a nonce, and as they were wrapped before."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ambry.errors import KeyMismatch
from frontend.encryption.opened import OpenKey

KEY, DATA, ABOUT = bytes(range(32)), bytes(range(100, 132)), b"ambry data key 1" + bytes(36)
WRAPPED = bytes.fromhex(
    "02ed34732b6bd69a442f033158d6957cbf196ccd560aac0cf9cc8af784ef5d273a8273b207cd0f1f13b8149daa52e43cd4"
)


def open_key(key: bytes = KEY) -> OpenKey:
    return OpenKey(7, key, until=1.0)


def test_a_data_key_is_wrapped_alike_each_time_in_bytes_that_stay() -> None:
    """A key wrapped under nonces of chance, of which one key stands 2 ** 32, and nobody counted them."""
    assert open_key().wrap(DATA, ABOUT) == open_key().wrap(DATA, ABOUT) == WRAPPED
    assert open_key().unwrap(WRAPPED, ABOUT) == DATA
    assert open_key().wrap(DATA[::-1], ABOUT)[1:17] != WRAPPED[1:17] != open_key().wrap(DATA, ABOUT + b"x")[1:17]
    assert open_key().unwrap(open_key().wrap(DATA + DATA, ABOUT), ABOUT) == DATA + DATA, "the key of rows is longer"


@pytest.mark.parametrize("first", [0, 1, 2, 3, 255])
def test_what_was_wrapped_before_opens_whatever_its_nonce_begins_with(first: int) -> None:
    nonce = bytes([first]) + bytes(11)
    wrapped = nonce + AESGCM(KEY).encrypt(nonce, DATA, ABOUT)
    assert open_key().unwrap(wrapped, ABOUT) == DATA
    with pytest.raises(KeyMismatch):
        open_key().unwrap(wrapped, ABOUT + b"x")


@pytest.mark.parametrize("bit", range(8 * (1 + 16 + 32)))
def test_a_wrapped_key_in_which_any_bit_is_another_opens_nothing(bit: int) -> None:
    changed = bytearray(WRAPPED)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(KeyMismatch, match="not wrapped by the container's key"):
        open_key().unwrap(bytes(changed), ABOUT)


@pytest.mark.parametrize("size", range(1 + 16 + 32))
def test_a_wrapped_key_that_is_cut_opens_nothing(size: int) -> None:
    with pytest.raises(KeyMismatch):
        open_key().unwrap(WRAPPED[:size], ABOUT)


def test_another_key_and_another_place_open_nothing() -> None:
    with pytest.raises(KeyMismatch):
        open_key(KEY[::-1]).unwrap(WRAPPED, ABOUT)
    with pytest.raises(KeyMismatch):
        open_key().unwrap(WRAPPED, ABOUT[:-1])
