"""What blobs are called by: ids, names, ambry://, versions; and where that stands."""

from __future__ import annotations

import http.client
import unicodedata
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ambry import AmbryClient, InvalidBlobId, InvalidRequest, NameRef, VersionRef
from ambry.client.refs import dataset_place, id_of, name_place, parse_uri, path_of, place_of, shown
from ambry.ids import BlobId, IdKind
from tests.support.named_frontend import named_frontend
from tests.support.twins import Twins

ID = BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=1, uuid=bytes(16))
HOME = {"account": "ml", "container": "models"}


def named(name: str) -> NameRef:
    return NameRef(name, "ml", "models")


@pytest.mark.parametrize(
    ("ref", "place"),
    [
        (ID, ID),
        (str(ID), ID),
        (f"/{ID}", ID),
        (f"{ID}.safetensors", ID),
        (f"/{ID}.bin", ID),
        (f"https://store:17100/{ID}", ID),
        (f"http://127.0.0.1:17100/behind/a/proxy/{ID}.parquet", ID),
        (f"{str(ID)[:-1]}A.bin", named(f"{str(ID)[:-1]}A.bin")),
        (f"{ID}.not/an/end", named(f"{ID}.not/an/end")),
        (f"folder/{ID}", named(f"folder/{ID}")),
        (f"ambry+id://{ID}", ID),
        (f"https://store/{ID}/", ID),
        (f"https://store/{ID}.bin?ambry-verb=GET&ambry-key=k#top", ID),
        ("https://store/named/a/c/x", NameRef("x", "a", "c")),
        (f"http://store/named/a/c/{ID}", NameRef(str(ID), "a", "c")),
        ("http://store/proxy/named/a%20b/c/x/y%2Fz.bin?ambry-verb=PUT", NameRef("x/y/z.bin", "a b", "c")),
        ("http://store/named/a/c/named/d/e/x", NameRef("named/d/e/x", "a", "c")),
        ("https://store/named/a/c/", named("https://store/named/a/c/")),
        ("https://example.com/data.csv", named("https://example.com/data.csv")),
        ("team/fraud", named("team/fraud")),
        ("a%2Fb+c?d#e", named("a%2Fb+c?d#e")),
        (" ", named(" ")),
        (f"a {ID}", named(f"a {ID}")),
        ("/", named("/")),
        ("x" * 44, named("x" * 44)),
        ("x" * 52, named("x" * 52)),
        ("ambry:/a", named("ambry:/a")),
        (NameRef(str(ID)), named(str(ID))),
        (NameRef("n", container="c"), NameRef("n", "ml", "c")),
        ("ambry://a/c/n", NameRef("n", "a", "c")),
        (f"ambry://a/c/{ID}", NameRef(str(ID), "a", "c")),
        ("ambry://a/c//n/", NameRef("/n/", "a", "c")),
        ("ambry://a/c/..", NameRef("..", "a", "c")),
        ("ambry://a%20b/c/x%2fy%3F%23%25 z+ü\n%00", NameRef("x/y?#% z+ü\n\0", "a b", "c")),
        ("ambry://a/c/ambry:%2F%2Fa/c/n", NameRef("ambry://a/c/n", "a", "c")),
        (VersionRef("d", "@champion"), VersionRef("d", "@champion", "ml", "models")),
    ],
)
def test_what_is_meant(ref: Any, place: Any) -> None:
    assert place_of(ref, **HOME) == place


@pytest.mark.parametrize(
    ("ref", "kind", "says"),
    [
        (str(ID)[:-1], InvalidRequest, "write it as ambry://"),
        (f"/{ID}x", InvalidRequest, "an id has 48 characters"),
        (str(ID)[:-1] + "A", InvalidBlobId, f"{str(ID)[:-1]}A.*checksum"),
        (f"{ID}\n", InvalidRequest, "is not a blob id"),
        (f" {ID}", InvalidRequest, "is not a blob id"),
        (f"{ID}/", InvalidRequest, "is not a blob id"),
        (f"{ID}?verb=GET", InvalidRequest, "is not a blob id"),
        (f"ambry+id://{str(ID)[:-1]}A", InvalidBlobId, "checksum"),
        ("ambry+id://abc", InvalidRequest, "is not a blob id"),
        (f"http://store/{str(ID)[:-1]}A?secret", InvalidBlobId, f"'http://store/{str(ID)[:-1]}A' has no blob id"),
        (f"http://u:WORD@store/{str(ID)[:-1]}A", InvalidBlobId, f"^'http://store/{str(ID)[:-1]}A' has no blob id"),
        (
            f"https://u:WORD@store/{str(ID)[:-1]}A#tok=WORD",
            InvalidBlobId,
            f"^'https://store/{str(ID)[:-1]}A' has no[^W]*$",
        ),
        (f"{str(ID)[:-1]}A?tok=WORD", InvalidRequest, f"^'{str(ID)[:-1]}A' is not a blob id[^W]*$"),
        (
            f"ambry+id://{str(ID)[:-1]}A#tok=WORD",
            InvalidRequest,
            f"^'ambry.id://{str(ID)[:-1]}A' is not a blob id[^W]*$",
        ),
        ("ambry://a/c/n#tok=WORD?x", InvalidRequest, "^behind 'ambry://a/c/n' write %3F[^W]*$"),
        ("ambry://a/c/n?key=WORD", InvalidRequest, "^behind 'ambry://a/c/n' write %3F[^W]*$"),
        ("ambry://a/c?key=WORD", InvalidRequest, "^behind 'ambry://a/c' write %3F[^W]*$"),
        ("ambry://u:WORD@a/c/n", InvalidRequest, "no user and no password[^W]*$"),
        ("ambry://u:WO/RD@a/c/n", InvalidRequest, "no user and no password[^W]*$"),
        ("ambry://u:WORD@a", InvalidRequest, "no user and no password[^W]*$"),
        (VersionRef("s3://u:WORD@b/x"), InvalidRequest, "dots, dashes and underscores, or ambry[^W]*$"),
        (VersionRef("a\nb"), InvalidRequest, "dots, dashes and underscores, or ambry"),
        (VersionRef("a\0b"), InvalidRequest, "dots, dashes and underscores, or ambry"),
        ("", InvalidRequest, "empty"),
        (NameRef(""), InvalidRequest, "empty"),
        (VersionRef(""), InvalidRequest, "empty"),
        ("ambry://", InvalidRequest, "account and container"),
        ("ambry://a", InvalidRequest, "account and container"),
        ("ambry://a//n", InvalidRequest, "account and container"),
        ("ambry://a/c", InvalidRequest, "names no blob"),
        ("ambry://a/c/", InvalidRequest, "names no blob"),
        ("ambry://a%2Fb/c/n", InvalidRequest, "without a slash"),
        ("ambry://a/c/n?version=1", InvalidRequest, "%3F"),
        ("ambry://a/c/n#1", InvalidRequest, "%23"),
        ("ambry://a/c/100%", InvalidRequest, "two hexadecimal digits"),
        ("ambry://a/c/%ff", InvalidRequest, "not UTF-8"),
        ("half \ud800", InvalidRequest, "UTF-8"),
        ("ambry://a/c/half \ud800", InvalidRequest, "UTF-8"),
        (7, TypeError, "int"),
        (None, TypeError, "NoneType"),
    ],
)
def test_what_is_meant_by_nobody(ref: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        place_of(ref, **HOME)


def test_what_is_no_id_is_told_without_what_opens_it() -> None:
    with pytest.raises(InvalidRequest, match=r"^'https://store/x' is not a blob id[^W]*$"):
        id_of("https://u:WORD@store/x?tok=WORD")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://h/short?sig=WORD", "https://h/short"),
        ("http://u:WORD@h/short", "http://h/short"),
        ("https://h/?ambry-verb=PUT&ambry-signature=WORD", "https://h/"),
        ("s3://u:WORD@bucket/x", "s3://bucket/x"),
    ],
)
def test_a_url_that_may_open_something_is_no_name(text: str, told: str) -> None:
    """`ambry put --name` made such a name, which `ambry ls` showed to everybody."""
    for read in (place_of, name_place):
        with pytest.raises(InvalidRequest, match=f"^'{told}' is a URL with what may open it[^W]*$"):
            read(text, **HOME)
        assert read(NameRef(text), **HOME) == named(text)


def test_an_id_is_a_name_where_only_a_name_can_stand() -> None:
    assert name_place(str(ID), **HOME) == named(str(ID))
    assert name_place("ambry://a/c/n", **HOME) == NameRef("n", "a", "c")
    with pytest.raises(InvalidRequest, match="here stands a name"):
        name_place(f"ambry+id://{ID}", **HOME)
    with pytest.raises(InvalidRequest, match=r"^'ambry.id://x' is the blob[^W]*$"):
        name_place("ambry+id://x?tok=WORD", **HOME)
    assert dataset_place("ambry://a/c/fraud", "1", **HOME) == VersionRef("fraud", "1", "a", "c")
    with pytest.raises(InvalidRequest, match="dots, dashes and underscores"):
        dataset_place("a\r\nb", "1", **HOME)


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (ID, f"/{ID}"),
        (named("a/b"), "/named/ml/models/a/b"),
        (named("../a/./b.c"), "/named/ml/models/%2E%2E/a/%2E/b.c"),
        (named("/a//"), "/named/ml/models//a//"),
        (named("a%2Fb+c?d#e ü"), "/named/ml/models/a%252Fb%2Bc%3Fd%23e%20%C3%BC"),
        (NameRef("n", "a b", "c"), "/named/a%20b/c/n"),
        (VersionRef("d", "@champion", "a", "c"), "/named/a/c/d/%40champion"),
    ],
)
def test_where_it_stands(place: Any, path: str) -> None:
    assert path_of(place) == path


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("team/fraud-1.3.0", "team/fraud-1.3.0"),
        ("größe/モデル/😀", "größe/モデル/😀"),
        ("a b'c\"d$e`f;g&h*i(j", "a%20b%27c%22d%24e%60f%3Bg%26h%2Ai%28j"),
        ("%2F?#+", "%252F%3F%23%2B"),
        ("\x1b[31m\u202e\u200b", "%1B%5B31m%E2%80%AE%E2%80%8B"),
        ("u\u0308", "u%CC%88"),
    ],
)
def test_what_is_shown_can_be_pasted_anywhere(name: str, shown: str) -> None:
    assert str(NameRef(name, "a", "c")) == f"ambry://a/c/{shown}"


CHARACTERS = st.one_of(
    st.sampled_from([chr(code) for code in range(128)]),
    st.sampled_from(
        ["/", "//", ".", "..", "%", "%2F", "%00", "+", " ", "?", "#", "\\", "😀", "ü", "u\u0308", "\u202e", "ﬁ"]
    ),
    st.characters(exclude_categories=["Cs"]),
)
NAMES = st.lists(CHARACTERS, min_size=1, max_size=40).map("".join).filter(lambda name: len(name.encode()) <= 1_024)
CORNERS = [
    "/",
    "//",
    ".",
    "..",
    "./..",
    "a/",
    "/a",
    "%2F",
    "?",
    "#",
    "\0",
    "\r\n",
    str(ID),
    "ambry://a/b/c",
    "x" * 1_024,
]


@given(name=NAMES, escapes=st.randoms(use_true_random=False))
def test_a_name_is_the_same_however_it_is_written(name: str, escapes: Any) -> None:
    """All legal ways to percent-encode: anything, in digits of either case."""
    assert place_of(str(named(name)), **HOME) == named(name)
    assert place_of(unicodedata.normalize("NFC", str(named(name))), **HOME) == named(name), "a clipboard may compose"
    written = "".join(escaped(each, escapes) for each in name)
    assert place_of(f"ambry://ml/models/{written}", **HOME) == named(name)
    assert unquote_to_bytes(path_of(named(name)).removeprefix("/named/ml/models/")).decode() == name


def escaped(character: str, escapes: Any) -> str:
    if character in "%?#" or escapes.random() < 0.5:
        return "".join(f"%{byte:02{escapes.choice('xX')}}" for byte in character.encode())
    return character


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with named_frontend(tmp_path_factory.mktemp("meta") / "meta.sqlite") as running:
        yield running


@pytest.fixture(scope="module", params=["sync", "async"])
def client(request: pytest.FixtureRequest, url: str) -> Iterator[Any]:
    twins = Twins(request.param)
    yield twins.connect(url)
    twins.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.one_of(st.sampled_from(CORNERS), NAMES), escapes=st.randoms(use_true_random=False))
def test_names_of_every_kind_come_back_from_a_server(url: str, client: Any, name: str, escapes: Any) -> None:
    data = name.encode()
    info = client.put(data, name=NameRef(name))
    assert client.get_bytes(NameRef(name)) == data
    assert client.head(str(NameRef(name, "default", "default"))).id == info.id
    assert name in [each.name for each in client.list(str(NameRef(name, "default", "default")))]
    assert next(iter(client.history(NameRef(name)))).id == info.id
    raw = "".join(quote(each, safe="/") if escapes.random() < 0.5 else escaped_path(each) for each in name)
    assert http_get(url, f"/named/default/default/{raw}") == data
    client.delete(NameRef(name))
    assert not client.exists(NameRef(name))


def escaped_path(character: str) -> str:
    plain = character.isascii() and (character.isalnum() or character in "-._~!$&'()*+,;=:@/")
    return character if plain else "".join(f"%{byte:02x}" for byte in character.encode())


def http_get(url: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, (path, answer.read())
        return answer.read()
    finally:
        connection.close()


def test_every_ascii_character_may_stand_in_a_name_and_at_both_of_its_ends(url: str) -> None:
    with AmbryClient(url) as client:
        blob = client.put(b"x").id
        names = [f"{chr(code)}a{chr(code)}" for code in range(128)]
        for name in names:
            client.bind(NameRef(name), blob, if_absent=False)
            assert client.resolve(str(NameRef(name, "default", "default"))) == blob
        assert set(names) <= {each.name for each in client.list()}


@pytest.mark.parametrize("name", [f"{ID}.bin", f"/{ID}", f"http://h/{ID}.x"])
def test_a_name_that_would_be_taken_for_a_blob_is_shown_in_full(name: str) -> None:
    assert shown(named(name), account="ml", container="models").startswith("ambry://ml/models/")


def test_a_container_that_is_forgotten_is_no_password() -> None:
    with pytest.raises(InvalidRequest, match="names no blob; write ambry:"):
        parse_uri("ambry://acct/clicks@2")
