"""What the client writes into headers and reads out of them, and that the server means the same by it."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry import BlobId, BlobInfo, Durability, InvalidRequest, ProtocolViolation
from ambry.client.wire import blobs as wire
from ambry.client.wire import keys, refusals
from ambry.client.wire.message import ApiRequest, moment, violation
from ambry.errors import HeadersTooLarge
from ambry.format.properties import decode_metadata
from ambry.ids import IdKind
from ambry.rest import metadata as metadata_rules
from ambry.rest import names, text
from frontend.rest.upload_headers import put_spec

BLOB = BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=1, uuid=bytes(16))
NOTHING: dict[str, Any] = {
    "size": None,
    "digest": "",
    "ttl": None,
    "content_type": None,
    "metadata": None,
    "filename": None,
    "durability": None,
}


def sent(**asked: Any) -> dict[str, str]:
    return wire.upload_request(**{**NOTHING, **asked}).headers


def told(**headers: str) -> BlobInfo:
    named = {"x-ambry-" + name.replace("_", "-"): value for name, value in headers.items()}
    return wire.parse_info(BLOB, {names.BLOB_SIZE: "0", **named})


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
KEYS = st.text(st.sampled_from("abz019-_."), min_size=1, max_size=20)


@given(st.dictionaries(KEYS, TEXTS, max_size=20))
def test_metadata_goes_through_the_server_and_comes_back_as_it_was_given(metadata: dict[str, str]) -> None:
    stored = decode_metadata(put_spec(sent(metadata=metadata), filename="", now_ms=0).metadata)
    assert stored == metadata
    assert wire.parse_info(BLOB, {names.BLOB_SIZE: "0", **metadata_rules.encode(stored)}).metadata == metadata


@pytest.mark.parametrize("name", ["model.bin", "modèle.bin", "日本.txt", "100% sure", " spaced ", "x" * 255])
def test_file_names_mean_the_same_to_the_server(name: str) -> None:
    headers = sent(filename=name)
    assert put_spec(headers, filename="", now_ms=0).properties.filename == name
    assert wire.parse_info(BLOB, {names.BLOB_SIZE: "0", **headers}).filename == name
    assert all(value.isascii() for value in headers.values())


@pytest.mark.parametrize("name", ["a/b", "..", "a\nb", "x" * 256, "a\u202eb", "\udcff"])
def test_a_file_name_that_the_server_would_refuse_is_refused_here_with_a_way_out(name: str) -> None:
    with pytest.raises(InvalidRequest, match="filename="):
        sent(filename=name)


@pytest.mark.parametrize(
    ("ttl", "expected"), [(None, "-1"), (5, "5"), (timedelta(minutes=1), "60"), (10**11, "1" + "0" * 11)]
)
def test_a_ttl_is_whole_seconds_or_for_ever(ttl: timedelta | int | None, expected: str) -> None:
    assert sent(ttl=ttl)[names.TTL] == expected


@pytest.mark.parametrize("ttl", [0, -1, timedelta(0), timedelta(milliseconds=999), 10**11 + 1])
def test_a_ttl_that_the_server_would_refuse_is_refused_here(ttl: timedelta | int) -> None:
    with pytest.raises(InvalidRequest, match="ttl"):
        sent(ttl=ttl)


@pytest.mark.parametrize(
    "asked",
    [
        {"content_type": "no type"},
        {"content_type": "text/plain\nx: y"},
        {"durability": "forever"},
        {"metadata": {"k": 7}},
        {"metadata": {"Upper": "x"}},
    ],
)
def test_what_the_server_would_refuse_is_refused_here(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        sent(**asked)


def test_metadata_beyond_the_servers_limits_is_refused_here() -> None:
    for metadata in ({f"k{n}": "" for n in range(65)}, {"k": "x" * 8192}, {"k": "ü" * 1400}):
        with pytest.raises(HeadersTooLarge):
            sent(metadata=metadata)


@pytest.mark.parametrize("durability", ["disk", "GEO", Durability.MEMORY])
def test_durability_is_a_name_or_a_member(durability: str | Durability) -> None:
    expected = durability if isinstance(durability, Durability) else Durability[durability.upper()]
    assert put_spec(sent(durability=durability), filename="", now_ms=0).durability is expected


@pytest.mark.parametrize(
    "headers",
    [
        {"ttl": "soon"},
        {"ttl": ""},
        {"ttl": "9" * 5000},
        {"digest": "0" * 31},
        {"digest": "x" * 32},
        {"blob_size": "9" * 5000},
        {"blob_size": "-1"},
        {"blob_size": "١"},
        {"enc_filename": "%zz"},
        {"enc_um_k": "%ff"},
        {"um_": "x"},
    ],
)
def test_headers_that_no_frontend_of_ours_writes_are_a_violation(headers: dict[str, str]) -> None:
    with pytest.raises(ProtocolViolation):
        told(**headers)


def test_a_life_beyond_the_calendar_has_no_end() -> None:
    assert told(ttl=str(10**18)).expires is None
    assert told(ttl="-1").expires is None
    assert told().expires is None


@pytest.mark.parametrize("written", ["bytes 0-1", "bytes */5", "bytes 0-1/*", f"bytes 0-{'9' * 5000}/5", "bytes ١-٢/٣"])
def test_a_content_range_that_is_none_is_a_violation(written: str) -> None:
    with pytest.raises(ProtocolViolation):
        wire.content_range({"content-range": written})


def test_text_that_a_header_cannot_carry_travels_in_a_form_that_every_library_reads() -> None:
    value = " größe\n100% "
    assert sent(metadata={"k": value}) == {
        "content-type": "application/octet-stream",
        names.TTL: "-1",
        "x-ambry-enc-um-k": text.percent_encoded("it", value),
    }


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_process_without_descriptors_is_not_told_to_look_at_the_frontend(number: int) -> None:
    told = refusals.connect_failed("http://a:1", OSError(number, os.strerror(number))).message
    assert "ulimit -n" in told and "frontend" not in told


def test_what_a_server_says_in_an_error_controls_no_terminal() -> None:
    # It reached the terminal as it was: titles, colours, text that runs the other way.
    evil = "\x1b]0;x\x07\u009b31m\u202e"
    body = msgspec.json.encode({"code": "InvalidRequest", "detail": f"no{evil}", "request_id": f"r{evil}"})
    headers = {"content-type": "application/problem+json", names.REQUEST_ID: f"h{evil}"}
    request = ApiRequest("GET", "/x", {}, "x")
    for told in (
        refusals.error_of("http://a", request, 400, headers, body, now_ms=0),
        refusals.error_of("http://a", request, 400, headers, b"", now_ms=0),
        violation(headers, "x"),
    ):
        assert (told.message + told.request_id).isprintable()


@pytest.mark.parametrize("size", [(1 << 44) + 1, 1 << 62, 9_999_999_999_999_999_999])
def test_a_size_that_no_blob_has_is_not_believed(size: int) -> None:
    with pytest.raises(ProtocolViolation, match="no blob has more"):
        wire.parse_info(BLOB, {names.BLOB_SIZE: str(size)})
    assert wire.parse_info(BLOB, {names.BLOB_SIZE: str(1 << 44)}).size == 1 << 44


def test_keys_whose_expiry_no_calendar_has_are_listed() -> None:
    """One of the year 10000 was a traceback for everybody who listed them."""
    told = b'{"keys": [{"id": "aaaaaaaaaaaaaaaa", "name": "k", "grants": [], "createdMs": 1, "expiresMs": %d}]}'
    last = datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC)
    assert [keys.parse_list({}, told % ms)[0].expires for ms in (253_402_300_799_999, 2**53)] == [last, last]


def test_a_time_that_no_calendar_has_is_refused_where_it_is_no_end() -> None:
    with pytest.raises(OverflowError):
        moment(2**62)
