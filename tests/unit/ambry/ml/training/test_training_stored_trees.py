"""Sources and environments of jobs are no parts of a model, and go when no job has them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient, InvalidRequest
from ambry.ml import models, training
from ambry.ml.training.environments import store_tree, stored_tree
from ambry.ml.training.stored_trees import delete_unused_trees, list_trees
from tests.support.named_frontend import named_frontend

SOON = timedelta(hours=-1)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[AmbryClient]:
    with named_frontend(tmp_path / "meta.sqlite") as url, AmbryClient([url]) as made:
        yield made


def submitted(client: AmbryClient, directory: Path, name: str) -> training.TrainingJob:
    """As far as a job goes before its workers are started."""
    (directory / f"{name}.py").write_text(f"print({name!r})")
    wanted = training.WhatToRun(script=directory / f"{name}.py", name=name)
    job = training.prepare_job(client, wanted, lambda _: None)
    client.put(job.encode(), name=job.name_in("job.json"))
    return job


def used(client: AmbryClient) -> dict[str, tuple[str, ...]]:
    return {str(tree.id): tree.users for tree in list_trees(client)}


def test_unused_parts_of_a_model_called_training_are_no_trees_of_jobs(client: AmbryClient, tmp_path: Path) -> None:
    """They lay in one folder, and `ambry model parts training --unused --delete` took the environments of all jobs."""
    models.publish(client, "training", {"x.txt": b"used"})
    job = submitted(client, tmp_path, "one")
    assert models.delete_unused(client, "training", SOON) == []
    assert used(client) == {job.sources.id: ("one",), job.environment.id: ("one",)}


def test_trees_go_when_no_job_has_them(client: AmbryClient, tmp_path: Path) -> None:
    jobs = [submitted(client, tmp_path, name) for name in ("one", "two")]
    client.put(b"a checkpoint of no job", name="training/other/checkpoints/x")
    client.put(b"of nobody", name="training/readme")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/a-1.0-py3-none-any.whl").write_bytes(b"wheel")
    packed = store_tree(client, "wheels", tmp_path / "wheels")
    shared = jobs[0].environment.id
    assert used(client)[shared] == ("one", "two") and used(client)[packed.id] == ()
    assert delete_unused_trees(client, timedelta(hours=1)) == []
    assert [str(tree.id) for tree in delete_unused_trees(client, SOON)] == [packed.id]
    for name in client.list("training/one/"):
        client.delete(name.ref)
    assert [str(tree.id) for tree in delete_unused_trees(client, SOON)] == [jobs[0].sources.id]
    assert used(client) == {jobs[1].sources.id: ("two",), shared: ("two",)}


def test_a_tree_that_a_job_takes_up_meanwhile_is_brought_back(
    client: AmbryClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submitted(client, tmp_path, "late")
    client.delete(job.name_in("job.json"))
    rename = AmbryClient.rename

    def and_submits(self: AmbryClient, *names: Any, **options: Any) -> Any:
        client.put(job.encode(), name=job.name_in("job.json"))
        return rename(self, *names, **options)

    monkeypatch.setattr(AmbryClient, "rename", and_submits)
    assert delete_unused_trees(client, SOON) == []
    assert used(client) == {job.sources.id: ("late",), job.environment.id: ("late",)}


def test_trees_that_are_sent_again_are_as_young_as_new_ones(
    client: AmbryClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was prepared in this moment lost what a job before it had sent long ago; so did one with a packed tree."""
    script = tmp_path / "again.py"
    script.write_text("print(3)")
    wanted = training.WhatToRun(script=script, name="again")
    training.prepare_job(client, wanted, lambda _: None)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/a-1.0-py3-none-any.whl").write_bytes(b"wheel")
    packed = store_tree(client, "wheels", tmp_path / "wheels")
    time.sleep(0.005)  # Times of the store are whole milliseconds.
    sent = datetime.now(UTC)
    time.sleep(0.005)
    job = training.prepare_job(client, wanted, lambda _: None)
    assert stored_tree(client, packed.id) == packed
    monkeypatch.setattr(AmbryClient, "store_time", lambda _: sent + timedelta(days=7))
    assert delete_unused_trees(client, timedelta(days=7)) == []
    assert set(used(client)) == {job.sources.id, job.environment.id, packed.id}


def test_an_environment_that_a_killed_delete_set_aside_is_found_by_its_id(
    client: AmbryClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there, and `ambry train submit --env-blob` said that it is no environment."""
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/a-1.0-py3-none-any.whl").write_bytes(b"wheel")
    packed = store_tree(client, "wheels", tmp_path / "wheels")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    finds: tuple[Callable[[], object], ...] = (
        lambda: stored_tree(client, packed.id),
        lambda: store_tree(client, "wheels", tmp_path / "wheels"),
    )
    for find in finds:
        with monkeypatch.context() as patched:
            patched.setattr(AmbryClient, "delete_many", killed)
            with pytest.raises(KeyboardInterrupt):
                delete_unused_trees(client, SOON)
        assert list(client.list("training.trees/sha256/")) == []
        assert find() == packed
        assert delete_unused_trees(client, timedelta(hours=1)) == []
        assert used(client) == {packed.id: ()}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b'{"format": 99}', "later release"),
        (b"{}", "no document of a job: it has no 'format'"),
        (b"\xff", "no document of a job"),
        (b"[1]", "no document of a job"),
        (None, "48 characters"),
    ],
)
def test_a_job_that_cannot_be_read_keeps_all_trees_and_is_named(
    client: AmbryClient, tmp_path: Path, document: bytes | None, said: str
) -> None:
    job = submitted(client, tmp_path, "one")
    if document is None:
        document = job.encode().replace(job.sources.id.encode(), b"zzz")
    client.put(document, name="training/newer/job.json")
    client.put(b"of nobody", name="training.trees/sha256/" + "0" * 64)
    looks: tuple[Callable[[], object], ...] = (
        lambda: list(list_trees(client)),
        lambda: delete_unused_trees(client, SOON),
    )
    for look in looks:
        with pytest.raises(
            InvalidRequest, match=f"training/newer/job.json: .*{said}.*ambry rm training/newer/job.json"
        ):
            look()
    assert len(list(client.list("training.trees/sha256/"))) == 3
