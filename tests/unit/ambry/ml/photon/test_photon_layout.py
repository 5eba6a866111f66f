"""Models in Photon's directory layout: there and back, the same bytes for the same model, and what is refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from scipy import sparse

from ambry.errors import InvalidRequest
from ambry.ml import files
from ambry.ml.photon.examples import INTERCEPT, FeatureIndex, shard_of
from ambry.ml.photon.layout import MODEL_SCHEMA, model_files, read_model, write_model
from ambry.ml.photon.models import FixedModel, PhotonModel, RandomModel, Task
from tests.support.photon_models import many_entities, photon_models, told

GOLDEN = Path(__file__).with_name("golden_model")


def small() -> PhotonModel:
    """What the golden files hold."""
    index = FeatureIndex((INTERCEPT, ("age", ""), ("title", "engineer")))
    fixed = FixedModel(
        shard="globalShard", index=index, means=np.array([0.5, 0.0, -1.25]), variances=np.array([0.1, 0.2, 0.3])
    )
    shard = shard_of([{INTERCEPT: 1.0, ("job", "é"): 2.0}, {INTERCEPT: -0.5}, {}])
    random = RandomModel(
        entity="memberId", shard="memberShard", index=shard.index, entities=("7", "8", "9"), means=shard.matrix
    )
    return PhotonModel(
        task=Task.LOGISTIC,
        fixed={"global": fixed},
        random={"per-member": random},
        name="small",
        configurations={"global": {"regularizationWeight": 1.0}},
    )


@given(photon_models())
def test_there_and_back_is_the_same_model(model: PhotonModel) -> None:
    with tempfile.TemporaryDirectory() as made:
        write_model(Path(made), model, models_per_part=2)
        again = read_model(Path(made))
    assert told(again) == told(model)
    assert model_files(again, models_per_part=2) == model_files(model, models_per_part=2)


def test_the_files_are_those_that_were_written_when_the_format_was_made(tmp_path: Path) -> None:
    files = model_files(small(), models_per_part=2)
    if os.environ.get("AMBRY_WRITE_GOLDEN"):
        write_model(GOLDEN, small(), models_per_part=2)
    golden = {path.relative_to(GOLDEN).as_posix(): path for path in GOLDEN.rglob("*") if path.is_file()}
    assert sorted(files) == sorted(golden) == [
        "fixed-effect/global/coefficients/part-00000.avro",
        "fixed-effect/global/id-info",
        "model-metadata.json",
        "random-effect/per-member/coefficients/part-00000.avro",
        "random-effect/per-member/coefficients/part-00001.avro",
        "random-effect/per-member/id-info",
        "random-effect/per-member/index.arrow",
    ]  # fmt: skip
    for path, data in files.items():
        if not path.endswith(".arrow"):  # Arrow's own bytes may differ from release to release.
            assert data == golden[path].read_bytes(), path
    assert told(read_model(GOLDEN)) == told(small())


def test_records_are_those_that_photon_writes() -> None:
    path = GOLDEN / "random-effect/per-member/coefficients/part-00000.avro"
    with path.open("rb") as file:
        records = list(fastavro.reader(file))
    assert records == [
        {
            "modelId": "7",
            "modelClass": "com.linkedin.photon.ml.supervised.classification.LogisticRegressionModel",
            "means": [
                {"name": "(INTERCEPT)", "term": "", "value": 1.0},
                {"name": "job", "term": "é", "value": 2.0},
            ],
            "variances": None,
            "lossFunction": "",
        },
        {
            "modelId": "8",
            "modelClass": "com.linkedin.photon.ml.supervised.classification.LogisticRegressionModel",
            "means": [{"name": "(INTERCEPT)", "term": "", "value": -0.5}],
            "variances": None,
            "lossFunction": "",
        },
    ]


def written(directory: Path) -> Path:
    write_model(directory, small())
    return directory


def test_a_model_of_before_there_was_metadata_says_its_task_by_its_class(tmp_path: Path) -> None:
    (written(tmp_path / "m") / "model-metadata.json").unlink()
    assert read_model(tmp_path / "m").task is Task.LOGISTIC


def test_metadata_that_photon_wrote_by_hand_are_read_as_it_reads_them(tmp_path: Path) -> None:
    write_model(tmp_path / "m", replace(small(), task=Task.POISSON))
    (tmp_path / "m/model-metadata.json").write_text('\n{ "modelType": "POISSON_REGRESSION",\n "x": , }\n')
    assert read_model(tmp_path / "m").task is Task.POISSON


def put_records(path: Path, records: list[dict[str, Any]]) -> None:
    with path.open("wb") as file:
        fastavro.writer(file, MODEL_SCHEMA, records, codec="deflate")


def record(*means: tuple[str, str, float], id: str = "7") -> dict[str, Any]:
    return {"modelId": id, "means": [{"name": name, "term": term, "value": value} for name, term, value in means]}


def test_what_is_wrong_with_a_directory_is_a_sentence(tmp_path: Path) -> None:
    made = written(tmp_path / "m")
    part = made / "random-effect/per-member/coefficients/part-00000.avro"

    def refused() -> str:
        with pytest.raises(InvalidRequest) as error:
            read_model(made)
        return error.value.message

    put_records(part, [record(("a", "", 1.0)), record(), record(id="8")])
    assert "the memberId '7' has two models" in refused()
    put_records(part, [record(("a", "", np.nan))])
    assert "part-00000.avro, record 0: the coefficient of 'a' is nan" in refused()
    put_records(part, [record(("a", "", 1.0), ("a", "", 1.0))])
    assert "stands twice" in refused()
    part.write_bytes(b"no")
    assert "is no Avro file of records" in refused()
    part.unlink()
    assert "no file that ends in .avro" in refused()
    (made / "random-effect/per-member/id-info").write_text("only one\n")
    assert "has 1 lines; it says the kind of entity and the shard" in refused()
    (made / "model-metadata.json").write_text(json.dumps({"modelType": "SMOOTHED_HINGE_LOSS_LINEAR_SVM"}))
    assert "and not 'SMOOTHED_HINGE_LOSS_LINEAR_SVM'" in refused()


def test_an_empty_directory_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="is no model of Photon's"):
        read_model(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_model(tmp_path / "none")


def test_half_a_model_is_told(tmp_path: Path) -> None:
    """It read as a whole one, without the members of the parts that had not come, or without the random effect."""
    whole = model_files(small(), models_per_part=2)
    for lacking in ("random-effect/per-member/coefficients/part-00001.avro", "random-effect/", "fixed-effect/"):
        made = tmp_path / lacking.replace("/", "-")
        for path, data in whole.items():
            if not path.startswith(lacking):
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                (made / path).write_bytes(data)
        with pytest.raises(InvalidRequest, match="the model is not whole; copy or write it again"):
            read_model(made)


def test_a_part_that_was_cut_or_is_missing_is_told_with_the_index_or_the_metadata_alone(tmp_path: Path) -> None:
    """It read as a whole model of fewer members."""
    made = tmp_path / "m"
    write_model(made, small(), models_per_part=2)
    part = made / "random-effect/per-member/coefficients/part-00001.avro"
    index, metadata = made / "random-effect/per-member/index.arrow", made / "model-metadata.json"
    whole, kept = part.read_bytes(), {path: path.read_bytes() for path in (index, metadata)}
    cut = whole[: whole.index(whole[-16:]) + 16]
    for gone, told_by in ((metadata, "index.arrow"), (index, "model-metadata.json"), (None, "")):
        if gone is not None:
            gone.unlink()
        part.write_bytes(cut)
        lacking = f"{told_by} says 3 entities, and .*coefficients has 2: the model is not whole"
        with pytest.raises(InvalidRequest, match=lacking):
            read_model(made)
        part.write_bytes(whole)
        assert read_model(made).random["per-member"].entities == ("7", "8", "9")
        if gone is not None:
            gone.write_bytes(kept[gone])
    index.unlink()
    part.unlink()
    with pytest.raises(InvalidRequest, match="the model is not whole"):
        read_model(made)


def test_an_index_that_is_gone_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The parts were read whole and compared with nothing, in silence. Models of Photon's own have none."""
    index = written(tmp_path / "m") / "random-effect/per-member/index.arrow"
    read_model(tmp_path / "m")
    assert caplog.messages == []
    index.unlink()
    assert told(read_model(tmp_path / "m")) == told(small())
    assert caplog.messages == [
        f"there is no {index}, which this model was written with: its parts are read whole, and not compared"
    ]
    caplog.clear()
    (tmp_path / "m/model-metadata.json").unlink()
    read_model(tmp_path / "m")
    assert caplog.messages == []


def test_a_model_that_does_not_say_how_many_entities_it_has_is_read(tmp_path: Path) -> None:
    """Of a release before this one, of Photon, or of somebody who wrote something else there."""
    metadata = written(tmp_path / "m") / "model-metadata.json"
    said = json.loads(metadata.read_text())
    [effect] = said["randomEffectOptimizationConfigurations"]["values"]
    assert effect.pop("entities") == 3
    for odd in ({}, {"entities": "many"}, {"entities": True}, {"entities": None}):
        said["randomEffectOptimizationConfigurations"]["values"] = [{**effect, **odd}]
        metadata.write_text(json.dumps(said))
        assert told(read_model(tmp_path / "m")) == told(small())


def test_a_model_that_could_not_be_written_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.suffix == ".arrow":
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        assert not (tmp_path / "m").exists() or not list((tmp_path / "m").iterdir())
        return write_bytes(self, data)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(Path, "write_bytes", full)
        write_model(tmp_path / "m", small())
    assert list(tmp_path.iterdir()) == []
    assert told(read_model(written(tmp_path / "m"))) == told(small())


def test_nothing_is_written_over(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="is not empty"):
        write_model(written(tmp_path / "m"), small())


@pytest.mark.parametrize("name", ["..", "a/b", "", "x y"])
def test_the_name_of_an_effect_is_one_of_a_directory(name: str) -> None:
    model = small()
    with pytest.raises(InvalidRequest, match="cannot be the name of an effect"):
        model_files(PhotonModel(task=model.task, fixed={name: model.fixed["global"]}))


@pytest.mark.parametrize("odd", ["name", "term", "entity", "coefficient", "coefficient of an entity"])
def test_a_model_that_no_reader_reads_is_not_written(odd: str) -> None:
    means = np.array([1.0, np.nan if odd == "coefficient" else 2.0])
    index = FeatureIndex((("a", "\ud800" if odd == "term" else ""), INTERCEPT))
    one = sparse.csr_matrix([[np.inf if odd == "coefficient of an entity" else 1.0, 2.0]])
    model = PhotonModel(
        task=Task.LINEAR,
        fixed={"global": FixedModel(shard="features", index=index, means=means)},
        random={
            "per-pig": RandomModel(
                entity="pig", shard="features", index=index, entities=("\udfff" if odd == "entity" else "p",), means=one
            )
        },
        name="\ud800" if odd == "name" else "m",
    )
    with pytest.raises(InvalidRequest, match=r"surrogate|no finite number"):
        model_files(model)


def test_a_part_of_another_model_is_refused(tmp_path: Path) -> None:
    """With the same entities: it was read, and scored with, as if it were this model's."""
    model, own = small(), small().random["per-member"]
    write_model(tmp_path / "one", model, models_per_part=2)
    other = PhotonModel(task=model.task, fixed=model.fixed, random={"per-member": replace(own, means=own.means * 3)})
    write_model(tmp_path / "other", other, models_per_part=2)
    part = "random-effect/per-member/coefficients/part-00000.avro"
    (tmp_path / "one" / part).write_bytes((tmp_path / "other" / part).read_bytes())
    with pytest.raises(InvalidRequest, match=r"part-00000.avro is not what .*index.arrow says"):
        read_model(tmp_path / "one")
    # Photon knows no index, and writes parts as it likes.
    (tmp_path / "one/random-effect/per-member/index.arrow").unlink()
    assert read_model(tmp_path / "one").random["per-member"].of("7") == other.random["per-member"].of("7")


def test_a_fixed_effect_of_another_model_is_refused(tmp_path: Path) -> None:
    """Parts of random effects were looked at, and that of a fixed one was read as if it were this model's."""
    model, own = small(), small().fixed["global"]
    write_model(tmp_path / "one", model)
    other = PhotonModel(task=model.task, fixed={"global": replace(own, means=own.means * 3)}, random=model.random)
    write_model(tmp_path / "other", other)
    part = "fixed-effect/global/coefficients/part-00000.avro"
    (tmp_path / "one" / part).write_bytes((tmp_path / "other" / part).read_bytes())
    with pytest.raises(InvalidRequest, match=r"coefficients is not what .*model-metadata.json says"):
        read_model(tmp_path / "one")
    # Photon, and a release before it was written, say nothing of it.
    metadata = tmp_path / "one" / "model-metadata.json"
    said = json.loads(metadata.read_text())
    for each in said["fixedEffectOptimizationConfigurations"]["values"]:
        del each["check"]
    metadata.write_text(json.dumps(said))
    assert read_model(tmp_path / "one").fixed["global"].means.tolist() == other.fixed["global"].means.tolist()


def test_each_part_is_read_once_and_never_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To compare them with the index, all parts were read a second time, and all of them held at once."""
    write_model(tmp_path / "m", many_entities(5_000), models_per_part=1_000)
    opened: list[str] = []

    def counted(place: Any) -> Any:
        opened.append(str(place))
        return files.opened(place)

    def whole(path: Path) -> bytes:
        raise AssertionError(f"{path} was read as a whole")

    monkeypatch.setattr("ambry.ml.photon.avro_files.opened", counted)
    monkeypatch.setattr(Path, "read_bytes", whole)
    assert len(read_model(tmp_path / "m").random["per-member"].entities) == 5_000
    assert len(opened) == len(set(opened)) >= 5


@pytest.mark.parametrize("kind", ["fixed-effect", "random-effect"])
def test_an_effect_that_the_metadata_do_not_name_is_refused(tmp_path: Path, kind: str) -> None:
    """A copy of one, as a backup is, was added to each score."""
    [effect] = (written(tmp_path / "m") / kind).iterdir()
    shutil.copytree(effect, effect.with_name(f"{effect.name}.bak"))
    with pytest.raises(InvalidRequest, match=rf"{effect.name}.bak is an effect that .* does not name.*; move it away"):
        read_model(tmp_path / "m")
    # Of Photon, before there were any.
    (tmp_path / "m/model-metadata.json").unlink()
    assert len(read_model(tmp_path / "m").coordinates) == 3


def test_what_was_swapped_as_a_whole_is_refused(tmp_path: Path) -> None:
    """A random effect with its own index, and the kind of its entities: each was read as this model's."""
    model, own = small(), small().random["per-member"]
    other = PhotonModel(task=model.task, fixed=model.fixed, random={"per-member": replace(own, means=own.means * 3)})
    write_model(tmp_path / "other", other)
    effect = written(tmp_path / "one") / "random-effect/per-member"
    shutil.rmtree(effect)
    shutil.copytree(tmp_path / "other/random-effect/per-member", effect)
    with pytest.raises(InvalidRequest, match=r"index.arrow is not what .*model-metadata.json says"):
        read_model(tmp_path / "one")
    for kind, said in (("random-effect/per-member", "jobId\nmemberShard\n"), ("fixed-effect/global", "memberShard\n")):
        made = written(tmp_path / kind.partition("/")[0])
        (made / kind / "id-info").write_text(said)
        with pytest.raises(InvalidRequest, match=r"id-info in .* says .*, and .*model-metadata.json"):
            read_model(made)


def test_records_of_another_task_are_refused(tmp_path: Path) -> None:
    """A task that somebody changed was what means were taken by: 60.96 for a probability of 0.984."""
    metadata = written(tmp_path / "m") / "model-metadata.json"
    whole = metadata.read_text()
    metadata.write_text(whole.replace("LOGISTIC_REGRESSION", "POISSON_REGRESSION"))
    with pytest.raises(
        InvalidRequest, match="a model of POISSON_REGRESSION, and records in it are of LOGISTIC_REGRESSION"
    ):
        read_model(tmp_path / "m")
    metadata.write_text("{")
    with pytest.raises(InvalidRequest, match="is no JSON, and says no modelType"):
        read_model(tmp_path / "m")


@pytest.mark.parametrize(
    "place",
    [
        "model-metadata.json",
        "fixed-effect/global/id-info",
        "fixed-effect/global/coefficients/part-00001.avro",
        "random-effect/per-member/index.arrow",
        "random-effect/per-member/coefficients/part-00000.avro",
    ],
)
def test_a_pipe_among_the_files_is_told_and_not_waited_for(tmp_path: Path, place: str) -> None:
    """Of a part it was waited for without an end, and metadata or an index that is one were as if there were none."""
    directory = tmp_path / "model"
    write_model(directory, many_entities(3))
    (directory / place).unlink(missing_ok=True)
    os.mkfifo(directory / place)
    with pytest.raises(InvalidRequest, match=f"{place} is no file; put a file there, or take it away"):
        read_model(directory)
