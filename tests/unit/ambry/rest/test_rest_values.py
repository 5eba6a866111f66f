from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.durability import Durability
from ambry.errors import InvalidRequest
from ambry.rest import values


@given(st.integers(1, values.TTL_SECONDS_MAX))
def test_a_time_to_live_is_read_as_it_was_written(seconds: int) -> None:
    assert values.ttl_seconds(values.ttl_text(seconds)) == seconds


def test_for_ever_is_minus_one() -> None:
    assert values.ttl_text(None) == "-1"
    assert values.ttl_seconds("-1") is None
    assert values.ttl_seconds("0" * 5000 + "7") == 7


@pytest.mark.parametrize(
    "text",
    ["", "0", "000", "-2", "+5", "1.5", "1e3", " 1", "1_0", "١", "²", str(values.TTL_SECONDS_MAX + 1), "9" * 5000],
)
def test_a_time_to_live_that_is_none_is_refused(text: str) -> None:
    """5,000 digits once were a 500: Python makes no number of them."""
    with pytest.raises(InvalidRequest) as refused:
        values.ttl_seconds(text)
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("durability", Durability)
def test_durability(durability: Durability) -> None:
    assert values.durability(values.durability_text(durability).title()) is durability


@pytest.mark.parametrize("text", ["", "eternal", "diſk", "1"])
def test_no_durability(text: str) -> None:
    with pytest.raises(InvalidRequest):
        values.durability(text)


def test_flags() -> None:
    assert values.flag("x", "TRUE") and not values.flag("x", "false")
    for text in ("", "1", "yes"):
        with pytest.raises(InvalidRequest):
            values.flag("x", text)


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "g" * 32, "00 " * 10 + "00", "０" * 32])
def test_a_digest_has_32_hexadecimal_digits(text: str) -> None:
    assert values.digest("0F" * 16) == b"\x0f" * 16
    with pytest.raises(InvalidRequest):
        values.digest(text)
