"""Models published, loaded, promoted and rolled back, against a frontend."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from ambry import (
    AlreadyExists,
    AmbryClient,
    BlobNotFound,
    ChecksumMismatch,
    DataCorrupt,
    InvalidRequest,
    UpdateConflict,
)
from ambry.client.locked_file import LockedFile
from ambry.client.refs import VersionRef
from ambry.ml import models
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.publishing import publish
from ambry.ml.features.reading import parse_definitions
from ambry.ml.models import publishing
from ambry.ml.models.manifest import ModelManifest
from ambry.ml.models.parts import store_part
from ambry.ml.models.publishing import kind_of, publish_manifest
from ambry.ml.models.reading import READS_NO_LINKS
from ambry.ml.serving.predictors import predictor_of
from tests.support.alone import run_alone

WEIGHTS: dict[str, Any] = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, dtype=np.int64)}


def test_arrays_come_back_as_they_were(client: AmbryClient, name: str) -> None:
    made = models.publish(client, name, WEIGHTS, metrics={"auc": 0.9}, code="git:abc", features=["urn:li:(n,a,1,0)"])
    assert (made.version, made.manifest.kind, str(made)) == ("1.0.0", "safetensors", f"{name}@1.0.0")
    assert set(made.manifest.framework) == {"python", "numpy", "safetensors"}
    stored = models.open(client, name)
    assert (stored.manifest, stored.version, stored.id) == (made.manifest, "1.0.0", made.id)
    loaded = stored.load()
    assert {key: (value.dtype, value.tolist()) for key, value in loaded.items()} == {
        key: (value.dtype, value.tolist()) for key, value in WEIGHTS.items()
    }
    assert stored.path().read_bytes()[:8] != b""


def test_versions_rise_by_the_part_that_is_asked_for(client: AmbryClient, name: str) -> None:
    told = [
        models.publish(client, name, WEIGHTS, version=asked).version
        for asked in (None, None, "PATCH", "MAJOR", "3.1.4")
    ]
    assert told == ["1.0.0", "1.1.0", "1.1.1", "2.0.0", "3.1.4"]
    with pytest.raises(AlreadyExists):
        models.publish(client, name, WEIGHTS, version="3.1.4")


def test_other_schemas_are_taken_as_they_are(client: AmbryClient, name: str) -> None:
    client.create_dataset(name, "MONOTONIC")
    assert [models.publish(client, name, WEIGHTS).version for _ in range(2)] == ["1", "2"]


def test_the_same_from_the_same_is_the_same_document(client: AmbryClient, name: str) -> None:
    first, second = (models.publish(client, f"{name}-{place}", WEIGHTS, note="x") for place in range(2))
    assert [part.sha256 for part in first.manifest.parts] == [part.sha256 for part in second.manifest.parts]
    again = models.publish(client, f"{name}-0", WEIGHTS, note="x")
    assert again.digest == first.digest
    pinned = models.open(client, f"{name}-0", digest=first.digest)
    assert pinned.version == "1.1.0"
    with pytest.raises(ChecksumMismatch, match=first.digest):
        models.open(client, f"{name}-0@1.1.0", digest="0" * 64)


def test_what_is_published_once_is_the_version_that_it_was(client: AmbryClient, name: str) -> None:
    first = models.publish(client, name, WEIGHTS, note="x", once=True)
    other = models.publish(client, name, WEIGHTS, note="y", once=True)
    again = models.publish(client, name, WEIGHTS, note="x", once=True)
    assert (again, again.version, other.version) == (first, "1.0.0", "1.1.0")
    assert models.publish(client, name, WEIGHTS, note="x").version == "1.2.0"


def test_the_same_model_again_says_which_version_it_is(client: AmbryClient, name: str) -> None:
    """Nothing told that a version is the one before it."""
    first = models.publish(client, name, WEIGHTS)
    assert (first.is_new, first.same_as) == (True, "")
    again = models.publish(client, name, WEIGHTS)
    assert (again.version, again.is_new, again.same_as) == ("1.1.0", True, "1.0.0")
    once = models.publish(client, name, WEIGHTS, once=True)
    assert (once.version, once.is_new, once.same_as) == ("1.0.0", False, "1.0.0")
    other = models.publish(client, name, WEIGHTS, note="other")
    assert (other.version, other.is_new, other.same_as) == ("1.2.0", True, "")


def test_a_model_that_needs_trust_says_so_when_it_is_published(client: AmbryClient, name: str, tmp_path: Path) -> None:
    """It was told to who loaded it, and not of which model."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    linear = pytest.importorskip("sklearn.linear_model")
    rows, labels = np.arange(8).reshape(4, 2), [0, 1, 0, 1]
    made = models.publish(client, name, ensemble.RandomForestClassifier(n_estimators=2).fit(rows, labels))
    assert "types that skops does not know: sklearn." in made.needs_trust
    with pytest.raises(InvalidRequest, match=f"{name}@1.0.0: the estimator has types .* say trust=True"):
        models.open(client, name).load()
    assert models.open(client, name).load(trust=True).predict(rows).tolist() is not None
    harmless = models.publish(client, name, linear.LogisticRegression().fit(rows, labels))
    assert harmless.needs_trust == ""
    part = models.open(client, f"{name}@1.0.0").path().read_bytes()
    assert models.publish(client, name, {"m.skops": part}).needs_trust == made.needs_trust
    assert "runs code" in models.publish(client, name, {"m.pkl": b"x"}).needs_trust
    assert "may run code" in models.publish(client, name, {"MLmodel": b"flavors: {}", "x.pkl": b""}).needs_trust
    assert models.publish(client, name, {"x.txt": b"x"}).needs_trust == ""


def test_a_model_asks_for_its_dataset_once(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models.publish(client, name, WEIGHTS)
    asked: list[str] = []
    dataset = AmbryClient.dataset

    def counted(self: AmbryClient, said: str, **options: Any) -> Any:
        asked.append(said)
        return dataset(self, said, **options)

    monkeypatch.setattr(AmbryClient, "dataset", counted)
    assert models.publish(client, name, WEIGHTS, note="again").version == "1.1.0"
    assert asked == [name]


def test_a_dataset_that_is_deleted_while_parts_are_stored_is_made_again(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create_dataset(name, tags={"kind": "model"})
    put_version = AmbryClient.put_version

    def and_gone(self: AmbryClient, *args: Any, **options: Any) -> Any:
        monkeypatch.undo()
        client.delete_dataset(name)
        return put_version(self, *args, **options)

    monkeypatch.setattr(AmbryClient, "put_version", and_gone)
    assert models.publish(client, name, WEIGHTS).version == "1.0.0"


def test_parts_that_are_there_are_not_stored_again(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    save_file(WEIGHTS, tmp_path / "model/weights.safetensors")
    (tmp_path / "model/config.json").write_text("{}")
    first = models.publish(client, name, tmp_path / "model")
    (tmp_path / "model/config.json").write_text('{"a": 1}')
    sent: list[str] = []
    put_file = AmbryClient.put_file

    def counted(self: AmbryClient, path: Any, **options: Any) -> Any:
        sent.append(Path(path).name)
        return put_file(self, path, **options)

    monkeypatch.setattr(AmbryClient, "put_file", counted)
    second = models.publish(client, name, tmp_path / "model")
    assert sent == ["config.json"]
    assert first.manifest.part("weights.safetensors") == second.manifest.part("weights.safetensors")
    assert second.manifest.kind == "safetensors"


def test_a_part_whose_name_holds_something_else_is_stored_again(client: AmbryClient, name: str) -> None:
    """It was refused with the advice to delete the name, which takes blobs with it that versions pin."""
    made = models.publish(client, name, {"x.txt": b"what it says"})
    part = f"{name}.parts/sha256/{made.manifest.parts[0].sha256}"
    client.put(b"what it does", name=part)
    again = models.publish(client, name, {"x.txt": b"what it says"}, note="again")
    assert again.manifest.parts[0].id != made.manifest.parts[0].id
    assert client.get_bytes(part) == b"what it says"
    for version in ("1.0.0", "1.1.0"):
        assert models.open(client, f"{name}@{version}").path().read_bytes() == b"what it says"


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_part_that_would_end_is_kept(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    """What somebody else put under its name with a TTL was reused as it was, and the model ended with it."""
    content = b"lives an hour"
    part = f"{name}.parts/sha256/{hashlib.sha256(content).hexdigest()}"
    client.put(content, name=part, ttl=3600)
    update_ttl = AmbryClient.update_ttl

    def replaced(self: AmbryClient, *arguments: Any) -> Any:
        client.put(b"something else", name=part)
        return update_ttl(self, *arguments)

    if is_replaced:
        monkeypatch.setattr(AmbryClient, "update_ttl", replaced)
    made = models.publish(client, name, {"x.txt": content})
    assert client.head(made.manifest.parts[0].id).expires is None
    assert client.head(part).id == made.manifest.parts[0].id
    assert models.open(client, name).path().read_bytes() == content


@pytest.mark.parametrize("lie", ["sha256", "size"])
def test_a_part_that_is_not_what_the_manifest_says_is_not_read(
    client: AmbryClient, name: str, tmp_path: Path, lie: str
) -> None:
    """A manifest could name the SHA-256 of one content and the blob of another, which was loaded."""
    made = models.publish(client, name, {"x.txt": b"one", "y.txt": b"two"})
    one, two = made.manifest.parts
    part = replace(one, id=two.id) if lie == "sha256" else replace(one, size=4)
    client.put(b"two", name=f"{name}.parts/sha256/{one.sha256}")
    client.put_version(name, replace(made.manifest, parts=(part, two)).encode(), "2.0.0")
    found = models.open(client, name)
    with pytest.raises(ChecksumMismatch, match=r"the part 'x.txt' has .* Do not use this version"):
        found.path("x.txt")
    with pytest.raises(ChecksumMismatch), found.directory():
        pass
    with pytest.raises(ChecksumMismatch):
        found.download(tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
    assert found.path("y.txt").read_bytes() == b"two"


def test_a_download_is_gone_on_with_and_replaces_nothing(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came before the file that was in the way had been written already."""
    models.publish(client, name, {"a.txt": b"1", "b/c.txt": b"2", "d.txt": b"3"})
    found, out = models.open(client, name), tmp_path / "out"
    out.mkdir()
    (out / "d.txt").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"d\.txt: there already, with other bytes"):
        found.download(out)
    assert [path.name for path in out.iterdir()] == ["d.txt"]
    (out / "d.txt").write_bytes(b"3")
    fetched: list[str] = []
    get_file = AmbryClient.get_file

    def counted(self: AmbryClient, ref: Any, path: Any, **options: Any) -> Any:
        fetched.append(str(ref))
        return get_file(self, ref, path, **options)

    monkeypatch.setattr(AmbryClient, "get_file", counted)
    assert found.download(out) == [out / "a.txt", out / "b/c.txt", out / "d.txt"]
    assert len(fetched) == 2
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == ["a.txt", "c.txt", "d.txt"]
    assert found.download(out) and len(fetched) == 2
    (out / "a.txt").unlink()
    (out / "a.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match=r"a\.txt"):
        found.download(out)


def test_no_part_of_a_download_is_there_before_the_last_one(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a model in Photon's layout read as a whole one."""
    models.publish(client, name, {"a.txt": b"1", "b.txt": b"1", "c.txt": b"3"})
    found, out = models.open(client, name), tmp_path / "out"
    get_file, fetched = AmbryClient.get_file, count()

    def cut(self: AmbryClient, ref: Any, path: Any, **options: Any) -> Any:
        if next(fetched) == 2:
            raise KeyboardInterrupt
        return get_file(self, ref, path, **options)

    monkeypatch.setattr(AmbryClient, "get_file", cut)
    with pytest.raises(KeyboardInterrupt):
        found.download(out)
    assert not [path for path in out.iterdir() if not path.name.startswith(".ambry-")]
    assert [path.read_bytes() for path in found.download(out)] == [b"1", b"1", b"3"]
    assert len(list(out.iterdir())) == 3 and next(fetched) == 4, "what had come is not fetched again"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_two_downloads_of_a_model_into_one_directory_end_well(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, after: bool
) -> None:
    """One ended with a FileNotFoundError of a hidden file. Here the second is whole before, or behind, a part of the first."""
    models.publish(client, name, {"a.txt": b"1", "b/c.txt": b"2", "d.txt": b"3"})
    found, out = models.open(client, name), tmp_path / "out"
    get_file, calls = AmbryClient.get_file, count()

    def meanwhile(self: AmbryClient, *said: Any, **options: Any) -> Any:
        second = next(calls) == at
        if second and not after:
            found.download(out)
        answer = get_file(self, *said, **options)
        if second and after:
            found.download(out)
        return answer

    monkeypatch.setattr(AmbryClient, "get_file", meanwhile)
    assert [path.read_bytes() for path in found.download(out)] == [b"1", b"2", b"3"]
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == ["a.txt", "c.txt", "d.txt"]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_of_two_versions_into_one_directory_one_is_refused_and_leaves_nothing(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """What the second had fetched stayed as hidden files, and the version that it was of could never come there."""
    made = [
        models.publish(client, name, {"a.txt": b"1", "b/c.txt": each, "d.txt": each + b"d"}) for each in (b"2", b"3")
    ]
    one, two = (models.open(client, each.place) for each in made)
    out = tmp_path / "out"
    get_file, calls = AmbryClient.get_file, count()

    def meanwhile(self: AmbryClient, *said: Any, **options: Any) -> Any:
        answer = get_file(self, *said, **options)
        if next(calls) == at:
            one.download(out)
        return answer

    monkeypatch.setattr(AmbryClient, "get_file", meanwhile)
    with pytest.raises(FileExistsError, match=r"c\.txt, .*d\.txt: there already"):
        two.download(out)
    assert sorted(path.name for path in out.rglob("*")) == ["a.txt", "b", "c.txt", "d.txt"]
    assert [path.read_bytes() for path in one.download(out)] == [b"1", b"2", b"2d"]


@pytest.mark.parametrize("at", [0, 1])
def test_a_download_waits_for_one_that_puts_its_parts_in_place(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Of two versions at once parts of both would be there, or a refused one takes away what the other is about to put there.
    The second begins where the first is about to name one of its parts."""
    made = [models.publish(client, name, {"a.txt": each, "d.txt": b"of both"}) for each in (b"2", b"3")]
    one, two = (models.open(client, each.place) for each in made)
    out, calls, second_waits = tmp_path / "out", count(), threading.Event()
    ends = (out / "a.txt", out / "d.txt")
    link, lock = os.link, LockedFile.lock
    first = threading.current_thread()

    def told(self: LockedFile, *, wait: bool) -> None:
        if wait and threading.current_thread() is not first:
            second_waits.set()
        lock(self, wait=wait)

    with ThreadPoolExecutor(1) as pool:
        running: list[Any] = []

        def meanwhile(made: Path, target: Path, **how: Any) -> None:
            if threading.current_thread() is first and target in ends and next(calls) == at:
                running.append(pool.submit(two.download, out))
                running[0].add_done_callback(lambda _: second_waits.set())
                assert second_waits.wait(60)
            link(made, target, **how)

        monkeypatch.setattr(LockedFile, "lock", told)
        monkeypatch.setattr(os, "link", meanwhile)
        assert [path.read_bytes() for path in one.download(out)] == [b"2", b"of both"]
        with pytest.raises(FileExistsError, match=r"a\.txt: there already"):
            running[0].result(60)
    assert [path.read_bytes() for path in sorted(out.iterdir())] == [b"2", b"of both"]


def test_a_download_waits_for_no_lock_that_somebody_has_on_the_directory(
    client: AmbryClient, name: str, tmp_path: Path
) -> None:
    """As `flock DIR python -m fetch`, which is how jobs of cron keep out of each other's way: it waited for its own lock."""
    models.publish(client, name, {"a.txt": b"1", "b.txt": b"2"})
    found = models.open(client, name)
    (tmp_path / ".ambry-lock").write_bytes(b"")  # of one that was killed
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert [path.read_bytes() for path in found.download(tmp_path)] == [b"1", b"2"]
        (tmp_path / "a.txt").write_bytes(b"mine")
        with pytest.raises(FileExistsError):
            found.download(tmp_path)
    finally:
        os.close(handle)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_what_an_interrupted_download_left_goes_where_it_is_refused(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.publish(client, name, {"a.txt": b"1", "b.txt": b"2"})
    found, out = models.open(client, name), tmp_path / "out"
    out.mkdir()
    first, second = found.manifest.parts
    left, other = (out / f".ambry-{digest}" for digest in (found.digest, "0" * 64))
    left.mkdir()
    (left / f".ambry-{first.sha256}").write_bytes(b"1")
    (left / f".ambry-{second.sha256}.{second.id}.part").write_bytes(b"2")
    other.mkdir()
    (out / "a.txt").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"a\.txt: there already"):
        found.download(out)
    assert sorted(out.iterdir()) == [other, out / "a.txt"]


def test_what_another_download_took_away_is_fetched_again(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused download of another version, which shares a part."""
    models.publish(client, name, {"a.txt": b"1", "b.txt": b"2"})
    found, out = models.open(client, name), tmp_path / "out"
    get_file, calls = AmbryClient.get_file, count()

    def meanwhile(self: AmbryClient, *said: Any, **options: Any) -> Any:
        answer = get_file(self, *said, **options)
        if next(calls) == 1:
            (out / f".ambry-{found.digest}/.ambry-{found.manifest.part('a.txt').sha256}").unlink()
        return answer

    monkeypatch.setattr(AmbryClient, "get_file", meanwhile)
    assert [path.read_bytes() for path in found.download(out)] == [b"1", b"2"]
    assert next(calls) == 3 and len(list(out.iterdir())) == 2


def test_a_part_is_not_lost_under_what_gathers(client: AmbryClient, name: str, tmp_path: Path) -> None:
    """One that was called as another one while that came was overwritten by it, and then moved away."""
    place = VersionRef(name)
    client.create_dataset(name, "SEMANTIC")
    last = store_part(client, place, "z.txt", b"z")
    gathers = store_part(client, place, f".ambry-{last.sha256}", b"not lost")
    lock = store_part(client, place, ".ambry-lock", b"nor this")
    publish_manifest(client, name, ModelManifest(kind="files", parts=(gathers, lock, last)))
    found = models.open(client, name).download(tmp_path / "out")
    assert [path.read_bytes() for path in found] == [b"not lost", b"nor this", b"z"]
    assert sorted((tmp_path / "out").iterdir()) == sorted(found)


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ([f".ambry-{'0' * 64}"], "what downloads and uploads keep"),
        ([".ambry-lock"], "what downloads and uploads keep"),
        ([f"a/.ambry-{'0' * 64}_/b"], "what downloads and uploads keep"),
        (["a.ambry-upload"], "what downloads and uploads keep"),
        (["A.txt", "a.txt"], "'A.txt' and 'a.txt' are one file on some disks"),
        (["d/ü", "d/u\u0308"], "are one file on some disks"),
        (["a/B/c", "A/b/C"], "are one file on some disks"),
        (["x" * 256], "a name in it 255"),
        (["ü" * 128], "a name in it 255"),
        (["/".join(["d" * 9] * 101)], "at most 1000 bytes"),
        (["a\0b"], "is not a path"),
        (["a\nb"], "is not a path"),
        (["a\\b"], "is not a path"),
        (["a/"], "is not a path"),
        (["/a"], "is not a path"),
        (["a/../b"], "is not a path"),
        (["\ud800"], "is not a path"),
    ],
)
def test_paths_that_are_not_safe_on_every_disk_are_refused(
    client: AmbryClient, name: str, paths: list[str], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        models.publish(client, name, dict.fromkeys(paths, b"x"))
    with pytest.raises(BlobNotFound):
        client.dataset(name)


def test_what_a_download_left_in_a_directory_is_no_part(client: AmbryClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a")
    (tmp_path / f".ambry-{'0' * 64}").write_bytes(b"half")
    assert [part.path for part in models.publish(client, name, tmp_path).manifest.parts] == ["a.txt"]


@pytest.mark.parametrize(
    ("file", "kind"), [("m.safetensors", "safetensors"), ("m.arrow", "arrow"), ("m.avro", "avro"), ("m.pkl", "pickle")]
)
def test_what_a_library_cannot_read_is_told(client: AmbryClient, name: str, file: str, kind: str) -> None:
    """Whatever its library raises reached the user, as a traceback at the command line."""
    models.publish(client, name, {file: b"no such format"}, framework={"made": "1.2"})
    with pytest.raises(DataCorrupt, match=rf"{name}@1\.0\.0 cannot be read as {kind}: \w+: .*made with made 1\.2"):
        models.open(client, name).load(trust=True)


def test_what_is_said_of_a_model_may_come_from_numpy(client: AmbryClient, name: str) -> None:
    """metrics={"auc": numpy.float32(...)} was "no finite number"."""
    made = models.publish(
        client, name, {"x.txt": b"1"}, metrics={"auc": cast("Any", np.float32(0.5))}, params={"a": np.arange(2)}
    )
    assert (made.manifest.metrics, made.manifest.params) == ({"auc": 0.5}, {"a": [0, 1]})
    assert models.open(client, name).manifest == made.manifest


@pytest.mark.parametrize(
    "said",
    [
        {"params": {"x": float("nan")}},
        {"metrics": {"auc": float("inf")}},
        {"kind": "magic"},
        {"params": {"x": object()}},
    ],
)
def test_what_is_refused_leaves_nothing_behind(client: AmbryClient, name: str, said: dict[str, Any]) -> None:
    """The parts were stored before what was said of them was looked at."""
    with pytest.raises(InvalidRequest):
        models.publish(client, name, {"x.txt": b"1"}, **said)
    with pytest.raises(InvalidRequest, match="'a' is a part of the model"):
        models.publish(client, name, {"a": b"1", "a/b": b"2"})
    assert client.list(f"{name}.parts/").all() == []


@pytest.mark.parametrize("dataset", ["-x", "x!", "x" * 300])
def test_a_dataset_that_cannot_be_is_refused_before_anything_is_stored(client: AmbryClient, dataset: str) -> None:
    """What is stored for it would be nobody's."""
    before = client.list("").all()
    with pytest.raises(InvalidRequest):
        models.publish(client, dataset, {"a.txt": b"of no dataset"})
    assert client.list("").all() == before


def test_a_manifest_that_changed_in_the_cache_is_fetched_again(client: AmbryClient, name: str) -> None:
    made = models.publish(client, name, {"a.txt": b"abc"})
    kept = client.cached_path(made.id)
    kept.chmod(0o600)
    content = kept.read_bytes()
    kept.write_bytes(content.replace(b"a.txt", b"b.txt"))
    assert models.open(client, name).path("a.txt").read_bytes() == b"abc"
    assert client.cached_path(made.id).read_bytes() == content


def test_a_directory_comes_back_as_it_was(client: AmbryClient, name: str, tmp_path: Path) -> None:
    models.publish(client, name, {"a/b.txt": b"1", "c.txt": b"2"})
    stored = models.open(client, name)
    with stored.directory() as directory:
        assert {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*.txt")} == {
            "a/b.txt": b"1",
            "c.txt": b"2",
        }
    assert not directory.exists()
    assert stored.path("a/b.txt").read_bytes() == b"1"
    with pytest.raises(InvalidRequest, match="2 parts"):
        stored.path()
    with pytest.raises(InvalidRequest, match="no part"):
        stored.path("d")
    with pytest.raises(InvalidRequest, match="files alone"):
        stored.load()


def test_a_link_out_of_a_directory_is_no_part(client: AmbryClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/link").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidRequest, match="out of the directory"):
        models.publish(client, name, tmp_path / "model")
    with pytest.raises(BlobNotFound):
        client.dataset(name)


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_what_is_no_file_is_told_and_what_uploads_keep_is_left_out(
    client: AmbryClient, name: str, tmp_path: Path
) -> None:
    """Linked directories and pipes were left out without a word, and the rest of an upload became a part."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights.bin").write_bytes(b"w")
    (tmp_path / "model/weights.bin.ambry-upload").write_text("{}")
    made = models.publish(client, name, tmp_path / "model")
    assert [part.path for part in made.manifest.parts] == ["weights.bin"]
    (tmp_path / "else").mkdir()
    for make in (
        lambda path: path.symlink_to(tmp_path / "else"),
        lambda path: path.symlink_to("nothing"),
        lambda path: os.mkfifo(path),
    ):
        make(odd := tmp_path / "model/odd")
        with pytest.raises(InvalidRequest, match="cannot be a part of a model"):
            models.publish(client, name, tmp_path / "model")
        odd.unlink()


def test_libraries_that_follow_no_links_get_copies(client: AmbryClient, name: str) -> None:
    models.publish(client, name, {"MLmodel": b"{}", "a/x.txt": b"x"}, kind="mlflow")
    opened = models.open(client, name)
    for links in (True, False):
        with opened.directory(links=links) as directory:
            assert (directory / "a/x.txt").samefile(opened.path("a/x.txt")) == links
            assert (directory / "a/x.txt").read_bytes() == b"x"
    assert "mlflow" in READS_NO_LINKS


def test_a_table_whose_offsets_lie_is_no_table(client: AmbryClient, name: str) -> None:
    """Reading it ended the process."""
    lying = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 1 << 30, 2], dtype=np.int32)), pa.py_buffer(b"ab")]
    )
    table = pa.Table.from_arrays([lying], ["name"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    models.publish(client, name, {"table.arrow": bytes(sink.getvalue())})
    with pytest.raises(DataCorrupt, match="cannot be read as arrow"):
        models.open(client, name).load()


ONNX_ALONE = """
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print(session.run(None, {"x": numpy.array([[1, 2]], dtype="f4")})[0].tolist())
"""
SAFETENSORS_ALONE = """
from safetensors import safe_open
from safetensors.numpy import save_file
with safe_open(sys.argv[1], framework="numpy") as file:
    assert sorted(file.keys()) == ["coef", "ids"] and file.metadata() is None
    tensors = {name: file.get_tensor(name) for name in file.keys()}
assert tensors["coef"].dtype == "float32" and tensors["coef"].tolist() == [[0.5, -1.0], [2.0, 0.25]]
assert tensors["ids"].dtype == "int64" and tensors["ids"].tolist() == [-(2**63), 2**63 - 1]
save_file({**tensors, "more": tensors["coef"] * 2}, sys.argv[2], metadata={"by": "somebody else"})
"""
SKOPS_ALONE = """
import numpy, skops.io
model = skops.io.load(sys.argv[1], trusted=[])
print(model.predict(numpy.array([[0.0, 0.0], [3.0, 3.0]])).tolist())
skops.io.dump(model.set_params(logisticregression__C=7.0), sys.argv[2])
"""


def test_onnx_is_the_same_for_us_and_for_who_never_saw_us(client: AmbryClient, name: str, tmp_path: Path) -> None:
    """As it lies in the cache, and with its weights in a file beside it, too."""
    onnx: Any = pytest.importorskip("onnx", reason="onnx is not there for this Python")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not there for this Python")
    weights = onnx.numpy_helper.from_array(np.array([[0.5], [2.0]], dtype="f4"), "w")
    value, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [value("x", float32, [None, 2])],
        [value("y", float32, [None, 1])],
        [weights],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    for beside in (False, True):
        source = tmp_path / f"made-{beside}"
        source.mkdir()
        settings = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0} if beside else {}
        onnx.save_model(made, str(source / "model.onnx"), **settings)
        models.publish(client, f"{name}-{beside}", source, kind="onnx")
        opened = models.open(client, f"{name}-{beside}")
        ours = opened.load().run(None, {"x": np.array([[1, 2]], dtype="f4")})[0].tolist()
        opened.download(tmp_path / f"got-{beside}")
        places = [tmp_path / f"got-{beside}/model.onnx", *([] if beside else [opened.path("model.onnx")])]
        scored = predictor_of(opened).predict({"x": np.array([[1.0, 2.0], [2.0, 0.0]])})
        assert scored["y"].tolist() == [[4.5], [1.0]], "as it serves"
        assert ours == [[4.5]] and {run_alone(ONNX_ALONE, place) for place in places} == {"[[4.5]]\n"}


def test_safetensors_are_the_same_for_us_and_for_who_never_saw_us(
    client: AmbryClient, name: str, tmp_path: Path
) -> None:
    coef = np.array([[0.5, -1.0], [2.0, 0.25]], dtype=np.float32)
    models.publish(client, name, {"coef": coef, "ids": np.array([-(2**63), 2**63 - 1])})
    run_alone(SAFETENSORS_ALONE, models.open(client, name).path("model.safetensors"), tmp_path / "theirs.safetensors")
    models.publish(client, name, tmp_path / "theirs.safetensors")
    found = models.open(client, name).load()
    assert {key: tensor.tolist() for key, tensor in found.items()} == {
        "coef": coef.tolist(), "ids": [-(2**63), 2**63 - 1], "more": (coef * 2).tolist(),
    }  # fmt: skip


def test_skops_are_the_same_for_us_and_for_who_never_saw_us(client: AmbryClient, name: str, tmp_path: Path) -> None:
    pipeline = pytest.importorskip("sklearn.pipeline")
    linear, scaling = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("sklearn.preprocessing")
    made = pipeline.make_pipeline(scaling.StandardScaler(), linear.LogisticRegression())
    made.fit(np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 2.0], [4.0, 4.0]]), [0, 0, 1, 1])
    models.publish(client, name, made)
    assert run_alone(SKOPS_ALONE, models.open(client, name).path("model.skops"), tmp_path / "x.skops") == "[0, 1]\n"
    models.publish(client, name, tmp_path / "x.skops")
    found = models.open(client, name).load()
    assert found.predict([[0.0, 0.0], [3.0, 3.0]]).tolist() == [0, 1]
    assert found.named_steps["logisticregression"].C == 7.0


def test_a_pickle_is_never_loaded_without_trust(client: AmbryClient, name: str, tmp_path: Path) -> None:
    mark = tmp_path / "was run"
    models.publish(client, name, {"model.pkl": pickle.dumps(Harmful(mark))})
    models.publish(client, f"{name}-m", {"MLmodel": b"flavors: {}", "python_model.pkl": pickle.dumps(Harmful(mark))})
    models.publish(client, f"{name}-c", {"MLmodel": b"flavors: {}", "code/x.py": b"raise SystemExit"})
    for each in (name, f"{name}-m", f"{name}-c"):
        with pytest.raises(InvalidRequest, match="trust=True"):
            models.open(client, each).load()
    assert not mark.exists()
    models.open(client, name).load(trust=True)
    assert mark.exists()


def test_a_pickle_beside_other_files_is_found(client: AmbryClient, name: str) -> None:
    models.publish(client, name, {"config.json": b"{}", "model.pkl": pickle.dumps(range(3))}, kind="pickle")
    assert models.open(client, name).load(trust=True) == range(3)


def test_nothing_is_pickled_unasked(client: AmbryClient, name: str) -> None:
    with pytest.raises(InvalidRequest, match="kind='pickle'"):
        models.publish(client, name, object())
    assert models.publish(client, name, range(3), kind="pickle").manifest.kind == "pickle"
    assert models.open(client, name).load(trust=True) == range(3)


def test_a_table_of_arrow_is_mapped(client: AmbryClient, name: str) -> None:
    table = pa.table({"a": [1, 2, 3]})
    models.publish(client, name, table)
    assert models.open(client, name).load().equals(table)


def test_champions_are_promoted_and_rolled_back(client: AmbryClient, name: str) -> None:
    first, second = (models.publish(client, name, {"x.txt": data}) for data in (b"1", b"2"))
    models.promote(client, first.place, who="ann", why="the first")
    models.promote(client, f"{name}@1.1.0", why="better on the holdout", expected="1.0.0")
    assert models.open(client, f"{name}@champion").version == second.version
    with pytest.raises(UpdateConflict):
        models.promote(client, first.place, expected="1.0.0")
    models.roll_back(client, name, why="false alarms")
    assert models.open(client, f"{name}@champion").version == first.version
    assert [move.why for move in client.alias_history(name, "champion")] == [
        "false alarms",
        "better on the holdout",
        "the first",
    ]
    with pytest.raises(BlobNotFound):
        models.promote(client, f"{name}@9.9.9")


def test_nothing_is_promoted_that_nobody_chose(client: AmbryClient, name: str) -> None:
    """In Python whatever was newest served, without a word; the command asked for a version."""
    made = models.publish(client, name, WEIGHTS)
    with pytest.raises(InvalidRequest, match=f"write {name}@1.2.0, or say newest=True"):
        models.promote(client, name)
    with pytest.raises(InvalidRequest, match="names a version already"):
        models.promote(client, made, newest=True)
    assert client.aliases(name) == []
    assert models.promote(client, name, newest=True).version == "1.0.0"


def test_lineage_says_what_a_model_was_made_from(client: AmbryClient, name: str) -> None:
    client.create_dataset(f"{name}-rows", "MONOTONIC")
    client.put_version(f"{name}-rows", b"rows")
    first = models.publish(client, name, {"x.txt": b"1"}, snapshot=f"{name}-rows", code="git:1")
    models.publish(client, name, {"x.txt": b"2"}, parent=first.place, snapshot=f"{name}-rows@1")
    steps = list(models.lineage(client, name))
    assert [step.version for step in steps] == [f"{name}@1.1.0", f"{name}@1.0.0"]
    assert [step.model.manifest.snapshot for step in steps if step.model] == [f"{name}-rows@1"] * 2
    client.delete(first.place)
    gone = list(models.lineage(client, name))[-1]
    assert (gone.version, gone.model) == (f"{name}@1.0.0", None)
    with pytest.raises(BlobNotFound):
        models.publish(client, name, {"x.txt": b"3"}, parent=f"{name}@7.0.0")


def test_a_watch_follows_an_alias_and_keeps_what_is_good(client: AmbryClient, name: str) -> None:
    for data in (b"1", b"2", b"broken"):
        models.publish(client, name, {"x.txt": data})
    models.promote(client, f"{name}@1.0.0")
    loaded: list[bytes] = []

    def prepare(model: models.StoredModel) -> None:
        data = model.path().read_bytes()
        if data == b"broken":
            raise InvalidRequest("it cannot be loaded")
        loaded.append(data)

    with models.ModelWatch(client, name, prepare=prepare, poll_s=0.01) as watch:
        assert (watch.current.version, loaded) == ("1.0.0", [b"1"])
        models.promote(client, f"{name}@1.1.0")
        assert watch.wait("1.1.0", 30)
        models.promote(client, f"{name}@1.2.0")
        with pytest.raises(InvalidRequest, match="cannot be loaded"):
            watch.look()
        assert watch.current.version == "1.1.0"
        models.roll_back(client, name)
        assert watch.look().version == "1.1.0"
    assert loaded == [b"1", b"2"]
    with pytest.raises(BlobNotFound):
        models.ModelWatch(client, name, "challenger")


def test_a_watch_opens_the_version_that_it_saw(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the alias moved back between the look and the opening, what was there before was loaded once more."""
    for data in (b"1", b"2"):
        models.publish(client, name, {"x.txt": data})
    models.promote(client, f"{name}@1.0.0")
    loaded: list[bytes] = []
    with models.ModelWatch(
        client, name, prepare=lambda model: loaded.append(model.path().read_bytes()), poll_s=3_600
    ) as watch:
        models.promote(client, f"{name}@1.1.0")
        head = AmbryClient.head

        def and_moves_back(self: AmbryClient, ref: Any, **options: Any) -> Any:
            info = head(self, ref, **options)
            monkeypatch.undo()
            models.roll_back(client, name)
            return info

        monkeypatch.setattr(AmbryClient, "head", and_moves_back)
        assert watch.look().version == "1.1.0"
        assert loaded == [b"1", b"2"]
        assert watch.look().version == "1.0.0"


def test_two_looks_at_once_never_go_back(client: AmbryClient, name: str) -> None:
    """Who had asked before a move, and took longer to load, put the older version in the place of the newer one."""
    for number in range(3):
        models.publish(client, name, {"x.txt": str(number).encode()})
    models.promote(client, f"{name}@1.0.0")
    loads, moved = threading.Event(), threading.Event()

    def prepare(model: models.StoredModel) -> None:
        if model.version == "1.1.0":
            loads.set()
            moved.wait(30)

    with models.ModelWatch(client, name, prepare=prepare, poll_s=60) as watch, ThreadPoolExecutor(2) as pool:
        models.promote(client, f"{name}@1.1.0")
        first = pool.submit(watch.look)
        assert loads.wait(30)
        models.promote(client, f"{name}@1.2.0")
        second = pool.submit(watch.look)
        # Without turns the second is done long before.
        wait([second], timeout=0.2)
        moved.set()
        assert (first.result(30).version, second.result(30).version) == ("1.1.0", "1.2.0")
        assert watch.current.version == "1.2.0"


def test_what_is_no_model_is_told(client: AmbryClient, name: str) -> None:
    client.create_dataset(name)
    client.put_version(name, b"weights", "1.0.0")
    with pytest.raises(InvalidRequest, match="no model"):
        models.open(client, name)


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["a.safetensors", "config.json"], "safetensors"),
        (["m.onnx"], "onnx"),
        (["m.skops"], "sklearn"),
        (["m.joblib"], "pickle"),
        (["MLmodel", "model.skops"], "mlflow"),
        (["a.safetensors", "b.onnx"], "files"),
        (["README.md"], "files"),
    ],
)
def test_files_say_what_they_are(files: list[str], kind: str) -> None:
    assert kind_of(files) == kind


def test_what_was_published_names_its_version_wherever_one_is_named(client: AmbryClient, name: str) -> None:
    """`models.promote(client, made)` was an AttributeError: what was published had to be made a text first."""
    first = models.publish(client, name, {"x.txt": b"1"})
    second = models.publish(client, name, {"x.txt": b"2"}, parent=first)
    assert second.manifest.parent == str(first)
    assert models.open(client, first).id == first.id
    models.promote(client, first)
    assert models.promote(client, models.open(client, second)).version == "1.1.0"
    assert [step.version for step in models.lineage(client, second)] == [str(second), str(first)]
    assert models.roll_back(client, second).version == "1.0.0"
    with pytest.raises(InvalidRequest, match="a list names no version; write NAME"):
        models.open(client, cast(Any, []))


def test_features_and_their_definitions_are_looked_up(client: AmbryClient, name: str) -> None:
    """A model said for ever that it took features of a version that never was."""
    publish(client, f"{name}-features", FeatureMetadata.of([parse_definitions("age: {valType: INT}", "n")]))
    urn = "urn:li:(n,age,1,0)"
    made = models.publish(client, name, {"x.txt": b"1"}, features=[urn], definitions=f"{name}-features")
    assert made.manifest.definitions == f"{name}-features@1.0.0"
    with pytest.raises(InvalidRequest, match=r"-features@1.0.0: urn:li:\(n,agee,1,0\) is not defined; did you mean"):
        models.publish(
            client, name, {"x.txt": b"1"}, features=["urn:li:(n,agee,1,0)"], definitions=f"{name}-features@1.0.0"
        )
    for missing in (f"{name}-features@7.0.0", "nobodys-features"):
        with pytest.raises(BlobNotFound, match=f"definitions {missing} are not there .*; publish them first"):
            models.publish(client, name, {"x.txt": b"1"}, features=[urn], definitions=missing)
    elsewhere = "wheel:feed-features==1.2.0"
    assert models.publish(client, name, {"x.txt": b"1"}, definitions=elsewhere).manifest.definitions == elsewhere


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_numbers_of_numpy_are_metrics_and_those_that_are_none_are_refused(
    client: AmbryClient, name: str, kind: Any
) -> None:
    made = models.publish(client, name, {"x.txt": b"1"}, metrics={"auc": kind(1)}, params={"depth": kind(3)})
    assert (made.manifest.metrics, made.manifest.params) == ({"auc": 1}, {"depth": 3})
    for wrong in (np.float32("nan"), np.float64("inf")):
        with pytest.raises(InvalidRequest, match=r"'auc' is (nan|inf); a metric is a finite number"):
            models.publish(client, name, {"x.txt": b"1"}, metrics={"auc": wrong})


def test_of_those_who_publish_the_same_once_at_the_same_time_one_makes_the_version(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.publish(client, name, WEIGHTS, note="another")
    both_looked = threading.Barrier(2)
    looked = threading.local()
    look = publishing.published_before

    def together(*args: Any) -> Any:
        found = look(*args)
        if not hasattr(looked, "once"):
            looked.once = True
            both_looked.wait(30)
        return found

    monkeypatch.setattr(publishing, "published_before", together)
    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(models.publish, client, name, WEIGHTS, note="x", once=True) for _ in range(2)]
        versions = {str(each.result()) for each in made}
    assert versions == {f"{name}@1.1.0"}
    assert [each.version for each in client.versions(name)] == ["1.0.0", "1.1.0"]
