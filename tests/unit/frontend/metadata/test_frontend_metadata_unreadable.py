"""Rows that cannot be read: passed over one by one, counted each time, told of once."""

from __future__ import annotations

import pytest

from ambry.errors import DataCorrupt, FormatUnknown, Unavailable
from frontend import metrics
from frontend.metadata import unreadable
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import LocalRow
from frontend.metadata.unreadable import passing_over, readable
from tests.support.captured_log import capture_log


def row(key: bytes, value: bytes) -> LocalRow:
    return LocalRow(LocalSpace.INTENT, key, value, None)


def number(each: LocalRow) -> int:
    if each.value == b"new":
        raise FormatUnknown("of a newer release")
    if not each.value.isdigit():
        raise DataCorrupt("no number")
    return int(each.value)


def test_what_can_be_read_is_read_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unreadable, "_told", set())
    before = metrics.UNREADABLE.labels("sample").value
    rows = [row(b"a", b"1"), row(b"b", b"new"), row(b"c", b"?"), row(b"d", b"2")]
    lines = capture_log(monkeypatch, unreadable)
    assert readable("sample", rows, number) == [1, 2]
    assert readable("sample", rows, number) == [1, 2]
    assert metrics.UNREADABLE.labels("sample").value - before == 4
    assert [(line["key"], line["error"]) for line in lines] == [("62", "of a newer release"), ("63", "no number")]


def test_what_fails_for_another_reason_fails() -> None:
    with pytest.raises(Unavailable), passing_over("sample", b"a"):
        raise Unavailable("away")
