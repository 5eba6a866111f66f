"""Workers that were replaced change nothing any more, however long they stood still: two gangs against one frontend."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient, AmbryError, DataCorrupt, Unavailable, UpdateConflict
from ambry.client.refs import NameRef
from ambry.ml.training.checkpoints import CheckpointFolder, CheckpointMark
from ambry.ml.training.gangs import GANG, Gang, GangFence, put_gang, read_gang

REPLACED = "other workers of the job digits were started after these"


@pytest.fixture
def of(client: AmbryClient, name: str) -> Callable[..., CheckpointFolder]:
    """A folder as the workers of a run and a start have it."""

    def made(run: int, start: int, *, job: str = "digits", checks: bool = True) -> CheckpointFolder:
        gang = Gang(job=job, folder=f"ambry://default/default/training/{job}", run=run, start=start, checks=checks)
        return CheckpointFolder(client, f"ambry://default/default/gangs/{name}", keep=1, gang=gang)

    return made


def written(root: Path, text: str) -> Path:
    root.mkdir(exist_ok=True)
    (root / "state").write_text(text)
    return root


def stands_still(folder: CheckpointFolder, meanwhile: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """The next look of these workers says that they are the newest; then others do something before they go on."""
    check = folder.check

    def looked() -> None:
        check()
        monkeypatch.setattr(folder, "check", check)
        meanwhile()

    monkeypatch.setattr(folder, "check", looked)


def text_of(folder: CheckpointFolder, step: int) -> bytes:
    return folder.client.get_bytes(folder.mark_of(step).files["state"].id)


@pytest.mark.parametrize("newer", [(1, 2), (2, 0)], ids=["started again", "submitted again"])
def test_who_was_replaced_ends_before_it_changes_anything(
    of: Callable[..., CheckpointFolder], tmp_path: Path, newer: tuple[int, int]
) -> None:
    old, new = of(1, 1), of(*newer)
    old.put(10, written(tmp_path / "old", "old"))
    old.begin(20)
    mark = {"state": old.put_file(20, "state", tmp_path / "old/state")}
    found = new.fetch_latest(tmp_path / "back")
    assert found is not None and found.step == 10
    changes: tuple[Callable[[], object], ...] = (
        lambda: old.complete(20, mark),
        lambda: old.begin(10),
        lambda: old.put(30, tmp_path / "old"),
        lambda: old.fetch_latest(tmp_path / "never"),
    )
    for change in changes:
        with pytest.raises(UpdateConflict, match=REPLACED):
            change()
    assert new.steps() == [10] and text_of(new, 10) == b"old"
    new.put(20, written(tmp_path / "new", "new"))
    with pytest.raises(UpdateConflict, match=REPLACED):
        old.prune()
    assert text_of(new, 20) == b"new"


def test_workers_that_begin_late_do_not_take_it_back(of: Callable[..., CheckpointFolder], tmp_path: Path) -> None:
    of(2, 1).check()
    for run, start in ((1, 9), (2, 0)):
        with pytest.raises(UpdateConflict, match=REPLACED):
            of(run, start).fetch_latest(tmp_path)
    of(2, 1).check()
    of(1, 1, checks=False).check()  # Who does not answer for the others is not asked.


def test_a_step_that_others_made_whole_meanwhile_stays_whole(
    of: Callable[..., CheckpointFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old ones found the files of a step, saw that they were the newest, and stood still before they deleted them."""
    old, new = of(1, 1), of(1, 2)
    old.put(10, written(tmp_path / "old", "old"))
    stands_still(old, lambda: new.put(10, written(tmp_path / "new", "new")), monkeypatch)
    old.begin(10)
    assert new.steps() == [10] and text_of(new, 10) == b"new"
    with pytest.raises(UpdateConflict, match=REPLACED):
        old.complete(10, {"state": old.put_file(10, "state", tmp_path / "old/state")})
    assert text_of(new, 10) == b"new"


def test_a_mark_that_comes_late_is_replaced_and_replaces_none(
    of: Callable[..., CheckpointFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = of(1, 1), of(1, 2)
    made = written(tmp_path / "old", "old")
    old.begin(10)
    stands_still(old, lambda: new.put(10, written(tmp_path / "new", "new")), monkeypatch)
    with pytest.raises(UpdateConflict, match=REPLACED):  # New ones were whole before it.
        old.complete(10, {"state": old.put_file(10, "state", made / "state")})
    assert text_of(new, 10) == b"new"

    newest = of(1, 3)
    new.begin(20)
    files = {"state": new.put_file(20, "state", written(tmp_path / "new", "new") / "state")}
    stands_still(new, lambda: newest.begin(20), monkeypatch)
    with pytest.raises(UpdateConflict, match=REPLACED):  # Its mark is there, and that of the newest comes after it.
        new.complete(20, files)
    newest.complete(20, {"state": newest.put_file(20, "state", written(tmp_path / "newest", "newest") / "state")})
    assert newest.steps() == [20] and text_of(newest, 20) == b"newest"


def test_files_of_two_gangs_have_two_names(of: Callable[..., CheckpointFolder], tmp_path: Path) -> None:
    old, new = of(1, 1), of(1, 2)
    for folder in (old, new):
        folder.put_file(10, "state", written(tmp_path / "made", folder.file_name(10, "state").name) / "state")
    names = [entry.name for entry in new.client.list(f"{new}/step-000000010/")]
    assert [each.removeprefix(f"{new.place.name}/") for each in names] == [
        "step-000000010/1.1/state",
        "step-000000010/1.2/state",
    ]
    new.begin(10)
    assert list(new.client.list(f"{new}/step-000000010/")) == []


def test_workers_of_another_job_are_told_whose_the_checkpoints_are(of: Callable[..., CheckpointFolder]) -> None:
    old = of(1, 1)
    old.check()
    of(2, 0, job="letters").check()
    with pytest.raises(UpdateConflict, match="are those of the job letters by now, and digits ends; give each job"):
        old.check()


def test_of_those_who_claim_at_once_one_does(client: AmbryClient, of: Callable[..., CheckpointFolder]) -> None:
    place = of(1, 1).place
    first = Gang(job="a", folder="ambry://default/default/training/a", run=1, start=0)
    assert put_gang(client, place, first, "") and not put_gang(client, place, replace(first, run=2), "")
    held, etag = read_gang(client, place)
    assert held == first and put_gang(client, place, replace(first, run=2), etag)
    assert not put_gang(client, place, replace(first, run=3), etag)
    GangFence(client, place, replace(first, run=2)).check()


def test_the_newest_of_those_who_claim_in_the_same_moment_is_never_refused(
    of: Callable[..., CheckpointFolder], name: str, client: AmbryClient
) -> None:
    """Puts that overlap are refused by the store with UpdateConflict, which does not say that others are newer."""
    for round_ in range(8):
        gate = threading.Barrier(3)

        def claims(run: int, gate: threading.Barrier = gate, place: str = f"gangs/{name}/{round_}") -> bool:
            gang = Gang(job="digits", folder="ambry://default/default/training/digits", run=run, start=0)
            folder = CheckpointFolder(client, place, gang=gang)
            gate.wait(10)
            try:
                folder.check()
            except UpdateConflict as error:
                assert REPLACED in str(error)
                return False
            return True

        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(claims, (1, 2, 3)))[2]


def overlapping(client: AmbryClient, monkeypatch: pytest.MonkeyPatch, suffix: str, times: int) -> list[int]:
    """That many puts to such a name meet another one, as the store says of two that overlap; how many are left."""
    left, put = [times], client.put

    def meets(*args: Any, **options: Any) -> Any:
        if str(options.get("name", "")).endswith(suffix) and left[0]:
            left[0] -= 1
            raise UpdateConflict(f"the name {options['name']} was changed meanwhile; look at it and try again")
        return put(*args, **options)

    monkeypatch.setattr(client, "put", meets)
    return left


def test_a_put_that_overlaps_with_another_is_looked_at_again(
    of: Callable[..., CheckpointFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = of(1, 1)
    left = overlapping(folder.client, monkeypatch, GANG, 3)
    folder.begin(10)
    assert left == [0]
    files = {"state": folder.put_file(10, "state", written(tmp_path / "made", "x") / "state")}
    left = overlapping(folder.client, monkeypatch, "complete.json", 3)
    folder.complete(10, files)
    assert left == [0] and text_of(folder, 10) == b"x"


def test_who_never_gets_to_it_is_told(of: Callable[..., CheckpointFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = of(1, 1)
    monkeypatch.setattr("ambry.ml.training.gangs._PAUSE_MAX_S", 0)
    overlapping(folder.client, monkeypatch, GANG, 1000)
    with pytest.raises(Unavailable, match=r"others change .*gang.json all the time; try again"):
        folder.check()


def test_two_jobs_of_the_same_run_and_start_are_not_taken_for_one(of: Callable[..., CheckpointFolder]) -> None:
    """As when gang.json is deleted while a job runs, and another one is submitted: one of them ends."""
    old, other = of(1, 0), of(1, 0, job="letters")
    old.check()
    old.client.delete(NameRef(f"{old.place.name}/{GANG}"))
    other.check()
    with pytest.raises(UpdateConflict, match="are those of the job letters by now, and digits ends"):
        old.check()
    other.check()


CLAIM = {"format": 1, "job": "a", "folder": "b", "run": 1, "start": 0}


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        json.dumps({"format": 2}).encode(),
        *(json.dumps({**CLAIM, "format": each}).encode() for each in ("1", None, [1], True)),
        json.dumps({**CLAIM, "folder": 5}).encode(),
        json.dumps({**CLAIM, "run": True}).encode(),
        json.dumps({**CLAIM, "run": -5}).encode(),
        json.dumps({**CLAIM, "run": 9e18}).encode(),
        json.dumps({**CLAIM, "start": 1e99}).encode(),
        json.dumps({**CLAIM, "made": {}}).encode(),
        json.dumps({**CLAIM, "made": [{"job": "a"}]}).encode(),
        json.dumps({**CLAIM, "made": [{"job": "a", "script": "b", "sources": 1, "sources_sha256": ""}]}).encode(),
    ],
)
def test_a_claim_that_nobody_can_read_is_told(
    client: AmbryClient, of: Callable[..., CheckpointFolder], told: bytes
) -> None:
    folder = of(1, 1)
    client.put(told, name=NameRef(f"{folder.place.name}/{GANG}"))
    with pytest.raises(DataCorrupt, match=r"gang.json (does not say whose|is of the format 2)") as raised:
        folder.check()
    assert not any(words in str(raised.value) for words in ("Error(", "subscriptable", "recursion", "instances"))


def test_what_the_store_refuses_is_told_as_that(client: AmbryClient) -> None:
    """An account that nobody made was told as a claim that does not say whose the checkpoints are, to be deleted."""
    with pytest.raises(AmbryError, match="there is no account") as raised:
        read_gang(client, NameRef("y", "nobody-made-it", "x"))
    assert not isinstance(raised.value, DataCorrupt)


def test_without_a_gang_nobody_is_asked(client: AmbryClient, name: str, tmp_path: Path) -> None:
    folder = CheckpointFolder(client, f"gangs/{name}")
    folder.put(10, written(tmp_path / "made", "x"))
    mark = folder.mark_of(10)
    assert CheckpointMark.parse(mark.encode()) == mark
    assert [entry.name for entry in client.list(f"gangs/{name}/")] == [
        f"gangs/{name}/step-000000010/complete.json",
        f"gangs/{name}/step-000000010/state",
    ]
