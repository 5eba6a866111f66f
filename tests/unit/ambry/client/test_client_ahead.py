"""The digest of what is fetched in order; reading ahead itself is in test_fs_ahead.py."""

from __future__ import annotations

import pytest

from ambry.client.ahead import InOrder, ReadAhead
from ambry.errors import ChecksumMismatch
from tests.support.stub_frontend import hexdigest

BODY = b"0123456789"


def test_what_was_asked_for_and_never_came_changes_nothing() -> None:
    # What was held was given out from where the missing bytes begin: other bytes, as the right ones.
    ahead = ReadAhead(1 << 20, 1000)
    ahead.missing(0, 100)
    ahead.arrived(bytes(range(100)))
    ahead.missing(50, 300)
    assert bytes(ahead.held(50, 150)) == bytes(range(50, 100))
    assert not ahead.held(100, 150)
    fetch = ahead.missing(50, 300)
    ahead.arrived(bytes(fetch.end - fetch.start))
    assert bytes(ahead.held(50, 300)) == bytes(range(50, 100)) + bytes(200)


def test_wrong_bytes_are_refused_with_the_last_of_them() -> None:
    order = InOrder(10, hexdigest(BODY))
    order.passed(0, b"01234")
    with pytest.raises(ChecksumMismatch, match="do not use them"):
        order.passed(5, b"5678x")


def test_of_what_is_read_out_of_order_nothing_is_said() -> None:
    order = InOrder(10, hexdigest(BODY))
    order.passed(0, b"01")
    order.passed(5, b"xxxxx")
    order.passed(2, b"xxxxxxxx")


def test_what_is_read_again_counts_once_and_without_a_digest_nothing_does() -> None:
    order = InOrder(10, hexdigest(BODY))
    order.passed(0, BODY[:5])
    order.passed(0, b"again")
    order.passed(5, BODY[5:])
    InOrder(10, "").passed(0, b"xxxxxxxxxx")
