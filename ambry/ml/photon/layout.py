"""The directory that Photon writes a model into, and reads it from.

    model-metadata.json                             {"modelType": "LOGISTIC_REGRESSION", "modelName": ..., ...}
    fixed-effect/<name>/id-info                     the shard
    fixed-effect/<name>/coefficients/part-*.avro    one BayesianLinearModelAvro
    random-effect/<name>/id-info                    the kind of entity, and the shard, each a line
    random-effect/<name>/coefficients/part-*.avro   one for each entity
    random-effect/<name>/index.arrow                ours: where each entity lies (entities.py); Photon passes it by

Coefficients that are 0 are not written. What is written is the same for the same model, byte for byte.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ambry.errors import MALFORMED, InvalidRequest
from ambry.ml.avro_reading import avro_errors
from ambry.ml.files import written_directory
from ambry.ml.photon.avro_files import TO_DO, avro_records, container, encoder
from ambry.ml.photon.entities import EntityPlaces, index_there
from ambry.ml.photon.examples import Feature, FeatureIndex, Shard, ShardBuilder, feature_of
from ambry.ml.photon.metadata import (
    FIXED,
    RANDOM,
    check_names,
    checks_said,
    configurations_of,
    entities_said,
    metadata_of,
    observed_said,
)
from ambry.ml.photon.models import FixedModel, PhotonModel, RandomModel, Task
from ambry.ml.photon.part_checks import PartCheck, changed, check_classes, check_count, check_effects, incomplete
from ambry.ml.sources.foreign import foreign
from ambry.ml.sources.name_term_value import triple_schema
from ambry.special_file import is_file_there

METADATA = "model-metadata.json"
ID_INFO, COEFFICIENTS, INDEX = "id-info", "coefficients", "index.arrow"
MODELS_PER_PART = 10_000
METADATA_BYTES_MAX = 16 << 20
ID_INFO_BYTES_MAX = 1 << 16

MODEL_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "BayesianLinearModelAvro",
    "namespace": "com.linkedin.photon.avro.generated",
    "doc": "a generic schema to describe a Bayesian linear model with means and variances",
    "fields": [
        {"name": "modelId", "type": "string"},
        {"name": "modelClass", "type": ["null", "string"], "default": None},
        {
            "name": "means",
            "type": {
                "type": "array",
                "items": triple_schema("NameTermValueAvro"),
            },
        },
        {"name": "variances", "type": ["null", {"type": "array", "items": "NameTermValueAvro"}], "default": None},
        {"name": "lossFunction", "type": ["null", "string"], "default": None},
    ],
}
Seen = Callable[[bytes], object]
"""Is given the bytes of a part as they are read."""
_TYPE = re.compile(r'"modelType"\s*:\s*"(.+?)"')


def model_files(model: PhotonModel, *, models_per_part: int = MODELS_PER_PART) -> dict[str, bytes]:
    """The files of a model by their paths.

    Raises InvalidRequest for names that no directory has, for texts that are none, and for coefficients that score nothing.
    """
    try:
        return _model_files(model, models_per_part)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{error.object[:100]!r} in the model is no text: it has a lone surrogate") from None


def _model_files(model: PhotonModel, models_per_part: int) -> dict[str, bytes]:
    for name, coordinate in model.coordinates.items():
        means = coordinate.means if isinstance(coordinate, FixedModel) else coordinate.means.data
        if not np.isfinite(np.asarray(means, dtype=float)).all():
            raise InvalidRequest(
                f"the effect {name} has a coefficient that is no finite number, and no model reads such a one"
            )
    check_names(model, (*(each.shard for each in model.coordinates.values()), *model.entity_kinds))
    if models_per_part < 1:
        raise InvalidRequest(f"a part has at least one model, and not {models_per_part}")
    files: dict[str, bytes] = {}
    checks: dict[str, str] = {}
    encode = encoder(MODEL_SCHEMA)
    for name, fixed in sorted(model.fixed.items()):
        base = f"{FIXED}/{name}"
        record = _record(FIXED, model.task, fixed.index, _pairs(fixed.means), _pairs(fixed.variances))
        files[f"{base}/{ID_INFO}"] = f"{fixed.shard}\n".encode()
        part, _ = container(MODEL_SCHEMA, [encode(record)])
        files[f"{base}/{COEFFICIENTS}/part-00000.avro"], checks[name] = part, xxhash.xxh3_64_hexdigest(part)
    for name, random in sorted(model.random.items()):
        base = f"{RANDOM}/{name}"
        files[f"{base}/{ID_INFO}"] = f"{random.entity}\n{random.shard}\n".encode()
        places = EntityPlaces()
        for number, records in enumerate(_parts(random, model.task, models_per_part)):
            encoded = [encode(record) for record in records]
            path = f"{COEFFICIENTS}/part-{number:05}.avro"
            files[f"{base}/{path}"], found = container(MODEL_SCHEMA, encoded)
            ids = [record["modelId"] for record in records]
            places.add(path, ids, found, encoded)
        files[f"{base}/{INDEX}"], checks[name] = places.build(), places.check
    return {METADATA: metadata_of(model, checks), **files}


def write_model(directory: Path, model: PhotonModel, *, models_per_part: int = MODELS_PER_PART) -> None:
    """Write a model as a directory, there whole or not at all. Raises InvalidRequest, and what `written_directory` does."""
    files = model_files(model, models_per_part=models_per_part)
    with written_directory(directory) as made:
        lay(files, made)


def lay(files: Mapping[str, bytes], directory: Path) -> None:
    """Write files below a directory that nobody sees yet. Raises OSError."""
    for path, data in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def directory_at(place: str) -> Path | None:
    """The directory that a text names, if there is one: others name a published model."""
    path = Path(place)
    return path if path.is_dir() else None


def read_model(directory: Path) -> PhotonModel:
    """A model of Photon's, or of ours. Raises FileNotFoundError; InvalidRequest for what is none, with the file, and for one
    that lacks an effect that its metadata name, a part that an index of entities names, or some of the entities that either
    says, or has a part, an index, an effect or a class of models that is not the one which they were written with; DataCorrupt
    for an index that is none.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"there is no directory {directory}")
    said, task = read_metadata(directory / METADATA)
    checks = checks_said(said)
    fixed = {path.name: _fixed(path, checks.get(path.name)) for path in _effects(directory / FIXED)}
    random = {path.name: _random(path, checks.get(path.name)) for path in _effects(directory / RANDOM)}
    if not fixed and not random:
        raise InvalidRequest(
            f"{directory} is no model of Photon's: it has neither {FIXED} nor {RANDOM} with effects in it"
        )
    fixed_models = {name: each for name, (each, _) in fixed.items()}
    random_models = {name: each for name, (each, _) in random.items()}
    check_effects(directory / METADATA, said, {FIXED: fixed_models, RANDOM: random_models})
    for name, count in entities_said(said).items():
        if name in random:
            check_count(
                directory / METADATA, count, directory / RANDOM / name / COEFFICIENTS, len(random[name][0].entities)
            )
    classes = {kind for _, kinds in (*fixed.values(), *random.values()) for kind in kinds}
    task = task or _task_of(classes, directory)
    check_classes(directory, task, classes)
    return PhotonModel(
        task=task,
        fixed=fixed_models,
        random=random_models,
        name=str(said.get("modelName", "")),
        configurations=configurations_of(said),
        observed=observed_said(said),
    )


def read_metadata(path: Path) -> tuple[dict[str, Any], Task | None]:
    """What model-metadata.json says, and the task; models from before there was one say nothing. Raises InvalidRequest."""
    if not is_file_there(path):
        return {}, None
    data = _bounded(path, METADATA_BYTES_MAX)
    try:
        told = json.loads(data)
        said: dict[str, Any] = told if isinstance(told, dict) else {}
    except MALFORMED:
        # Photon writes it by hand, not always as JSON, and reads this one field.
        if not _TYPE.search(data.decode("utf-8", "replace")):
            raise InvalidRequest(
                f"{path} is no JSON, and says no modelType: it was cut or changed; copy the model again"
            ) from None
        said = {}
    found = said.get("modelType") or next(iter(_TYPE.findall(data.decode("utf-8", "replace"))), None)
    if found in (None, "NONE"):
        return said, None
    try:
        return said, Task(found)
    except ValueError:
        raise InvalidRequest(f"{path}: a model is {', '.join(Task)}, and not {found!r}") from None


def read_id_info(path: Path, lines: int) -> list[str]:
    """Raises InvalidRequest."""
    told = _bounded(path, ID_INFO_BYTES_MAX).decode("utf-8", "replace").split("\n") if is_file_there(path) else []
    found = [line for line in (each.strip() for each in told) if line]
    if len(found) != lines:
        wanted = "the shard" if lines == 1 else "the kind of entity and the shard"
        raise InvalidRequest(f"{path} has {len(found)} lines; it says {wanted}")
    return found


def coefficients_of(record: Mapping[str, Any], field: str = "means") -> dict[Feature, float]:
    """Of one record. Raises ValueError for a feature that stands twice, and for what is no finite number."""
    found: dict[Feature, float] = {}
    for each in record[field] or ():
        value = each["value"]
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"the coefficient of {each['name']!r} is {value!r}, and no finite number")
        feature = feature_of(each)
        if feature in found:
            raise ValueError(f"the feature {feature} stands twice")
        found[feature] = float(value)
    return found


def read_records(
    part: Path, seen: Seen | None = None
) -> Iterator[tuple[str, dict[Feature, float], dict[Feature, float] | None, str]]:
    """Of each model of a part: its id, means, variances where it has any, and its class. Raises InvalidRequest."""
    with avro_records(part, seen=seen) as (schema, records):
        missing = {"modelId", "means"} - {each["name"] for each in schema["fields"]}
        if missing:
            raise InvalidRequest(f"the records of {part} are no models of Photon's: they have no {min(missing)}")
        for number, record in enumerate(records):
            with foreign(f"{part}, record {number}", TO_DO, *avro_errors()):
                told = None if record.get("variances") is None else coefficients_of(record, "variances")
                found = (str(record["modelId"]), coefficients_of(record), told, str(record.get("modelClass") or ""))
            yield found


def _fixed(path: Path, check: str | None) -> tuple[FixedModel, set[str]]:
    [shard] = read_id_info(path / ID_INFO, 1)
    sum = xxhash.xxh3_64()
    means, variances, ids, kinds = _coefficients(path, lambda part: sum.update)
    if len(ids) != 1:
        raise InvalidRequest(f"{path / COEFFICIENTS} has {len(ids)} models, and a fixed effect is one")
    if check is not None and sum.hexdigest() != check:
        raise changed(path / COEFFICIENTS, path.parent.parent / METADATA, f"the check of {path.name!r} out of it")
    told = None if variances is None else variances.matrix.toarray()[0]
    model = FixedModel(shard=shard, index=means.index, means=means.matrix.toarray()[0], variances=told)
    return model, kinds


def _random(path: Path, check: str | None) -> tuple[RandomModel, set[str]]:
    entity, shard = read_id_info(path / ID_INFO, 2)
    index = path / INDEX
    told = index_there(index, is_expected=check is not None)
    if told is not None and check is not None and told.check != check:
        raise changed(index, path.parent.parent / METADATA, f"the check of {path.name!r} out of it")
    checks: dict[str, PartCheck] = {} if told is None else {part: PartCheck(told, part) for part in told.parts}
    read: set[str] = set()

    def seen(part: Path) -> Seen:
        name = part.relative_to(path).as_posix()
        read.add(name)
        return checks[name].update if name in checks else len

    means, variances, ids, kinds = _coefficients(path, seen)
    if told is not None:
        if lacking := [part for part in told.parts if part not in read]:
            raise incomplete(f"{index} names {lacking[0]}, and there is no such file")
        check_count(index, len(told), path / COEFFICIENTS, len(ids))
    if len(set(ids)) != len(ids):
        [(twice, _)] = Counter(ids).most_common(1)
        raise InvalidRequest(f"{path / COEFFICIENTS}: the {entity} {twice!r} has two models")
    for part, records in checks.items():
        if not records.intact:
            raise changed(path / part, index, "the index away")
    model = RandomModel(
        entity=entity,
        shard=shard,
        index=means.index,
        entities=tuple(ids),
        means=means.matrix,
        variances=None if variances is None else variances.matrix,
    )
    return model, kinds


def _coefficients(path: Path, seen: Callable[[Path], Seen]) -> tuple[Shard, Shard | None, list[str], set[str]]:
    """Means, variances over the same features, ids, and the classes of the models; `seen` says who is given a part's bytes."""
    directory = path / COEFFICIENTS
    parts = (
        sorted(each for each in directory.iterdir() if each.suffix == ".avro" and is_file_there(each))
        if directory.is_dir()
        else []
    )
    if not parts:
        raise InvalidRequest(f"{directory} has no file that ends in .avro")
    ids: list[str] = []
    means: list[dict[Feature, float]] = []
    variances: list[dict[Feature, float]] = []
    kinds: set[str] = set()
    any_variance = False
    for part in parts:
        for id, mean, variance, told in read_records(part, seen(part)):
            ids.append(id)
            means.append(mean)
            any_variance = any_variance or variance is not None
            variances.append(variance or {})
            kinds.add(told)
    index = FeatureIndex(tuple(sorted({feature for rows in (means, variances) for row in rows for feature in row})))

    def shard(rows: list[dict[Feature, float]]) -> Shard:
        builder = ShardBuilder(index)
        for row in rows:
            builder.add(row.items())
        return builder.build()

    return shard(means), shard(variances) if any_variance else None, ids, kinds - {""}


def _effects(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith((".", "_")))


def _task_of(classes: set[str], directory: Path) -> Task:
    """Raises InvalidRequest."""
    found = {task for task in Task if task.model_class in classes}
    if len(found) != 1:
        raise InvalidRequest(
            f"{directory} does not say which task its model is: there is no {METADATA} with a modelType"
        )
    return found.pop()


def _record(
    name: str,
    task: Task,
    index: FeatureIndex,
    means: tuple[list[int], list[float]],
    variances: tuple[list[int], list[float]] | None,
) -> dict[str, Any]:
    def told(pairs: tuple[list[int], list[float]]) -> list[dict[str, Any]]:
        named = ((index.features[column], value) for column, value in zip(*pairs, strict=True))
        return [{"name": feature[0], "term": feature[1], "value": value} for feature, value in named]

    return {
        "modelId": name,
        "modelClass": task.model_class,
        "means": told(means),
        "variances": None if variances is None else told(variances),
        "lossFunction": "",
    }


def _pairs(values: Any) -> Any:
    """Columns and values that are not 0, of an array; None of None."""
    if values is None:
        return None
    columns = np.flatnonzero(values)
    return columns.tolist(), np.asarray(values)[columns].tolist()


def _rows(matrix: Any) -> Callable[[int], Any]:
    """The same of a row of a CSR matrix."""
    if matrix is None:
        return lambda row: None
    ends, columns, values = matrix.indptr, matrix.indices, matrix.data

    def row(number: int) -> tuple[list[int], list[float]]:
        start, end = int(ends[number]), int(ends[number + 1])
        return columns[start:end].tolist(), values[start:end].tolist()

    return row


def _parts(random: RandomModel, task: Task, size: int) -> Iterator[list[dict[str, Any]]]:
    """At least one, so that an effect without entities has a part too."""
    means, variances = _rows(random.means), _rows(random.variances)
    for start in range(0, max(len(random.entities), 1), size):
        yield [
            _record(random.entities[row], task, random.index, means(row), variances(row))
            for row in range(start, min(start + size, len(random.entities)))
        ]


def _bounded(path: Path, most: int) -> bytes:
    """Raises InvalidRequest."""
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InvalidRequest(f"{path} has more than {most} bytes, which no such file has")
    return data
