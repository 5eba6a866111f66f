"""Checkpoints against a frontend: there whole or not at all, read by what they were, old ones gone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.client.model import BatchResult
from ambry.client.refs import NameRef
from ambry.errors import BlobNotFound, DataCorrupt, InvalidRequest, UpdateConflict
from ambry.ids import BlobId
from ambry.ml.training.checkpoints import MARK, CheckpointFile, CheckpointFolder, CheckpointMark
from tests.support.blob_cache import flipped


@pytest.fixture
def folder(client: AmbryClient, name: str) -> CheckpointFolder:
    return CheckpointFolder(client, f"ambry://default/default/jobs/{name}", keep=2)


def written(root: Path, **files: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        (root / path.replace("__", "/")).parent.mkdir(exist_ok=True)
        (root / path.replace("__", "/")).write_text(text)
    return root


def test_a_directory_comes_back_as_it_was(folder: CheckpointFolder, tmp_path: Path) -> None:
    assert (folder.latest(), folder.fetch_latest(tmp_path / "none")) == (None, None)
    folder.put(10, written(tmp_path / "made", a="one", deep__b="two"), loss=0.5)
    mark = folder.fetch_latest(tmp_path / "back")
    assert mark is not None and (mark.step, mark.said, set(mark.files)) == (10, {"loss": 0.5}, {"a", "deep/b"})
    assert (tmp_path / "back/step-000000010/deep/b").read_text() == "two"


def test_workers_that_fetch_at_once_begin_with_other_files(
    folder: CheckpointFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = folder.put(10, written(tmp_path / "made", a="1", b="2", c="3", d="4"))
    names = {file.id: path for path, file in mark.files.items()}
    cached = folder.client.cached_path
    for worker, expected in ((0, "abcd"), (1, "cdab")):
        asked: list[str] = []

        def noted(blob: BlobId, asked: list[str] = asked, **said: Any) -> Path:
            asked.append(names[blob])
            return cached(blob, **said)

        monkeypatch.setattr(folder.client, "cached_path", noted)
        folder.fetch_files(mark, tmp_path / str(worker), worker=worker, workers=2)
        assert "".join(asked) == expected
        assert [(tmp_path / str(worker) / path).read_text() for path in "abcd"] == ["1", "2", "3", "4"]


def test_what_changed_in_the_cache_is_fetched_again(folder: CheckpointFolder, tmp_path: Path) -> None:
    """Weights of which a bit had flipped on the disk of a machine were trained on with."""
    mark = folder.put(10, written(tmp_path / "made", a="weights", b="others"))
    folder.fetch(10, tmp_path / "first")
    flipped(folder.client.cached_path(mark.files["a"].id))
    folder.fetch(10, tmp_path / "again")
    assert [(tmp_path / "again" / path).read_text() for path in "ab"] == ["weights", "others"]


def test_a_checkpoint_whose_file_is_gone_is_passed_over(folder: CheckpointFolder, tmp_path: Path) -> None:
    made = written(tmp_path / "made", a="x", b="y")
    folder.put(10, made)
    mark = folder.put(20, made)
    folder.client.delete(mark.files["b"].id)
    newest = folder.newest()
    assert newest is not None and newest.step == 10


def test_what_was_not_marked_is_no_checkpoint(folder: CheckpointFolder, tmp_path: Path) -> None:
    folder.put(10, written(tmp_path / "made", a="ten"))
    folder.put_file(20, "a", tmp_path / "made/a")
    assert (folder.steps(), folder.latest()) == ([10], 10)
    with pytest.raises(BlobNotFound):
        folder.fetch(20, tmp_path / "back")
    folder.put(20, written(tmp_path / "made", b="twenty"))
    assert set(folder.mark_of(20).files) == {"a", "b"}
    assert folder.steps() == [10, 20]


def test_a_step_that_is_written_again_is_none_until_it_is_whole(folder: CheckpointFolder, tmp_path: Path) -> None:
    folder.put(10, written(tmp_path / "made", a="ten"))
    folder.begin(10)
    assert folder.latest() is None
    assert list(folder.client.list(str(folder.name_of(10, "")))) == []


def test_the_newest_stay_and_what_was_left_of_others_goes(folder: CheckpointFolder, tmp_path: Path) -> None:
    made = written(tmp_path / "made", a="x")
    for step in (10, 20):
        folder.put(step, made)
    folder.put_file(15, "a", made / "a")  # Of one who was killed.
    folder.put(30, made)
    assert folder.steps() == [20, 30]
    assert {entry.name.split("/")[-2] for entry in folder.client.list(f"{folder}/".removesuffix("/"))} == {
        "step-000000020",
        "step-000000030",
    }
    folder.put_file(40, "a", made / "a")
    assert folder.clear() == [20, 30, 40] and folder.clear() == []


def test_files_are_read_by_what_they_were_when_it_was_marked(folder: CheckpointFolder, tmp_path: Path) -> None:
    folder.put(10, written(tmp_path / "made", a="right"))
    folder.client.put(b"another one's", name=folder.name_of(10, "a"))
    folder.fetch(10, tmp_path / "back")
    assert (tmp_path / "back/a").read_text() == "right"


def test_one_whose_files_are_gone_is_passed_over(folder: CheckpointFolder, tmp_path: Path) -> None:
    for step in (10, 20):
        folder.put(step, written(tmp_path / "made", a=str(step)))
    folder.client.delete(folder.mark_of(20).files["a"].id)
    mark = folder.fetch_latest(tmp_path / "back")
    assert mark is not None and mark.step == 10


def test_a_file_larger_than_the_cache_is_downloaded(client: AmbryClient, name: str, url: str, tmp_path: Path) -> None:
    from ambry import CacheConfig

    with AmbryClient([url], cache=CacheConfig(directory=tmp_path / "tiny", max_bytes=4)) as small:
        folder = CheckpointFolder(small, f"jobs/{name}")
        folder.put(1, written(tmp_path / "made", a="more than four"))
        folder.fetch(1, tmp_path / "back")
    assert (tmp_path / "back/a").read_text() == "more than four" and not list((tmp_path / "tiny/blobs").glob("*"))


def test_a_checkpoint_whose_files_do_not_fit_the_cache_together_is_fetched(
    client: AmbryClient, name: str, url: str, tmp_path: Path
) -> None:
    """Each of them did: the later ones took the room of the earlier, whose links led nowhere, and no job went on from it."""
    from ambry import CacheConfig

    with AmbryClient([url], cache=CacheConfig(directory=tmp_path / "small", max_bytes=5)) as small:
        folder = CheckpointFolder(small, f"jobs/{name}")
        folder.put(1, written(tmp_path / "made", a="four", b="5555", c="6666"))
        folder.fetch(1, tmp_path / "back")
    assert {path.name: path.read_text() for path in (tmp_path / "back").iterdir()} == {
        "a": "four",
        "b": "5555",
        "c": "6666",
    }


def test_a_place_may_be_a_name_as_the_client_has_them(client: AmbryClient, folder: CheckpointFolder) -> None:
    assert CheckpointFolder(client, folder.place).place == folder.place


def test_what_cannot_be_is_refused(client: AmbryClient, folder: CheckpointFolder, tmp_path: Path) -> None:
    for place in ("ambry://default/default/", "ambry://default/default"):
        with pytest.raises(InvalidRequest, match="lie in a folder"):
            CheckpointFolder(client, place)
    for place in ("http://host/there", "s3://bucket/there", "hdfs://host/there"):  # It was a name in the store.
        with pytest.raises(InvalidRequest, match=rf"'{place}' is no place .* ambry://ACCOUNT/CONTAINER/FOLDER"):
            CheckpointFolder(client, place)
    with pytest.raises(InvalidRequest, match="at least the newest"):
        CheckpointFolder(client, "a", keep=0)
    with pytest.raises(InvalidRequest, match="has no files"):
        folder.put(1, written(tmp_path / "empty"))
    with pytest.raises(InvalidRequest, match="not between"):
        folder.put(-1, written(tmp_path / "made", a="x"))
    with pytest.raises(InvalidRequest, match="is not JSON"):
        folder.put(1, written(tmp_path / "made", a="x"), loss=float("nan"))
    assert folder.latest() is None


def test_marks_are_read_as_they_are_written_and_strangers_are_told(client: AmbryClient) -> None:
    blob = client.put(b"x").id
    mark = CheckpointMark(step=3, files={"a": CheckpointFile(blob, 1)}, said={"loss": 0.5})
    assert CheckpointMark.parse(mark.encode()) == mark
    for data in (b"", b"[]", b'{"format": 2, "step": 1, "files": {}, "said": {}}', b'{"format": 1}'):
        with pytest.raises(DataCorrupt):
            CheckpointMark.parse(data)
    for path in ("../a", "/etc/a"):
        with pytest.raises(DataCorrupt, match="outside"):
            CheckpointMark.parse(CheckpointMark(step=1, files={path: CheckpointFile(blob, 1)}).encode())
    assert MARK == "complete.json" and isinstance(CheckpointFolder(client, "a/b").name_of(1, MARK), NameRef)


def test_a_delete_that_overlaps_with_another_is_done_again(
    folder: CheckpointFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put(10, written(tmp_path / "made", a="x", b="y"))
    delete_many, asked = folder.client.delete_many, []

    def overlaps(names: Sequence[NameRef]) -> list[BatchResult]:
        asked.append(len(names))
        done = list(delete_many(names[1:] if len(asked) == 2 else names))
        return (
            [BatchResult(id=None, error=UpdateConflict("it was changed meanwhile")), *done] if len(asked) == 2 else done
        )

    monkeypatch.setattr(folder.client, "delete_many", overlaps)
    assert folder.clear() == [10] and asked == [1, 2, 1]
    assert list(folder.client.list(f"{folder}/step-000000010/")) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"step": 999_999}, "says that it is of step 999999"),
        ({"step": -1}, "no number between 0 and"),
        ({"step": "5"}, "no number between 0 and"),
        ({"files": {}}, "has no files"),
        ({"files": ["a"]}, "no mark of a checkpoint"),
        ({"files": {"a": 1, "a/b": 1}}, "'a' as a file and as a folder"),
        ({"files": {"a//b": 1}}, "no disk can have"),
        ({"files": {"": 1}}, "no disk can have"),
        ({"files": {".": 1}}, "no disk can have"),
        ({"files": {"a\0b": 1}}, "no disk can have"),
        ({"files": {"a" * 300: 1}}, "no disk can have"),
        ({"files": {"\ud800": 1}}, "no mark of a checkpoint"),
        ({"files": {"a": -1}}, "of no size: -1"),
        ({"files": {"a": 999}}, "has 1 bytes, and its mark says 999"),
    ],
)
def test_a_mark_that_nothing_of_ours_wrote_is_told_and_not_passed_over(
    client: AmbryClient, folder: CheckpointFolder, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    folder.put(4, written(tmp_path / "made", a="x"))
    blob = str(client.put(b"x").id)
    mark: dict[str, Any] = {"format": 1, "step": 5, "files": {"a": 1}, "said": {}, **change}
    if isinstance(mark["files"], dict):
        mark["files"] = {path: [blob, size] for path, size in mark["files"].items()}
    client.put(json.dumps(mark).encode(), name=folder.name_of(5, MARK))
    reads: tuple[Callable[[], object], ...] = (
        lambda: folder.fetch_latest(tmp_path / "back"),
        lambda: folder.fetch(5, tmp_path / "back5"),
    )
    for read in reads:
        with pytest.raises(DataCorrupt) as error:
            read()
        assert told in str(error.value)
    client.delete(folder.name_of(5, MARK))
    mark_before = folder.fetch_latest(tmp_path / "before")
    assert mark_before is not None and mark_before.step == 4
