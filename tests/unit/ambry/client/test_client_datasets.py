"""Datasets, their versions and their aliases, in both clients, against a frontend with a metadata store."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from ambry import (
    AlreadyExists,
    AmbryClient,
    BlobNotFound,
    InvalidRequest,
    NameDeleted,
    NameNotFound,
    UpdateConflict,
    VersionRef,
)
from ambry.client.datasets import AliasInfo, own_move, version_before
from tests.support.named_frontend import LosingLink, named_frontend
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
def name() -> str:
    return f"fraud-{next(_numbers)}"


def test_a_dataset_is_made_changed_and_deleted(url: str, twins: Twins, name: str) -> None:
    client = twins.connect(url)
    made = client.create_dataset(
        name, "semantic", retention_count=5, retention=timedelta(days=2), tags={"team": "größe"}
    )
    assert (made.name, made.account, made.container, made.schema) == (name, "default", "default", "SEMANTIC")
    assert (made.retention_count, made.retention, made.tags["team"]) == (5, timedelta(days=2), "größe")
    assert client.dataset(name) == made and made in list(client.datasets())
    with pytest.raises(AlreadyExists):
        client.create_dataset(name)
    changed = client.update_dataset(name, retention_count=None)
    assert (changed.retention_count, changed.retention, changed.tags) == (None, timedelta(days=2), made.tags)
    assert client.update_dataset(name, retention=None, tags={}).tags == {}
    for wrong in ({"colour": 1}, {"retention_count": 0}, {"tags": {"a": "\ud800"}}):
        with pytest.raises(InvalidRequest):
            client.update_dataset(name, **wrong)
    with pytest.raises(InvalidRequest):
        client.create_dataset(name + "-x", "ROMAN")
    client.delete_dataset(name)
    client.delete_dataset(name)
    with pytest.raises(BlobNotFound):
        client.delete_dataset(name, missing_ok=False)
    with pytest.raises(BlobNotFound):
        client.dataset(name)


def test_versions_are_put_read_listed_and_deleted(url: str, twins: Twins, name: str) -> None:
    client = twins.connect(url)
    client.create_dataset(name)
    first = client.put_version(name, b"130", "1.3.0", metadata={"auc": "0.97"})
    assert (first.dataset, first.version, first.name) == (name, "1.3.0", "")
    assert [client.put_version(name, each).version for each in (b"131", b"132")] == ["1.3.1", "1.3.2"]
    assert client.put_version(name, b"140", "MINOR").version == "1.4.0"
    assert client.put_version(name, b"200", "major").version == "2.0.0"
    latest = client.head(VersionRef(name))
    assert (latest.dataset, latest.version) == (name, "2.0.0")
    assert client.get_bytes(VersionRef(name, "1.3.0")) == b"130" and client.head(VersionRef(name, "1.3.0")).metadata
    listed = list(client.versions(name, page_size=2))
    assert [each.version for each in listed] == ["1.3.0", "1.3.1", "1.3.2", "1.4.0", "2.0.0"]
    assert client.get_bytes(listed[1].ref) == client.get_bytes(listed[1].id) == b"131" and listed[1].size == 3
    with pytest.raises(AlreadyExists):
        client.put_version(name, b"again", "1.3.0")
    client.delete(listed[1].ref)
    with pytest.raises(NameDeleted):
        client.get(listed[1].ref)
    with pytest.raises(AlreadyExists, match="was deleted, and a version is given once"):
        client.put_version(name, b"again", "1.3.1")
    with pytest.raises(InvalidRequest, match="cannot be brought back"):
        client.undelete(listed[1].ref)
    with pytest.raises(InvalidRequest, match="by its number"):
        client.delete(VersionRef(name))
    with pytest.raises(UpdateConflict, match="has versions"):
        client.delete_dataset(name)
    with pytest.raises(NameNotFound):
        client.put_version(name + "-never", b"x")


def test_a_dataset_of_another_container_is_in_reach(url: str, twins: Twins, name: str) -> None:
    client = twins.connect(url)
    there = f"ambry://ml/models/{name}"
    assert client.create_dataset(there, "MONOTONIC").account == "ml"
    assert client.put_version(there, b"1").version == "1"
    assert client.get_bytes(VersionRef(name, account="ml", container="models")) == b"1"
    assert twins.connect(url, account="ml", container="models").dataset(name).schema == "MONOTONIC"
    with pytest.raises(NameNotFound):
        client.dataset(name)


def test_an_alias_moves_and_is_rolled_back(url: str, twins: Twins, name: str) -> None:
    client = twins.connect(url, service_id="trainer")
    client.create_dataset(name)
    for version in ("1.2.9", "1.3.0"):
        client.put_version(name, version.encode(), version)
    first = client.set_alias(name, "champion", "1.2.9", expected=None)
    assert (first.alias, first.version, first.who, first.why) == ("champion", "1.2.9", "trainer", "")
    with pytest.raises(UpdateConflict, match=r"points to 1\.2\.9"):
        client.set_alias(name, "champion", "1.3.0", expected=None)
    second = client.set_alias(name, "champion", "1.3.0", expected="1.2.9", who="ann", why="better on the holdout")
    assert (second.who, second.why) == ("ann", "better on the holdout") and second.modified is not None
    assert client.get_bytes(VersionRef(name, "@champion")) == b"1.3.0"
    assert client.head(VersionRef(name, "@champion")).version == "1.3.0"
    assert client.alias(name, "champion") == second and client.aliases(name) == [second]
    with pytest.raises(UpdateConflict, match=r"points to 1\.3\.0"):
        client.delete(VersionRef(name, "1.3.0"))
    back = client.roll_back_alias(name, "champion", who="bob", why="pages")
    assert (back.version, back.who) == ("1.2.9", "bob")
    with pytest.raises(InvalidRequest, match=r"no version before 1\.2\.9"):
        client.roll_back_alias(name, "champion")
    assert [each.version for each in client.alias_history(name, "champion")] == ["1.2.9", "1.3.0", "1.2.9"]
    client.delete_alias(name, "champion")
    assert client.aliases(name) == [] and client.alias_history(name, "champion")[0].version is None
    with pytest.raises(NameDeleted):
        client.alias(name, "champion")
    with pytest.raises(BlobNotFound):
        client.delete_alias(name, "champion")
    with pytest.raises(InvalidRequest, match=r"'champion' of .* was deleted; set it instead"):
        client.roll_back_alias(name, "champion")
    assert client.set_alias(name, "champion", "1.2.9").version == "1.2.9", "from wherever it is"
    with pytest.raises(NameNotFound, match="never had an alias"):
        client.alias_history(name, "challenger")
    with pytest.raises(NameNotFound, match="dataset"):
        client.set_alias(name + "-never", "champion", "1.2.9")
    with pytest.raises(NameNotFound):
        client.set_alias(name, "champion", "9.9.9")
    client.set_alias(name, "new", "1.2.9")
    with pytest.raises(InvalidRequest, match=r"no version before 1\.2\.9"):
        client.roll_back_alias(name, "new")


def test_a_version_that_is_a_number_is_named_as_it_is_written(url: str, twins: Twins, name: str) -> None:
    """Was told, of an alias, that `$.version` was expected to be `str | null`, and taken elsewhere."""
    client = twins.connect(url)
    client.create_dataset(name, "MONOTONIC")
    client.put_version(name, b"x", "5")
    number: Any = 5
    calls: list[Callable[[], object]] = [
        lambda: client.set_alias(name, "champion", number),
        lambda: client.set_alias(name, "champion", "5", expected=number),
        lambda: client.put_version(name, b"x", number),
        lambda: client.get_bytes(VersionRef(name, number)),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="a version is text, as it is written, not 5: write '5'"):
            call()


# --- answers that get lost: what was done is found, and done once ---


def test_a_dataset_whose_making_was_lost_is_found(link: LosingLink, twins: Twins, name: str) -> None:
    client = twins.connect(link.url)
    link.lose("POST")
    assert client.create_dataset(name, retention=60, tags={"a": "b"}).retention == timedelta(seconds=60)
    link.lose("POST")
    with pytest.raises(AlreadyExists):
        client.create_dataset(name, "MONOTONIC")
    link.lose("DELETE")
    client.delete_dataset(name, missing_ok=False)
    assert len(link.lost) == 3


def test_a_version_whose_answer_was_lost_is_put_once(link: LosingLink, twins: Twins, name: str) -> None:
    client = twins.connect(link.url)
    client.create_dataset(name)
    for asked, got in (("1.3.0", "1.3.0"), ("LATEST", "1.3.1"), ("MINOR", "1.4.0")):
        link.lose("PUT")
        assert client.put_version(name, asked.encode(), asked).version == got
    assert [each.version for each in client.versions(name)] == ["1.3.0", "1.3.1", "1.4.0"] and len(link.lost) == 3


def test_an_alias_move_whose_answer_was_lost_is_found(url: str, link: LosingLink, twins: Twins, name: str) -> None:
    client, someone = twins.connect(link.url), AmbryClient(url)
    client.create_dataset(name)
    for version in ("1.2.9", "1.3.0", "1.4.0"):
        client.put_version(name, b"x", version)
    link.lose("POST")
    assert client.set_alias(name, "champion", "1.2.9", expected=None).version == "1.2.9"
    link.lose("POST")
    assert client.set_alias(name, "champion", "1.3.0", expected="1.2.9", who="ann").who == "ann"
    link.lose("POST")
    assert client.roll_back_alias(name, "champion").version == "1.2.9"
    assert len(client.alias_history(name, "champion")) == 3

    link.then = lambda: someone.set_alias(name, "champion", "1.4.0", who="bob")
    link.lose("POST")
    assert client.set_alias(name, "champion", "1.3.0", expected="1.2.9", who="ann").version == "1.3.0", "bob came after"
    assert client.alias(name, "champion").who == "bob"

    link.then = lambda: None
    link.lose("POST")
    with pytest.raises(UpdateConflict, match=r"points to 1\.4\.0"):
        client.set_alias(name, "champion", "1.3.0", expected="1.2.9", who="ann")
    link.lose("POST")
    client.delete_alias(name, "champion")
    assert len(link.lost) == 6
    someone.close()


def test_an_account_whose_making_or_change_was_lost_is_found(link: LosingLink, twins: Twins, name: str) -> None:
    client = twins.connect(link.url)
    link.lose("POST")
    account = client.create_account(name)
    link.lose("POST")
    container = client.create_container(name, "models", quota_bytes=5)
    assert (container.settings.quota_bytes, container.account_id) == (5, account.id)
    link.lose("POST")
    with pytest.raises(AlreadyExists):
        client.create_account(name, status="INACTIVE")
    link.lose("POST")
    with pytest.raises(AlreadyExists):
        client.create_container(name, "models")
    link.lose("POST")
    changed = client.update_container(name, "models", snapshot_version=container.snapshot_version, quota_bytes=6)
    assert changed.settings.quota_bytes == 6
    link.lose("POST")
    assert client.update_account(name, snapshot_version=account.snapshot_version, status="INACTIVE").name == name
    link.lose("POST")
    with pytest.raises(UpdateConflict):
        client.update_container(name, "models", snapshot_version=container.snapshot_version, quota_bytes=7)
    assert len(link.lost) == 7


def test_an_older_move_that_looks_the_same_is_not_taken_for_the_own_one() -> None:
    def move(version: str, datacenter: int) -> AliasInfo:
        return AliasInfo(dataset="d", alias="a", version=version, who="ann", datacenter=datacenter)

    known = [move("4", 3), move("3", 2), move("2", 1)]
    asked = move("3", 0)
    assert own_move(known, known, asked, "2") is None
    assert own_move([], [move("3", 9), move("2", 8)], asked, "2") == move("3", 9)
    assert own_move(known, [move("3", 5), move("2", 4), *known], asked, "2") == move("3", 5)
    assert own_move(known, [move("3", 5), *known], asked, "2") is None


@pytest.mark.parametrize(
    ("moves", "before"),
    [
        ([], None),
        (["1"], None),
        (["1", "2"], "1"),
        (["1", "2", "1"], None),
        (["1", "2", "3"], "2"),
        (["1", "2", "3", "2"], "1"),
        (["1", "2", "3", "2", "1"], None),
        (["1", "2", "1", "3"], "1"),
        (["1", "2", "3", "1"], "3"),
        (["1", "1", "2", "2"], "1"),
        (["1", "2", None, "3"], "2"),
    ],
)
def test_what_was_rolled_back_is_not_gone_to_again(moves: list[str | None], before: str | None) -> None:
    history = [AliasInfo(dataset="d", alias="champion", version=each) for each in reversed(moves)]
    assert version_before(history) == before


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_history_of_an_alias_is_all_its_moves(url: str, twins: Twins, name: str, seed: int) -> None:
    client = twins.connect(url)
    chance = random.Random(seed)
    client.create_dataset(name)
    versions = ["1.0.0", "1.1.0", "2.0.0"]
    for version in versions:
        client.put_version(name, b"x", version)
    moves: list[str | None] = []
    for _ in range(25):
        now = moves[0] if moves else None
        match chance.choice(["set", "set", "back", "delete", "wrong"]):
            case "set":
                moves.insert(0, client.set_alias(name, "champion", chance.choice(versions), expected=now).version)
            case "back":
                history = [AliasInfo(dataset=name, alias="champion", version=each) for each in moves]
                before = version_before(history)
                if now is None or before is None:
                    with pytest.raises((InvalidRequest, NameNotFound, NameDeleted)):
                        client.roll_back_alias(name, "champion")
                else:
                    assert client.roll_back_alias(name, "champion").version == before
                    moves.insert(0, before)
            case "delete":
                if now is not None:
                    client.delete_alias(name, "champion", expected=now)
                    moves.insert(0, None)
            case "wrong":
                with pytest.raises(UpdateConflict):
                    client.set_alias(name, "champion", versions[0], expected="9.9.9")
        if moves:
            assert [each.version for each in client.alias_history(name, "champion")] == moves
            assert [each.version for each in client.aliases(name)] == [each for each in moves[:1] if each]
