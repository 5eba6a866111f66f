from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.blob import NEVER_MS, BlobProperties, BlobState, Durability
from ambry.errors import HeadersTooLarge, InvalidRequest
from ambry.format.properties import decode_metadata
from frontend.metadata.accounts import Accounts
from frontend.request import ContainerId
from frontend.rest.headers import (
    METADATA_BYTES_MAX,
    METADATA_KEYS_MAX,
    NAME_BYTES_MAX,
    TTL_SECONDS_MAX,
    blob_headers,
    expiry,
    metadata_headers,
    put_spec,
    target_container,
    ttl_text,
    user_metadata,
    utf8_text,
)
from frontend.router.get import BlobInfo
from frontend.router.put import PutSpec
from tests.support.fake_cluster import some_id
from tests.support.http_frontend import ACCOUNTS

NOW = 1_700_000_000_000
PERMANENT = BlobState(0, False, NEVER_MS)


def spec(headers: dict[str, str], filename: str = "") -> PutSpec:
    return put_spec(headers, filename=filename, now_ms=NOW)


def info(state: BlobState = PERMANENT, **properties: object) -> BlobInfo:
    fields: dict[str, object] = {"size": 5, "digest": bytes(range(16)), **properties}
    return BlobInfo(
        id=some_id(),
        properties=BlobProperties(**fields),  # type: ignore[arg-type]
        metadata={},
        state=state,
        created_at_ms=NOW,
    )


def test_an_upload_without_headers_has_the_defaults() -> None:
    made = spec({})
    assert target_container({}, Accounts(ACCOUNTS)) == ContainerId(1, 1)
    assert made.expires_at_ms == NEVER_MS
    assert (made.durability, made.metadata) == (Durability.DISK, b"")
    assert made.properties == BlobProperties(size=0, digest=b"")


def test_an_upload_says_what_it_wants() -> None:
    headers = {
        "x-ambry-content-type": "image/png",
        "Content-Type": "application/x-www-form-urlencoded",
        "x-ambry-target-account-name": "ml",
        "x-ambry-target-container-name": "models",
        "x-ambry-ttl": "60",
        "x-ambry-private": "TRUE",
        "x-ambry-durability": "Geo",
        "x-ambry-um-A": "b",
    }
    made = spec(headers, filename="from-path")
    assert target_container(headers, Accounts(ACCOUNTS)) == ContainerId(7, 70)
    assert made.durability is Durability.GEO
    assert made.expires_at_ms == NOW + 60_000
    assert (made.properties.content_type, made.properties.private) == ("image/png", True)
    assert made.properties.filename == "from-path"
    assert decode_metadata(made.metadata) == {"a": "b"}


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ambry-private": "yes"},
        {"x-ambry-durability": "eternal"},
        {"x-ambry-durability": ""},
        {"x-ambry-target-account-name": "nobody"},
        {"x-ambry-target-container-name": "nothing"},
        {"x-ambry-service-id": "é"},
        {"x-ambry-owner-id": "a" * (NAME_BYTES_MAX + 1)},
        {"Content-Type": "\udcff"},
        {"x-ambry-filename": "a\x00b"},
        {"x-ambry-filename": "a\x7fb"},
        {"x-ambry-filename": "é" * (NAME_BYTES_MAX // 2 + 1)},
    ],
)
def test_what_cannot_be_is_refused_and_named(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        target_container(headers, Accounts(ACCOUNTS))
        spec(headers)


@pytest.mark.parametrize("control", ["\n", "\r", "\t", "\x00", "\x1f", "\x7f"])
def test_a_filename_from_a_path_has_no_control_characters_either(control: str) -> None:
    with pytest.raises(InvalidRequest, match="control characters"):
        spec({}, filename=f"a{control}b")


def test_names_at_their_bounds_are_taken() -> None:
    made = spec({"x-ambry-owner-id": "a" * NAME_BYTES_MAX, "x-ambry-filename": "é" * (NAME_BYTES_MAX // 2)})
    assert len(made.properties.owner_id) == NAME_BYTES_MAX
    assert len(made.properties.filename.encode()) == NAME_BYTES_MAX


# --- time to live ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, NEVER_MS), ("-1", NEVER_MS), ("1", NOW + 1000), ("007", NOW + 7000), (str(TTL_SECONDS_MAX), NOW + 10**14)],
)
def test_a_time_to_live_in_seconds(value: str | None, expected: int) -> None:
    assert expiry(value, NOW) == expected
    assert expiry(value, NOW) <= NEVER_MS


@pytest.mark.parametrize("value", ["", "0", "-2", "1.5", "1e3", " 1", "١", "²", str(TTL_SECONDS_MAX + 1), "9" * 100])
def test_a_time_to_live_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        expiry(value, NOW)


@given(st.integers(1, TTL_SECONDS_MAX))
def test_a_time_to_live_is_read_back_as_it_was_given(seconds: int) -> None:
    assert ttl_text(BlobState(0, False, expiry(str(seconds), NOW)), NOW) == str(seconds)
    assert ttl_text(BlobState(3, False, NEVER_MS), NOW) == "-1"


# --- user metadata ---

KEYS = st.from_regex(r"[a-z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(st.dictionaries(KEYS, TEXTS, max_size=10))
def test_user_metadata_comes_back_whatever_text_it_is(pairs: dict[str, str]) -> None:
    headers = metadata_headers(pairs)
    assert len(headers) == len(pairs)
    for name, value in headers.items():
        assert value.isascii() and value.isprintable() and value == value.strip(), "a header could not carry it"
        assert name.startswith(("x-ambry-um-", "x-ambry-enc-um-"))
    assert user_metadata(headers) == pairs


def as_received(data: bytes) -> str:
    """Header bytes as aiohttp hands them on."""
    return data.decode("utf-8", "surrogateescape")


@given(st.binary(max_size=40))
def test_any_bytes_in_a_value_make_text_that_can_be_stored(data: bytes) -> None:
    for name in ("x-ambry-um-k", "x-ambry-enc-um-k"):
        text = user_metadata({name: as_received(data)})["k"]
        text.encode()
    assert utf8_text(as_received(data)) == data.decode("utf-8", "replace")


def test_utf_8_in_a_header_is_text() -> None:
    assert user_metadata({"X-Ambry-UM-Title": as_received("été".encode())}) == {"title": "été"}


@pytest.mark.parametrize("text", [" a", "a ", " ", "\t", "a\tb", "é", "a\nb", "\x7f", "%41", ""])
def test_what_a_header_would_lose_goes_out_encoded(text: str) -> None:
    ((name, value),) = metadata_headers({"k": text}).items()
    assert value == value.strip() and value.isascii() and value.isprintable()
    assert user_metadata({name: value}) == {"k": text}


def test_an_encoded_value_may_hold_what_a_header_may_not_and_goes_out_encoded() -> None:
    pairs = user_metadata({"x-ambry-enc-um-a": "x%0D%0ASet-Cookie: y%00"})
    assert pairs == {"a": "x\r\nSet-Cookie: y\x00"}
    assert metadata_headers(pairs) == {"x-ambry-enc-um-a": "x%0D%0ASet-Cookie%3A%20y%00"}


@pytest.mark.parametrize("headers", [{"x-ambry-um-": "x"}, {"x-ambry-um-a": "1", "X-Ambry-Enc-Um-A": "1"}])
def test_a_key_without_a_name_or_given_twice_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        user_metadata(headers)


def test_user_metadata_has_bounds_that_are_themselves_allowed() -> None:
    assert len(user_metadata({f"x-ambry-um-{n:02}": "" for n in range(METADATA_KEYS_MAX)})) == METADATA_KEYS_MAX
    with pytest.raises(HeadersTooLarge):
        user_metadata({f"x-ambry-um-{n:02}": "" for n in range(METADATA_KEYS_MAX + 1)})
    full = "é" * ((METADATA_BYTES_MAX - 2) // 2)
    assert user_metadata({"x-ambry-um-kk": full}) == {"kk": full}
    with pytest.raises(HeadersTooLarge):
        user_metadata({"x-ambry-um-kkk": full})


# --- what a read tells ---


@pytest.mark.parametrize(
    ("content_type", "attachment"),
    [
        ("text/html", True),
        ("Text/HTML ; charset=x", True),
        ("image/svg+xml", True),
        ("application/xhtml+xml", True),
        ("application/xml", True),
        ("text/xml;x", True),
        ("application/atom+xml", True),
        ("text/html, text/plain", True),
        ("text/plain, text/html;q=1", True),
        ("text/plain", False),
        ("image/png", False),
        ("application/octet-stream", False),
    ],
)
def test_types_that_a_browser_would_run_are_attachments(content_type: str, attachment: bool) -> None:
    headers = blob_headers(info(content_type=content_type), Accounts(ACCOUNTS))
    assert headers.get("Content-Disposition") == ("attachment" if attachment else None)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Type"] == content_type


@pytest.mark.parametrize(
    ("private", "expires_at_ms", "public"), [(False, NEVER_MS, True), (True, NEVER_MS, False), (False, NOW + 1, False)]
)
def test_only_public_blobs_for_ever_may_be_cached_by_all(private: bool, expires_at_ms: int, public: bool) -> None:
    headers = blob_headers(info(BlobState(0, False, expires_at_ms), private=private), Accounts(ACCOUNTS))
    assert headers["Cache-Control"].startswith("public" if public else "private")


def test_a_container_that_is_not_configured_any_more_shows_its_number() -> None:
    headers = blob_headers(info(), Accounts({}))
    assert (headers["x-ambry-target-account-name"], headers["x-ambry-target-container-name"]) == ("1", "1")
