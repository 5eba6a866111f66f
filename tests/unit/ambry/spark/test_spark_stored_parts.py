"""Parts of versions that Spark wrote are listed with those that have them, and go when none does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ambry import AccessDenied, AlreadyExists, AmbryClient, BlobNotFound, Grant, VersionRef
from ambry.client.refs import NameRef
from ambry.clock import SystemClock
from ambry.rest.access import key_text
from ambry.spark.commits import PART_TTL, PartsCommit
from ambry.spark.stored_parts import delete_unused, list_parts
from tests.support.access import access_with, fresh_key
from tests.support.named_frontend import named_frontend

SOON = timedelta(hours=-1)
JOBS = ("0123456789abcdef", "fedcba9876543210", "00000000000000aa")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[AmbryClient]:
    with named_frontend(tmp_path / "meta.sqlite") as url, AmbryClient([url]) as made:
        yield made


def committed(client: AmbryClient, job: str, *, ends: bool = True) -> None:
    """Two parts, and the version of them unless the driver ended before that."""
    commit = PartsCommit("clicks", NameRef("clicks", "default", "default"), job)
    names = [commit.part(f"{number:05}-{number}") for number in range(2)]
    for name in names:
        client.put(b"rows " + name.name.encode(), name=name, ttl=PART_TTL)
    if ends:
        commit.publish(client, names, b"footer " + job.encode(), "LATEST")


def test_parts_of_a_deleted_version_are_listed_and_go(client: AmbryClient) -> None:
    with pytest.raises(BlobNotFound):
        list(list_parts(client, "clicks"))
    for job in JOBS[:2]:
        committed(client, job)
    committed(client, JOBS[2], ends=False)
    # Of a model of this name, and of nobody: neither is a part of Spark's.
    for other in ("sha256/" + "0" * 64, "x.parquet", "0123/1.parquet"):
        client.put(b"other", name=f"clicks.parts/{other}")
    told = {part.ref.name.rpartition("/")[0].rpartition("/")[2]: part.versions for part in list_parts(client, "clicks")}
    assert told == {JOBS[0]: ("1",), JOBS[1]: ("2",), JOBS[2]: ()}
    client.delete(VersionRef("clicks", "1"))
    assert delete_unused(client, "clicks", timedelta(hours=1)) == []
    gone = delete_unused(client, "ambry://default/default/clicks", SOON)
    assert sorted({part.job for part in gone}) == sorted([JOBS[0], JOBS[2]]) and len(gone) == 4
    assert {part.job for part in list_parts(client, "clicks")} == {JOBS[1]}
    assert all(not client.exists(part.ref) for part in gone)
    assert len(list(client.list("clicks.parts/"))) == 5
    assert delete_unused(client, "clicks", SOON) == []


def test_deletes_at_once_pass_each_other_over(client: AmbryClient) -> None:
    """One ended with UpdateConflict."""
    for job in range(20):
        committed(client, f"{job:016x}", ends=False)
    client.create_dataset("clicks", "MONOTONIC")

    def delete() -> set[str]:
        with AmbryClient(client.endpoints) as one:
            start.wait(30)
            return {part.ref.name for part in delete_unused(one, "clicks", SOON)}

    start = threading.Barrier(3)
    with ThreadPoolExecutor(3) as threads:
        went = [each.result(60) for each in [threads.submit(delete) for _ in range(3)]]
    left = {part.ref.name for part in delete_unused(client, "clicks", SOON)}
    assert len(left.union(*went)) == 40 and list(client.list("clicks.parts/")) == []


def test_what_is_stored_under_the_name_of_a_part_as_it_is_deleted_stays(
    client: AmbryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was deleted, and was no part that anybody had looked at."""
    committed(client, JOBS[0])
    client.delete(VersionRef("clicks", "1"))
    first, second = (part.ref for part in list_parts(client, "clicks"))
    kept = AmbryClient.delete_many

    def after_another(self: AmbryClient, refs: object, **options: object) -> object:
        client.put(b"of somebody", name=first)
        return kept(self, refs, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(AmbryClient, "delete_many", after_another)
    assert [part.ref for part in delete_unused(client, "clicks", SOON)] == [second]
    assert client.get_bytes(first) == b"of somebody" and not client.exists(second)


def test_parts_of_a_job_that_somebody_is_at_stay_and_a_commit_without_its_parts_is_refused(client: AmbryClient) -> None:
    """They went under a commit that ran, where a job took longer than --older, and its version had no rows."""
    client.create_dataset("clicks", "MONOTONIC")
    folder = NameRef("clicks", "default", "default")
    one, two = (PartsCommit("clicks", folder, job) for job in JOBS[:2])
    committed(client, JOBS[0], ends=False)
    committed(client, JOBS[1], ends=False)
    names = [one.part(f"{number:05}-{number}") for number in range(2)]
    one.tell(client, names)
    told: list[str] = []
    assert {part.job for part in delete_unused(client, "clicks", SOON, told.append)} == {JOBS[1]}
    [text] = told
    assert text.startswith(f"2 parts of the job {JOBS[0]} stay, of which clicks.commits/{JOBS[0]} tells")
    assert [entry.name for entry in client.list("clicks.commits/")] == [f"clicks.commits/{JOBS[0]}"]
    with pytest.raises(AlreadyExists, match="or its parts are deleted as unused"):
        one.publish(client, names, b"footer", "LATEST")
    with pytest.raises(
        BlobNotFound, match=r"a part of this job is gone .* more than 7 days, .* Nothing is published here; look"
    ):
        two.publish(client, [two.part("00000-0"), two.part("00001-1")], b"footer", "LATEST")
    assert not list(client.versions("clicks")) and all(client.exists(each) for each in names)
    one.drop_list(client)
    one.publish(client, names, b"footer", "LATEST")
    assert delete_unused(client, "clicks", SOON, told.append) == [] and len(told) == 1


def test_what_may_not_be_deleted_is_said(client: AmbryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    committed(client, JOBS[0])
    client.delete(VersionRef("clicks", "1"))
    kept = AmbryClient.delete_many

    def refuses(self: AmbryClient, refs: object, **options: object) -> object:
        results = list(kept(self, refs, **options))  # type: ignore[arg-type]
        return [replace(each, error=AccessDenied("held")) for each in results]

    monkeypatch.setattr(AmbryClient, "delete_many", refuses)
    with pytest.raises(AccessDenied):
        delete_unused(client, "clicks", SOON)
    assert not list(client.list("clicks.commits/"))


def test_a_key_writes_by_three_roles_and_deletes_what_is_unused_by_four(tmp_path: Path) -> None:
    """Lists and parts have names: the guide left out `name`, and who made a key by it was refused."""
    root = fresh_key()
    with (
        named_frontend(tmp_path / "m", access=access_with(root, SystemClock())) as url,
        AmbryClient(url, key=key_text(root)) as owner,
    ):
        clients = iter(range(100))

        def with_roles(*roles: str) -> AmbryClient:
            return AmbryClient(url, key=owner.keys.create(f"key {next(clients)}", Grant(roles=roles)).text)

        for lacking in ("read", "write", "name"):
            with (
                with_roles(*({"read", "write", "name"} - {lacking})) as one,
                pytest.raises(AccessDenied, match=lacking),
            ):
                committed(one, JOBS[1])
        with with_roles("read", "write", "name") as writer:
            committed(writer, JOBS[0])
            committed(writer, JOBS[1], ends=False)
        assert [entry.version for entry in owner.versions("clicks")] == ["1"]
        for lacking in ("read", "write", "name", "delete"):
            with (
                with_roles(*({"read", "write", "name", "delete"} - {lacking})) as one,
                pytest.raises(AccessDenied, match=lacking),
            ):
                delete_unused(one, "clicks", SOON)
            for entry in owner.list(f"clicks.commits/{JOBS[1]}"):
                owner.delete(entry.ref)
        with with_roles("read", "write", "name", "delete") as one:
            assert {part.job for part in delete_unused(one, "clicks", SOON)} == {JOBS[1]}
