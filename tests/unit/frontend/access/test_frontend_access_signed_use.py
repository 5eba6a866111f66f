"""Who may sign a URL, and for how long it is good: until it expires, or its key does, or is gone."""

from __future__ import annotations

import pytest

from ambry.errors import InvalidRequest, MetadataUnavailable, MisdirectedRequest, NotSupported, Unauthenticated
from ambry.rest.access import Grant, hash_of
from frontend.access.key_rows import OldSecret, StoredKey
from frontend.access.signed import LIFE_S_MAX, SKEW_S, Leave
from frontend.access.signed_use import SignedUrls, is_signed
from frontend.access.verified import Access
from frontend.http.target import parse_target
from frontend.who import NOBODY, Who
from tests.support.fake_clock import SettableClock

SECRET = bytes(range(32))
KEY_ID = "abcdefghijklmnop"
SECRET_TEXT = "a" * 43
HEADER = f"Bearer ambry_{KEY_ID}_{SECRET_TEXT}"


def key(**more: object) -> StoredKey:
    told = {
        "name": "app",
        "hash": hash_of(SECRET_TEXT),
        "grants": (Grant(roles=("read",)),),
        "created_ms": 0,
        "created_by": "",
    }
    return StoredKey(**{**told, **more})  # type: ignore[arg-type]


class Frontend:
    """One frontend's keys and URLs, and a clock to turn."""

    def __init__(self, stored: StoredKey | None = None, *, datacenter: str = "dc1") -> None:
        self.clock = SettableClock()
        self.access = Access(clock=self.clock)
        self.access.know([(KEY_ID, stored or key())])
        self.urls = SignedUrls(self.access, SECRET, clock=self.clock, datacenter=datacenter)

    def signed(self, life_s: int = 100, **more: object) -> str:
        who = self.access.of(HEADER)
        self.urls.check_signs(who)
        expires_s = self.urls.expiry(who, life_s)
        leave = Leave(**{"verb": "GET", "key_id": KEY_ID, "expires_s": expires_s, **more})  # type: ignore[arg-type]
        return self.urls.sign(who, "/a", leave)

    def open(self, query: str, method: str = "GET") -> Who:
        return self.urls.open(method, ("/a",), parse_target("GET", f"/a?{query}").query_pairs())[0]


def test_a_url_does_what_its_key_may() -> None:
    frontend = Frontend()
    query = frontend.signed()
    assert is_signed(query)
    who = frontend.open(query)
    assert (who.id, who.name, who.signed) == (KEY_ID, "app", True)
    assert frontend.access.take_used() == {KEY_ID}, "the key was used"
    assert frontend.open(query, "HEAD") is who
    for method in ("PUT", "DELETE", "OPTIONS"):
        with pytest.raises(Unauthenticated, match="signed for GET"):
            frontend.open(query, method)


def test_a_url_expires_when_it_says_but_for_the_skew_of_clocks() -> None:
    frontend = Frontend()
    query = frontend.signed(100)
    frontend.clock.advance(100 + SKEW_S - 2)
    frontend.open(query)
    frontend.clock.advance(2)
    with pytest.raises(Unauthenticated, match="expired"):
        frontend.open(query)


def test_no_url_is_good_for_longer_than_a_week() -> None:
    frontend = Frontend()
    now_s = frontend.clock.wall_ms() // 1000
    frontend.open(frontend.signed(expires_s=now_s + LIFE_S_MAX))
    with pytest.raises(Unauthenticated, match=f"longer than {LIFE_S_MAX} s"):
        frontend.open(frontend.signed(expires_s=now_s + LIFE_S_MAX + SKEW_S + 2))


def test_a_url_dies_with_its_key() -> None:
    frontend = Frontend()
    query = frontend.signed()
    frontend.access.know([])
    with pytest.raises(Unauthenticated, match=f"{KEY_ID} that signed this URL was revoked"):
        frontend.open(query)
    frontend.access.certain = False
    with pytest.raises(MetadataUnavailable):
        frontend.open(query)


def test_a_url_dies_when_the_secret_of_its_key_is_rotated_and_not_before_that_has_ended() -> None:
    frontend = Frontend()
    query = frontend.signed()
    old = OldSecret(hash=hash_of(SECRET_TEXT), until_ms=frontend.clock.wall_ms() + 50_000)
    frontend.access.know([(KEY_ID, key(hash=hash_of("b" * 43), old=(old,)))])
    frontend.open(query)
    # What the old secret signs now lives no longer than it.
    late = frontend.signed(90)
    frontend.open(late)
    frontend.clock.advance(51)
    for each in (query, late):
        with pytest.raises(Unauthenticated, match="not whole"):
            frontend.open(each)


def test_a_url_expires_no_later_than_its_key() -> None:
    frontend = Frontend()
    ends_ms = frontend.clock.wall_ms() + 50_000
    frontend.access.know([(KEY_ID, key(expires_ms=ends_ms))])
    assert frontend.urls.expiry(frontend.access.of(HEADER), 100) == ends_ms // 1000
    query = frontend.signed(100)
    frontend.open(query)
    frontend.clock.advance(50)
    with pytest.raises(Unauthenticated, match="has expired"):
        frontend.open(query)


def test_what_a_key_may_not_any_more_its_urls_may_not() -> None:
    frontend = Frontend()
    query = frontend.signed()
    before = frontend.open(query)
    frontend.access.know([(KEY_ID, key(grants=()))])
    after = frontend.open(query)
    assert before.concerns("ml") and not after.concerns("ml")


def test_a_url_for_one_upload_is_good_at_its_datacenter_alone() -> None:
    frontend = Frontend()
    query = frontend.signed(once="0f" * 16, datacenter="dc2")
    with pytest.raises(MisdirectedRequest, match="datacenter dc2"):
        frontend.open(query)
    Frontend(datacenter="dc2").open(query)


def test_who_has_no_key_of_their_own_signs_nothing() -> None:
    frontend = Frontend()
    signed = frontend.open(frontend.signed())
    for who in (NOBODY, signed):
        with pytest.raises(InvalidRequest, match="signed by a key"):
            frontend.urls.check_signs(who)


def test_a_frontend_without_a_secret_signs_nothing_and_takes_nothing() -> None:
    frontend = Frontend()
    query = frontend.signed()
    who = frontend.access.of(HEADER)
    frontend.urls = SignedUrls(frontend.access, None, clock=frontend.clock, datacenter="dc1")
    with pytest.raises(NotSupported, match=r"access\.secret_file"):
        frontend.urls.check_signs(who)
    with pytest.raises(Unauthenticated, match=r"access\.secret_file"):
        frontend.open(query)


def test_a_frontend_that_asks_for_no_keys_has_none_to_sign_with() -> None:
    frontend = Frontend()
    query = frontend.signed()
    frontend.access.enabled = False
    with pytest.raises(NotSupported, match=r"access\.enabled"):
        frontend.urls.check_signs(NOBODY)
    with pytest.raises(Unauthenticated):
        frontend.open(query)


def test_signers_that_are_forgotten_are_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.access.signed_use.REMEMBERED_MAX", 0)
    frontend = Frontend()
    query = frontend.signed()
    assert frontend.open(query).id == frontend.open(query).id == KEY_ID
