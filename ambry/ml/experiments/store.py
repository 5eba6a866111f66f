"""Experiments are versions of a dataset: the first starts one, each further one exposes it to more units, the last ends it.

The number of the next version is said when it is put, so of two who ramp at the same time one is told that the other was there
before. A version never changes: what a unit saw last month can be asked next year.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from difflib import get_close_matches

from ambry.client.refs import LATEST, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import AlreadyExists, BlobNotFound, InvalidRequest, UpdateConflict
from ambry.ids import BlobId
from ambry.ml.digests import check_digest, digest_key, located
from ambry.ml.experiments.document import (
    CONTENT_TYPE,
    Arm,
    Experiment,
    LayerRange,
    check_ramp,
    parse_experiment,
    ramped,
)
from ambry.ml.experiments.layers import StretchTaken, changed_at, let_go, take_stretch
from ambry.ml.models.loading import open_model
from ambry.ml.places import dataset_text, in_dataset, shown_version
from ambry.rest.versions import is_there

SCHEMA = "MONOTONIC"
DIGEST_KEY = digest_key("experiment")
"""In the metadata of a version."""
KIND_TAG = ("kind", "experiment")
"""Of the dataset, so that experiments can be listed."""
DOCUMENT_SIZE_MAX = 1 << 20
FIRST_VERSION = "1"
STARTING_MAX = timedelta(minutes=10)
"""Since the last change of a layer: who has a stretch of it and no version by then was killed, and others may have it."""
_NEAR = 0.8
"""How like each other names are that are one misspelt, as difflib says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredExperiment:
    """A version of an experiment."""

    place: VersionRef
    """With its number, whatever it was asked for by."""
    id: BlobId
    experiment: Experiment

    @property
    def version(self) -> str:
        return self.place.version

    @property
    def dataset(self) -> str:
        return dataset_text(self.place)

    @property
    def digest(self) -> str:
        """SHA-256 of the document."""
        return hashlib.sha256(self.experiment.encode()).hexdigest()

    @property
    def is_running(self) -> bool:
        """Whether anybody is exposed to it."""
        return self.experiment.exposed > 0

    def __str__(self) -> str:
        return shown_version(self.place)


def start_experiment(client: AmbryClient, experiment: Experiment, dataset: str = "") -> StoredExperiment:
    """Store an experiment as the first version of a dataset of its own, which has its name unless said; durable on return.

    The models of its arms are looked up before anything is written: the name of an experiment is spent by its first version.
    Raises AlreadyExists where that dataset has versions, StretchTaken where another one has its part of a layer, BlobNotFound
    for a model that is not there, and InvalidRequest.
    """
    place = in_dataset(dataset or experiment.name)
    if experiment.exposed == 0:
        raise InvalidRequest(f"{experiment.name!r} is exposed to nobody, which ends an experiment; start it above 0")
    if len(document := experiment.encode()) > DOCUMENT_SIZE_MAX:
        raise InvalidRequest(f"an experiment has at most {DOCUMENT_SIZE_MAX} bytes, and this one {len(document)}")
    _check_models(client, experiment.arms)
    _ready(client, place)
    return _put(client, place, experiment, FIRST_VERSION)


def ramp_experiment(client: AmbryClient, dataset: str, after: Experiment | float) -> StoredExperiment:
    """Expose an experiment to this part of each arm, or make this the next document of it, which may only widen it.

    Raises InvalidRequest for what would move a unit back, and for one that has ended; BlobNotFound for another model that is
    not there; UpdateConflict where another one ramps it in this moment.
    """
    now = load_experiment(client, dataset)
    if not now.is_running:
        raise InvalidRequest(f"{now} has ended; who goes on starts another experiment, with a name of its own")
    experiment = after if isinstance(after, Experiment) else ramped(now.experiment, after)
    check_ramp(now.experiment, experiment)
    if experiment == now.experiment:
        return now
    if experiment.exposed == 0:
        return stop_experiment(client, dataset)
    _check_models(client, [arm for arm in experiment.arms if arm not in now.experiment.arms])
    return _put(client, now.place, experiment, str(int(now.version) + 1))


def stop_experiment(client: AmbryClient, dataset: str) -> StoredExperiment:
    """End an experiment: the next version exposes it to nobody, and others may have its layer. Done again it does nothing.

    Raises UpdateConflict where another one ramps it in this moment.
    """
    now = load_experiment(client, dataset)
    if now.is_running:
        now = _put(client, now.place, ramped(now.experiment, 0), str(int(now.version) + 1))
    if now.experiment.layer is not None:
        let_go(client, now.place, now.experiment.layer.name)
    return now


def load_experiment(client: AmbryClient, place: VersionRef | str) -> StoredExperiment:
    """An experiment as `NAME`, its newest version, `NAME@3` or `NAME@sha256:DIGEST`.

    Raises BlobNotFound, ChecksumMismatch, InvalidRequest for what is none.
    """
    said, place = place, located(client, place)
    with client.get(place) as reader:
        info = reader.info
        place = replace(place, version=info.version)
        if info.size > DOCUMENT_SIZE_MAX:
            raise InvalidRequest(f"{shown_version(place)} is no experiment: it has {info.size} bytes")
        data = reader.read()
    try:
        experiment = parse_experiment(data)
    except InvalidRequest as error:
        raise InvalidRequest(f"{shown_version(place)}: {error}") from error
    check_digest(place, hashlib.sha256(data).hexdigest(), said)
    return StoredExperiment(place=place, id=info.id, experiment=experiment)


def list_experiments(client: AmbryClient) -> Iterator[StoredExperiment]:
    """The newest version of each experiment of the client's container, those that have ended too."""
    for dataset in client.datasets():
        if dataset.tags.get(KIND_TAG[0]) == KIND_TAG[1]:
            # Without a version where whoever started it was killed before it was there.
            with suppress(BlobNotFound):
                yield load_experiment(client, dataset.name)


def lonely_references(client: AmbryClient, experiment: Experiment) -> list[str]:
    """What is said of a layer or a holdout whose name is nearly that of another one, and of a holdout of another share.

    Layers and holdouts are names alone, which need no making: one that is misspelt excludes nobody. Reads every experiment.
    """
    others = [each for each in list_experiments(client) if each.is_running and each.experiment.name != experiment.name]
    told = []
    for kind, one, known in (
        ("layer", experiment.layer, [each.experiment.layer for each in others]),
        ("holdout", experiment.holdout, [each.experiment.holdout for each in others]),
    ):
        names = {each.name for each in known if each is not None}
        near = [] if one is None or one.name in names else get_close_matches(one.name, names, n=1, cutoff=_NEAR)
        if one is not None and near:
            told.append(f"no other running experiment names the {kind} {one.name!r}; did you mean {near[0]!r}?")
    own = experiment.holdout
    for each in others:
        its = each.experiment.holdout
        if own is not None and its is not None and its.name == own.name and its.share != own.share:
            told.append(
                f"the holdout {own.name!r} has the share {own.share:g} here and {its.share:g} in {each}; "
                "they are to hold out the same units"
            )
    return told


def layer_shares(client: AmbryClient, layer: str) -> list[tuple[StoredExperiment, list[StoredExperiment]]]:
    """The running experiments of a layer in their order, each with those that have a part of its stretch.

    Out of their documents, which replicas in other datacenters bring; the layer's own document is that of one datacenter.
    """
    found = [
        (each, stretch)
        for each in list_experiments(client)
        if each.is_running and (stretch := each.experiment.layer) is not None and stretch.name == layer
    ]
    found.sort(key=lambda each: (each[1].begin, each[1].end, each[0].dataset))
    return [
        (one, [other for other, its in found if other is not one and its.begin < own.end and own.begin < its.end])
        for one, own in found
    ]


def _check_models(client: AmbryClient, arms: Iterable[Arm]) -> None:
    """Raises BlobNotFound, InvalidRequest for an arm whose model is not there, or is none."""
    for arm in arms:
        if not arm.model:
            continue
        try:
            open_model(client, arm.model)
        except (BlobNotFound, InvalidRequest) as error:
            kind = BlobNotFound if isinstance(error, BlobNotFound) else InvalidRequest
            raise kind(f"the arm {arm.name!r}, model {arm.model!r}: {error.message}") from error


def _put(client: AmbryClient, place: VersionRef, experiment: Experiment, number: str) -> StoredExperiment:
    """The version of this number, with the stretch of its layer. Raises AlreadyExists, UpdateConflict, StretchTaken."""
    if experiment.layer is not None and experiment.exposed:
        try:
            take_stretch(client, place, experiment.layer)
        except StretchTaken as error:
            _free_if_ended(client, replace(place, dataset=error.holder, version=LATEST), experiment.layer.name, error)
            take_stretch(client, place, experiment.layer)
    dataset = dataset_text(place)
    try:
        info = client.put_version(
            dataset,
            (document := experiment.encode()),
            number,
            content_type=CONTENT_TYPE,
            metadata={DIGEST_KEY: hashlib.sha256(document).hexdigest()},
            filename="experiment.json",
        )
    except (AlreadyExists, UpdateConflict) as error:
        if number == FIRST_VERSION:
            raise AlreadyExists(
                is_there(f"{dataset}@{number}", "somebody else started it in this moment; ramp it")
            ) from error
        raise UpdateConflict(
            is_there(f"{dataset}@{number}", "somebody else changed the experiment in this moment; look again")
        ) from error
    stored = StoredExperiment(place=replace(place, version=info.version), id=info.id, experiment=experiment)
    if number == FIRST_VERSION and experiment.layer is not None:
        _hold(client, stored, experiment.layer)
    return stored


def _hold(client: AmbryClient, started: StoredExperiment, layer: LayerRange) -> None:
    """Once its version is there nobody takes its stretch; one who was so slow that somebody did ends. Raises StretchTaken."""
    try:
        take_stretch(client, started.place, layer)
    except StretchTaken as error:
        _put(client, started.place, ramped(started.experiment, 0), str(int(FIRST_VERSION) + 1))
        raise StretchTaken(
            f"{started.dataset} took longer than {STARTING_MAX} to start and has ended again: {error.message}",
            error.holder,
        ) from error


def _free_if_ended(client: AmbryClient, holder: VersionRef, layer: str, taken: StretchTaken) -> None:
    """Let go the stretch of one that was stopped by somebody who did not come to that, or killed before it was there.

    Raises StretchTaken where it may be starting in this moment.
    """
    try:
        other = load_experiment(client, holder)
    except BlobNotFound:
        changed = changed_at(client, holder, layer)
        # Both by the store's clock. One who is slower than that loses its start, and no part is given to two (_hold).
        if changed is not None and client.store_time() < (free := changed + STARTING_MAX):
            raise StretchTaken(
                f"{taken.holder} has a part of the layer {layer!r} and no version: it is starting, or was killed as it was; "
                f"try again at {free:%H:%M:%S} UTC, take another stretch, or start {taken.holder} and stop it",
                taken.holder,
            ) from taken
        let_go(client, holder, layer)
        return
    if not other.is_running:
        let_go(client, other.place, layer)


def _ready(client: AmbryClient, place: VersionRef) -> None:
    """The dataset is there, and has no version. Raises AlreadyExists, InvalidRequest."""
    dataset = dataset_text(place)
    try:
        found = client.create_dataset(dataset, SCHEMA, tags=dict([KIND_TAG]))
    except AlreadyExists:
        found = client.dataset(dataset)
    if found.schema != SCHEMA or found.tags.get(KIND_TAG[0]) != KIND_TAG[1]:
        raise InvalidRequest(
            f"{dataset} is another dataset, not one of an experiment; give the experiment another name"
        )
    if next(iter(client.versions(dataset, page_size=1)), None) is not None:
        raise AlreadyExists(
            f"{dataset} was started before; `ramp` exposes it further, and another experiment has another name"
        )
