"""The rows of quotas as they lie in the store."""

from __future__ import annotations

from frontend.containers.quota_rows import (
    QuotaAmount,
    QuotaCount,
    count_key,
    decode_amount,
    decode_count,
    encode,
    grants_key,
)


def test_keys_and_values_are_these_bytes() -> None:
    number = 7 << 32 | 70
    assert count_key(number) == b"c\0\0\0\x07\0\0\0F" and grants_key(number) == b"g\0\0\0\x07\0\0\0F"
    assert encode(QuotaAmount(5, 2)) == b"\x92\x05\x02" and decode_amount(b"\x92\x05\x02") == QuotaAmount(5, 2)
    count = QuotaCount(QuotaAmount(5, 2), b"m", QuotaAmount(-1, 0), QuotaAmount(3, 1))
    assert encode(count) == b"\x94\x92\x05\x02\xc4\x01m\x92\xff\x00\x92\x03\x01"
    assert decode_count(encode(count)) == count


def test_growth_since_a_mark_is_told_with_what_is_used() -> None:
    count = QuotaCount(QuotaAmount(10, 2), b"m", QuotaAmount(1, 1), QuotaAmount(3, 1)).plus(QuotaAmount(4, -1))
    assert count == QuotaCount(QuotaAmount(14, 1), b"m", QuotaAmount(5, 0), QuotaAmount(3, 1))


def test_amounts_are_compared_part_by_part() -> None:
    assert QuotaAmount(3, 3).covers(QuotaAmount(3, 2)) and not QuotaAmount(3, 3).covers(QuotaAmount(0, 4))
    assert QuotaAmount(-1, 2).positive == QuotaAmount(0, 2)
