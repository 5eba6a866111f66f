"""Names, in both clients, against a frontend with a metadata store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from ambry import (
    AlreadyExists,
    AmbryClient,
    BlobDeleted,
    BlobGone,
    BlobNotFound,
    ChecksumMismatch,
    InvalidRequest,
    NameDeleted,
    NameNotFound,
    NameRef,
    PreconditionFailed,
    RetryPolicy,
    Unavailable,
)
from tests.support.named_frontend import LosingLink, named_frontend
from tests.support.stub_frontend import StubFrontend
from tests.support.twins import Twins

_numbers = count()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with named_frontend(tmp_path_factory.mktemp("meta") / "meta.sqlite") as running:
        yield running


@pytest.fixture
def link(url: str) -> Iterator[LosingLink]:
    with LosingLink(url) as running:
        yield running


@pytest.fixture
def home() -> str:
    """What the names of one test begin with."""
    return f"test-{next(_numbers)}/"


def test_a_name_is_put_read_and_looked_up(url: str, twins: Twins, home: str) -> None:
    client = twins.connect(url)
    info = client.put(b"bytes", name=home + "fraud", metadata={"run": "17"}, ttl=3600)
    assert (info.name, info.account, info.container) == (home + "fraud", "default", "default")
    head = client.head(home + "fraud")
    assert (head.id, head.name, head.metadata["run"]) == (info.id, home + "fraud", "17")
    assert client.resolve(home + "fraud") == info.id == client.resolve(NameRef(home + "fraud", "default", "default"))
    assert client.get_bytes(f"ambry://default/default/{home}fraud") == b"bytes"
    assert client.get_bytes(home + "fraud", range=(1, 3)) == b"yt"
    buffer = bytearray(9)
    assert client.get_into(home + "fraud", buffer) == 5
    assert client.get_ranges(home + "fraud", [(0, 1), (-2, None)]) == [b"b", b"es"]
    with client.get(home + "fraud") as reader:
        assert (reader.info.id, reader.info.name, reader.read()) == (info.id, home + "fraud", b"bytes")
    assert client.get_bytes(info.id) == b"bytes" and client.head(info.id).name == ""
    assert client.update_ttl(home + "fraud", None).expires is None
    assert client.exists(home + "fraud") and not client.exists(home + "other")


def test_a_file_comes_by_name_and_goes_on_by_id(url: str, twins: Twins, home: str, tmp_path: Path) -> None:
    client = twins.connect(url)
    info = client.put(b"bytes", name=home + "model")
    target = tmp_path / "model"
    target.with_name(f"model.{info.id}.part").write_bytes(b"by")
    assert client.get_file(home + "model", target).name == home + "model"
    assert target.read_bytes() == b"bytes" and list(tmp_path.iterdir()) == [target]


def test_who_may_let_a_name_point_elsewhere(url: str, twins: Twins, home: str) -> None:
    client = twins.connect(url)
    first = client.put(b"1", name=home + "a", if_absent=True)
    with pytest.raises(AlreadyExists):
        client.put(b"2", name=home + "a", if_absent=True)
    second = client.put(b"2", name=home + "a")
    with pytest.raises(PreconditionFailed):
        client.put(b"3", name=home + "a", if_match=first.etag)
    third = client.put(b"3", name=home + "a", if_match=second.etag)
    assert [each.id for each in client.history(home + "a")] == [third.id, second.id, first.id]
    for wrong in ({"if_absent": True}, {"if_match": first.etag}):
        with pytest.raises(InvalidRequest, match="about a name"):
            client.put(b"4", **wrong)


def test_a_name_is_bound_renamed_deleted_and_brought_back(url: str, twins: Twins, home: str) -> None:
    client = twins.connect(url)
    info = client.put(b"bytes")
    assert client.bind(home + "a", info.id).id == info.id
    other = client.put(b"other")
    with pytest.raises(AlreadyExists):
        client.bind(home + "a", str(other.id))
    assert client.bind(home + "a", other.id, if_absent=False).id == other.id
    client.put(b"owned", name=home + "b")
    with pytest.raises(AlreadyExists):
        client.rename(home + "a", home + "b")
    moved = client.rename(home + "a", home + "b", overwrite=True)
    assert (moved.id, moved.name) == (other.id, home + "b")
    with pytest.raises(NameDeleted):
        client.head(home + "a")
    with pytest.raises(NameNotFound):
        client.rename(home + "never", home + "c")
    with pytest.raises(InvalidRequest, match="inside its container"):
        client.rename(home + "b", f"ambry://default/other/{home}b")
    client.delete(home + "b")
    client.delete(home + "b")
    assert client.get_bytes(other.id) == b"other", "a blob that is bound stays"
    client.undelete(home + "b")
    assert client.resolve(home + "b") == other.id
    with pytest.raises(AlreadyExists):
        client.undelete(home + "b")
    owned = client.put(b"goes along", name=home + "c")
    client.delete(home + "c", missing_ok=False)
    with pytest.raises(BlobDeleted):
        client.get_bytes(owned.id)
    client.delete(home + "never")
    with pytest.raises(BlobNotFound):
        client.delete(home + "never", missing_ok=False)


def test_a_name_whose_blob_is_over_can_be_deleted(url: str, twins: Twins, home: str) -> None:
    client = twins.connect(url)
    info = client.put(b"bytes", name=home + "a")
    client.delete(info.id)
    with pytest.raises(BlobGone):
        client.head(home + "a")
    client.delete(home + "a")
    with pytest.raises(NameDeleted):
        client.head(home + "a")


def test_names_are_listed_in_pages(url: str, twins: Twins, home: str) -> None:
    client = twins.connect(url)
    blob = client.put(b"x").id
    for name in ("a", "b/1", "b/2", "b/3", "c"):
        client.bind(home + name, blob)
    entries = list(client.list(home, page_size=2))
    assert [each.name.removeprefix(home) for each in entries] == ["a", "b/1", "b/2", "b/3", "c"]
    assert {(each.id, each.size, each.is_prefix, each.expires) for each in entries} == {(blob, 1, False, None)}
    assert entries[0].ref == NameRef(home + "a", "default", "default") and entries[0].modified is not None
    (page,) = client.list(f"ambry://default/default/{home}", delimiter="/").pages()
    assert page.prefixes == (home + "b/",) and [each.is_prefix for each in page.entries] == [False, True, False]
    first = next(iter(client.list(home, page_size=2).pages()))
    second = next(iter(client.list(home, page_size=2).pages(first.next_token)))
    assert [each.name for each in second.entries] == [home + "b/2", home + "b/3"]
    for start, left in (("b/1", ["b/2", "b/3", "c"]), ("b/2x", ["b/3", "c"]), ("", ["a", "b/1", "b/2", "b/3", "c"])):
        found = client.list(home, page_size=2, start_after=home + start)
        assert [each.name.removeprefix(home) for each in found] == left
    (late,) = client.list(home, delimiter="/", start_after=home + "b/2").pages()
    assert [each.name for each in late.entries] == [home + "c"], "a directory that begins before is passed over"
    with pytest.raises(InvalidRequest):
        client.list(home, page_size=0)
    with pytest.raises(InvalidRequest):
        list(client.list(home).pages("made up"))


def test_names_of_another_container_are_in_reach(url: str, twins: Twins, home: str) -> None:
    client = twins.connect(url, account="ml", container="models")
    client.put(b"bytes", name=home + "a")
    assert client.get_bytes(home + "a") == twins.connect(url).get_bytes(f"ambry://ml/models/{home}a")
    assert twins.connect(url).put(b"2", name=f"ambry://ml/models/{home}a").account == "ml"
    assert not twins.connect(url).exists(home + "a")


def test_a_name_that_looks_like_an_id_is_one_where_it_is_said(url: str, twins: Twins) -> None:
    client = twins.connect(url)
    info = client.put(b"blob")
    like = str(info.id)
    client.put(b"name", name=like)
    assert client.get_bytes(like) == b"blob"
    assert client.get_bytes(f"ambry://default/default/{like}") == client.get_bytes(NameRef(like)) == b"name"
    with pytest.raises(InvalidRequest):
        client.get(like[:-1])


def test_what_a_name_points_to_is_read_to_its_end(url: str, link: LosingLink, twins: Twins, home: str) -> None:
    """A reader whose connection broke once went on in the blob that the name points to since."""
    client = twins.connect(link.url)
    old = b"old" * 1_000_000
    client.put(old, name=home + "a")
    with client.get(home + "a") as reader:
        start = reader.read(1000)
        twins.connect(url).put(b"new" * 1_000_000, name=home + "a")
        link.break_all()
        assert start + reader.read() == old


def test_a_put_acknowledged_with_another_digest_leaves_no_name(link: LosingLink, twins: Twins, home: str) -> None:
    """The blob was deleted, and the name pointed to it for ever."""
    client = twins.connect(link.url)
    link.alter = lambda data: re.sub(rb"(?i)(x-ambry-digest: )[0-9a-f]{32}", rb"\g<1>" + b"0" * 32, data)
    with pytest.raises(ChecksumMismatch):
        client.put(b"1", name=home + "a")
    link.alter = lambda data: data
    assert list(client.list(home)) == []
    with pytest.raises(NameDeleted):
        client.head(home + "a")


# --- answers that get lost: what was done is found, and done once ---


def test_a_put_by_name_whose_answer_was_lost_is_one_put(link: LosingLink, twins: Twins, home: str) -> None:
    client = twins.connect(link.url)
    for name, how in (("a", {"if_absent": True}), ("b", {})):
        link.lose("PUT")
        info = client.put(b"bytes", name=home + name, **how)
        assert [each.id for each in client.history(home + name)] == [info.id]
    link.lose("PUT")
    changed = client.put(b"2", name=home + "a", if_match=client.head(home + "a").etag)
    assert len(list(client.history(home + "a"))) == 2 and client.resolve(home + "a") == changed.id
    assert len(link.lost) == 3
    with pytest.raises(AlreadyExists):
        link.lose("PUT")
        client.put(b"3", name=home + "a", if_absent=True)


def test_a_bind_whose_answer_was_lost_is_found(link: LosingLink, twins: Twins, home: str) -> None:
    client = twins.connect(link.url)
    info, other = client.put(b"1"), client.put(b"2")
    link.lose("POST")
    assert client.bind(home + "a", info.id).id == info.id
    link.lose("POST")
    with pytest.raises(AlreadyExists):
        client.bind(home + "a", other.id)
    assert len(link.lost) == 2


def test_a_rename_whose_answer_was_lost_is_found(link: LosingLink, twins: Twins, home: str) -> None:
    client = twins.connect(link.url)
    for overwrite in (False, True):
        info = client.put(b"1", name=home + "a")
        link.lose("POST")
        assert client.rename(home + "a", home + "b", overwrite=overwrite).id == info.id
    client.put(b"2", name=home + "a")
    link.lose("POST")
    with pytest.raises(AlreadyExists):
        client.rename(home + "a", home + "b")
    client.delete(home + "a")
    link.lose("POST")
    with pytest.raises(NameDeleted):
        client.rename(home + "a", home + "c")
    assert len(link.lost) == 4


def test_an_undelete_whose_answer_was_lost_is_found(link: LosingLink, twins: Twins, home: str) -> None:
    client = twins.connect(link.url)
    info = client.put(b"1", name=home + "a")
    client.delete(home + "a")
    link.lose("POST")
    client.undelete(home + "a")
    assert client.resolve(home + "a") == info.id and len(link.lost) == 1


def test_a_delete_whose_answer_was_lost_takes_nothing_that_came_since(
    url: str, link: LosingLink, twins: Twins, home: str
) -> None:
    client, someone = twins.connect(link.url), AmbryClient(url)
    client.put(b"1", name=home + "a")
    link.lose("DELETE")
    client.delete(home + "a")
    with pytest.raises(NameDeleted):
        client.head(home + "a")

    client.put(b"2", name=home + "a")
    link.then = lambda: someone.put(b"3", name=home + "a")
    link.lose("DELETE")
    client.delete(home + "a")
    assert client.get_bytes(home + "a") == b"3" and len(link.lost) == 2
    someone.close()


def test_a_lost_answer_over_a_kept_connection_counts_too(link: LosingLink, twins: Twins, home: str) -> None:
    """A kept connection that died under a request was taken for one that was dead before, or aiohttp sent the request again by
    itself: the first try was not known of, and what it had done was reported as a conflict."""
    client = twins.connect(link.url)
    info = client.put(b"1")
    link.lose("POST")
    assert client.bind(home + "a", info.id).id == info.id
    before = len(link.seen)
    link.lose("DELETE")
    client.delete(home + "a")
    assert [line.split(" ")[0] for line in link.seen[before:]] == ["HEAD", "DELETE", "DELETE"]


def test_what_is_wrong_with_a_name_is_told_in_the_servers_words(stub: StubFrontend, twins: Twins) -> None:
    """An answer to HEAD has no body: all that was said of a name was a status."""
    why = "it is not known in this datacenter, and dc2 cannot be asked"
    for _ in range(2):
        stub.fail("HEAD", "status", status=503, code="Unavailable", detail=why)
    client = twins.connect(stub.url, retry=RetryPolicy(max_attempts=2, base=0.0))
    with pytest.raises(Unavailable, match=why) as caught:
        client.resolve("a")
    assert caught.value.attempts == 2
    assert [each.method for each in stub.requests] == ["HEAD", "HEAD"]
