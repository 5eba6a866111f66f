"""Signed URLs as text: what is signed, and that nothing else passes for it."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ambry.errors import AmbryError, InvalidRequest, Unauthenticated
from frontend.access.signed import SIGNATURE, Leave, Signatures, canonical, leave_of
from frontend.http.target import Target, parse_target

SECRET = bytes(range(32))
KEY_ID = "abcdefghijklmnop"
HASH = "5d" * 32
PATH = "/named/ml/models/team%2Ffraud%20v1"
LEAVE = Leave(
    verb="PUT",
    key_id=KEY_ID,
    expires_s=1_800_000_000,
    size_max=1_000,
    content_type="image/png",
    once="0f" * 16,
    datacenter="dc1",
    headers={"x-ambry-ttl": "60", "x-ambry-um-who": "grün & Co"},
)


def checked(raw: str) -> Target:
    """A target that passes as signed, in normal form. Raises AmbryError."""
    target = parse_target("PUT", raw)
    pairs = target.query_pairs()
    if SIGNATURE not in pairs:
        raise Unauthenticated("not signed")
    leave_of(pairs)
    Signatures(SECRET).check((target.path,), pairs, (HASH,))
    return target


def whole(path: str = PATH, leave: Leave = LEAVE) -> str:
    return f"{path}?{Signatures(SECRET).sign(path, leave, HASH)}"


def test_what_is_signed_is_every_name_and_value_with_its_size() -> None:
    said = canonical("/a", {"ambry-verb": "GET", SIGNATURE: "00", "ambry-key": KEY_ID})
    assert said == (
        b"\0\0\0\x12ambry signed url 1\0\0\0\x02/a"
        b"\0\0\0\x09ambry-key\0\0\0\x10abcdefghijklmnop\0\0\0\x0aambry-verb\0\0\0\x03GET"
    )


def test_a_url_is_what_it_always_was() -> None:
    """Who holds a URL over an update of the frontends can go on with it."""
    leave = Leave(verb="GET", key_id=KEY_ID, expires_s=1_800_000_000)
    assert Signatures(SECRET).sign("/a", leave, HASH) == (
        "ambry-verb=GET&ambry-expires=1800000000&ambry-key=abcdefghijklmnop&ambry-signature="
        "a138248660b33de0b19b45dd9b0e3f1911643a9d973e409f88675e6493961466"
    )


def test_what_was_signed_is_good_and_says_what_was_meant() -> None:
    target = checked(whole())
    assert (target.path, leave_of(target.query_pairs())) == (PATH, LEAVE)


def test_a_url_that_a_client_encodes_otherwise_is_the_same() -> None:
    path, _, query = whole().partition("?")
    target = checked(f"{path.replace('%2F', '%2f')}?{query.replace('%20', '+').replace('image%2Fpng', 'image/png')}")
    assert leave_of(target.query_pairs()) == LEAVE


def test_no_bit_of_a_url_can_be_flipped() -> None:
    url = whole().encode()
    good = checked(whole())
    for bit in range(8 * len(url)):
        changed = bytearray(url)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            target = checked(changed.decode("utf-8", "surrogateescape"))
        except AmbryError:
            continue
        # Hexadecimal digits of an escape may be of either case: another text of the same URL.
        assert (target.path, target.query_pairs()) == (good.path, good.query_pairs())


pieces = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
names = st.sampled_from(["x-ambry-ttl", "x-ambry-um-a", "x-ambry-um-b", "x-ambry-um-ab", "x-ambry-filename"])
leaves = st.builds(
    Leave,
    verb=st.sampled_from(["GET", "PUT", "POST"]),
    key_id=st.just(KEY_ID),
    expires_s=st.integers(0, 10**10),
    size_max=st.none() | st.integers(0, 10**12),
    content_type=st.none() | pieces,
    headers=st.dictionaries(names, pieces, max_size=4),
)
paths = st.lists(pieces.filter(bool), min_size=1, max_size=3).map(
    lambda parts: parse_target("GET", "/" + "/".join(quote(part, safe="") for part in parts)).path
)


@given(paths, leaves, paths, leaves)
def test_the_signature_of_one_url_is_good_for_no_other(path: str, leave: Leave, other: str, wanted: Leave) -> None:
    assume((path, leave) != (other, wanted))
    signature = whole(path, leave).rpartition("=")[2]
    unsigned = whole(other, wanted).rpartition("=")[0]
    with pytest.raises(Unauthenticated):
        checked(f"{other}?{unsigned.partition('?')[2]}={signature}")


@given(leaves, st.randoms(use_true_random=False))
def test_the_order_of_what_a_url_says_means_nothing(leave: Leave, chance: object) -> None:
    said = whole("/a", leave).partition("?")[2].split("&")
    chance.shuffle(said)  # type: ignore[attr-defined]
    assert leave_of(checked("/a?" + "&".join(said)).query_pairs()) == leave


@given(leaves, names, pieces)
def test_nothing_can_be_added_and_nothing_said_twice(leave: Leave, name: str, value: str) -> None:
    more = f"{whole('/a', leave)}&{name}={quote(value, safe='')}"
    with pytest.raises((Unauthenticated, InvalidRequest)):
        checked(more)


@given(leaves, st.data())
def test_nothing_can_be_left_out_or_moved_to_another_name(leave: Leave, data: st.DataObject) -> None:
    said = whole("/a", leave).partition("?")[2].split("&")
    left = data.draw(st.integers(0, len(said) - 1))
    rest = [*said[:left], *said[left + 1 :]]
    with pytest.raises((Unauthenticated, InvalidRequest)):
        checked("/a?" + "&".join(rest))
    name, _, value = said[left].partition("=")
    with pytest.raises((Unauthenticated, InvalidRequest)):
        checked("/a?" + "&".join([*rest, f"{unquote(name)}x={value}"]))


def test_another_key_another_secret_and_another_cluster_sign_otherwise() -> None:
    target = parse_target("PUT", whole())
    pairs = target.query_pairs()
    signatures = Signatures(SECRET)
    signatures.check((target.path,), pairs, ("00" * 32, HASH))
    for refused in (signatures, ("00" * 32,)), (signatures, ()), (Signatures(bytes(32)), (HASH,)):
        with pytest.raises(Unauthenticated):
            refused[0].check((target.path,), pairs, refused[1])
    with pytest.raises(Unauthenticated):
        signatures.check((target.path,), {**pairs, "ambry-key": "ponmlkjihgfedcba"}, (HASH,))


def test_keys_that_are_forgotten_are_derived_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.access.signed.KEYS_REMEMBERED", 2)
    signatures = Signatures(SECRET)
    first = signatures.sign("/a", LEAVE, HASH)
    for other in range(4):
        signatures.sign("/a", LEAVE, f"{other:064x}")
    assert signatures.sign("/a", LEAVE, HASH) == first


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ambry-verb", "DELETE"),
        ("ambry-verb", "get"),
        ("ambry-key", "ABCDEFGHIJKLMNOP"),
        ("ambry-expires", "01"),
        ("ambry-expires", "1e9"),
        ("ambry-expires", "٣"),
        ("ambry-expires", "9" * 19),
        ("ambry-max-size", "-1"),
        ("ambry-once", "0F" * 16),
        ("ambry-datacenter", ""),
        ("X-Ambry-Ttl", "60"),
        ("ambry-later", "x"),
        ("host", "x"),
    ],
)
def test_what_nobody_signs_is_no_leave(name: str, value: str) -> None:
    with pytest.raises(Unauthenticated):
        leave_of({**LEAVE.pairs(), name: value})


def test_what_is_no_text_cannot_be_signed() -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        whole("/a", Leave(verb="PUT", key_id=KEY_ID, expires_s=1, headers={"x-ambry-um-a": "\udcff"}))
