from __future__ import annotations

import pytest

from ambry.blob import NEVER_MS, BlobProperties, BlobState, Durability
from ambry.errors import HeadersTooLarge, InvalidRequest
from ambry.format.properties import decode_metadata
from ambry.rest.text import TEXT_SIZE_MAX
from ambry.rest.values import TTL_SECONDS_MAX
from frontend.metadata.accounts import Accounts
from frontend.request import ContainerId
from frontend.rest.headers import blob_headers, expiry, put_spec, target_container, ttl_text
from frontend.router.values import BlobHead, PutSpec
from tests.support.fake_cluster import some_id
from tests.support.http_frontend import ACCOUNTS

NOW = 1_700_000_000_000
PERMANENT = BlobState(0, False, NEVER_MS)


def spec(headers: dict[str, str], filename: str = "") -> PutSpec:
    return put_spec(headers, filename=filename, now_ms=NOW)


def info(state: BlobState = PERMANENT, **properties: object) -> BlobHead:
    fields: dict[str, object] = {"size": 5, "digest": bytes(range(16)), **properties}
    return BlobHead(
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
        {"x-ambry-owner-id": "a" * (TEXT_SIZE_MAX + 1)},
        {"Content-Type": "\udcff"},
        {"Content-Type": ""},
        {"Content-Type": "text/plain, text/html"},
        {"x-ambry-content-type": "text"},
        {"Content-Encoding": "gzip,,br"},
        {"x-ambry-filename": "a\x00b"},
        {"x-ambry-filename": "\udcff"},
        {"x-ambry-filename": "a/b"},
        {"x-ambry-enc-filename": "%FF"},
        {"x-ambry-filename": "a", "x-ambry-enc-filename": "b"},
        {"x-ambry-ttl": "9" * 5000},
    ],
)
def test_what_cannot_be_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        target_container(headers, Accounts(ACCOUNTS))
        spec(headers)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-ambry-filename": "a b.bin"}, {"x-ambry-filename": "a b.bin"}),
        ({"x-ambry-filename": "été"}, {"x-ambry-enc-filename": "%C3%A9t%C3%A9"}),
        ({"x-ambry-enc-filename": "%20a"}, {"x-ambry-enc-filename": "%20a"}),
        ({"x-ambry-enc-filename": "a%25b"}, {"x-ambry-filename": "a%b"}),
        ({}, {}),
    ],
)
def test_a_file_name_goes_out_in_the_form_that_every_client_reads(
    headers: dict[str, str], expected: dict[str, str]
) -> None:
    made = info(filename=spec(headers).properties.filename)
    told = blob_headers(made, Accounts(ACCOUNTS))
    assert {name: value for name, value in told.items() if "filename" in name} == expected


# --- time to live ---


def test_a_time_to_live_becomes_an_expiry_and_back() -> None:
    assert expiry(None, NOW) == expiry("-1", NOW) == NEVER_MS
    assert expiry("7", NOW) == NOW + 7000
    assert expiry(str(TTL_SECONDS_MAX), NOW) < NEVER_MS
    assert ttl_text(BlobState(0, False, NOW + 7000), NOW) == "7"
    assert ttl_text(PERMANENT, NOW) == "-1"


# --- user metadata ---


def test_user_metadata_is_stored_as_text_whichever_way_it_came() -> None:
    headers = {"X-Ambry-UM-Title": "été", "x-ambry-enc-um-a": "x%0D%0Ay%00"}
    assert decode_metadata(spec(headers).metadata) == {"title": "été", "a": "x\r\ny\x00"}


def test_user_metadata_beyond_its_bounds_as_it_will_go_out_is_refused() -> None:
    """Two bytes of UTF-8 go out as six: what was taken by its size in the request could not be read back by every client."""
    with pytest.raises(HeadersTooLarge):
        spec({"x-ambry-um-k": "é" * 2000})


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
