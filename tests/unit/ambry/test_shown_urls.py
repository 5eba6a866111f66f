"""What is printed and published of a URL opens nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.shown_urls import is_of_hdfs, shown_address, shown_place, shown_sentence

ID = "AQEAAQ" + "A" * 42
SHOWN = {
    "https://me:word@host:8/x.avro?sig=1#t": "https://host:8/x.avro",
    "simplecache::http://host/x.avro?sig=SECRET": "simplecache::http://host/x.avro",
    "zip://a.avro::https://u:pw@h/x.zip?sig=S": "zip://a.avro::https://h/x.zip",
    "s3://bucket/a@b#1.avro?versionId=2": "s3://bucket/a@b#1.avro",
    "https://u:a/b?c#d@host/x": "https://host/x",
    "HTTPS://u@host/x": "HTTPS://host/x",
    "webhdfs://u:pa@ss/word@host:1/x": "webhdfs://host:1/x",
    "https://u:pa@ss?word@host/x": "https://...",
    "https://u:pw@host/x?to=a@SECRET": "https://...",
    "https://u:p/w@host/x?to=a@SECRET": "https://...",
    "hdfs://me@node:9870/a@b": "hdfs://node:9870/a@b",
    "hdfs://node:9870/user/me@corp/x": "hdfs://node:9870/user/me@corp/x",
    "webhdfs://nn:1/a@b/x": "webhdfs://nn:1/a@b/x",
    "abfs://container@account.dfs.core.windows.net/x?sas=1": "abfs://container@account.dfs.core.windows.net/x",
    "abfs://u:pw@account/x": "abfs://account/x",
    "hdfs://u:pw@node:9870/x": "hdfs://node:9870/x",
    "http://[::1]:80/x?sig=1": "http://[::1]:80/x",
    "http://[x/y.avro?sig=1": "http://[x/y.avro",
    "http://user:pw@127.0.0.1:8/500@v2.avro": "http://127.0.0.1:8/500@v2.avro",
    "http://user:pw@host:8/a@b/x.avro": "http://host:8/a@b/x.avro",
    "http://user:pw@127.0.0.1:8/x?to=a@SECRET": "http://127.0.0.1:8/x",
    "http://user:pw@host/a@b/x.avro": "http://.../x.avro",
    "http://user:/secret@host/x.avro": "http://host/x.avro",
    "ftp://user:7/secret@127.0.0.1/x.avro": "ftp://127.0.0.1/x.avro",
    "ftp://user:7/secret@host/x.avro": "ftp://.../x.avro",
    "http://user:p::w@127.0.0.1/x.avro": "http://127.0.0.1/x.avro",
    "simplecache::http://user:p::zip://w::x@host/x.avro": "simplecache::http://host/x.avro",
    "http://host:8080/a@b.avro": "http://host:8080/a@b.avro",
    "http://127.0.0.1:8/a@b/x.avro": "http://127.0.0.1:8/a@b/x.avro",
    "http://[::1]/a@b/x.avro?sig=1": "http://[::1]/a@b/x.avro",
    "https://host:8/x?to=me@work": "https://host:8/x",
    "zip://::data/a@b:c.zip": "zip://::data/a@b:c.zip",
    "zip://a:b.avro::data/a@b.zip": "zip://a:b.avro::data/a@b.zip",
    "ambry://team/models/a@b": "ambry://team/models/a@b",
    "ambry://team/models/a?sig=SECRET": "ambry://team/models/a",
    "ambry://team/models/a#tok=SECRET?x": "ambry://team/models/a",
    "ambry://u:WORD@team/models/a": "ambry://team/models/a",
    "ambry+id://ID#tok=SECRET": "ambry+id://ID",
    "http://host:8080/a@b/x": "http://.../x",
    "http://host:8080/a%40b/x": "http://host:8080/a%40b/x",
    "data/a?b@c.avro": "data/a?b@c.avro",
    "https:/u:WORD@host/x?sig=SECRET": "https://host/x",
    "HTTPS:/u:WORD@host/x?sig=SECRET": "HTTPS://host/x",
    "s3:/bucket/x?sig=SECRET": "s3://bucket/x",
    "ambry:/u:WORD@team/x#tok=SECRET": "ambry://team/x",
    "abfs:/u:WORD@account/x": "abfs://account/x",
    f"{ID}?tok=SECRET": ID,
    f"/{ID}/Segment/0?tok=SECRET": f"/{ID}/Segment/0",
    f"{ID}#SECRET": ID,
    f"/{ID}.bin?ambry-signature=SECRET": f"/{ID}.bin",
    f"{ID[:-2]}/?tok=SECRET": f"{ID[:-2]}/",
    f"{'a' * 52}?b#c": f"{'a' * 52}?b#c",
}


@pytest.mark.parametrize("place", SHOWN)
def test_a_place_is_shown_without_what_opens_it(place: str) -> None:
    assert shown_place(place) == SHOWN[place]


@given(st.text("S:/?#7", min_size=1).filter(lambda text: "://" not in text), st.sampled_from(["", "zip://a.avro::"]))
def test_no_sign_in_a_password_has_it_told(password: str, chain: str) -> None:
    assert shown_place(f"{chain}http://u:{password}@127.0.0.1:8/x.avro?s=1") == f"{chain}http://127.0.0.1:8/x.avro"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("u:WORD@host:1", "host:1"),
        ("http://u:WORD@host:1", "http://host:1"),
        ("host:1?k=SECRET", "host:1"),
        ("[::1]:5", "[::1]:5"),
        ("", ""),
    ],
)
def test_an_address_is_shown_so_with_a_scheme_and_without(text: str, shown: str) -> None:
    assert shown_address(text) == shown


def test_of_each_url_in_a_sentence_what_opens_it_is_left_out() -> None:
    said = "Path 'https://u:WORD@h/x?sig=SECRET' is not there (s3://b/y?token=SECRET, data/a?b=c); see http://host:1"
    assert shown_sentence(said) == "Path 'https://h/x' is not there (s3://b/y, data/a?b=c); see http://host:1"


def test_of_the_end_of_a_url_of_a_blob_what_opens_it_is_left_out_of_sentences() -> None:
    """`ambry ttl BLOB ID?tok=SECRET`, `dataset put` and `upload show` told it."""
    said = f"'{ID}?tok=SECRET' is not a duration; /{ID}#SECRET: No such file"
    assert shown_sentence(said) == f"'{ID}' is not a duration; /{ID}: No such file"


def test_who_is_asked_is_told_by_the_scheme_also_within_a_chain() -> None:
    assert is_of_hdfs("simplecache::webhdfs://h:1/x") and is_of_hdfs("hdfs://h/x")
    assert not is_of_hdfs("https://h/webhdfs://x") and not is_of_hdfs("data/x")
