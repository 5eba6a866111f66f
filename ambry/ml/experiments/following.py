"""An experiment as it is now: its newest version, followed by whoever assigns units, so that a ramp and an end reach them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ambry.client.refs import LATEST, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import InvalidRequest
from ambry.ml.experiments.document import Experiment, check_ramp
from ambry.ml.experiments.store import StoredExperiment, load_experiment
from ambry.ml.places import shown_version, version_of
from ambry.ml.watching import VersionWatch

POLL_S = 1.0


class ExperimentWatch(VersionWatch[StoredExperiment]):
    """The newest version of an experiment. One that would move units from arm to arm is not taken: the one before it stays.

    Each version is handed to `prepare` before it is `current`.
    """

    def __init__(
        self,
        client: AmbryClient,
        experiment: VersionRef | str,
        *,
        prepare: Callable[[Experiment], object] | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        """Raises BlobNotFound, DataCorrupt, InvalidRequest for one version, which never changes, and what `prepare` raises."""
        place = version_of(experiment)
        if place.version != LATEST:
            raise InvalidRequest(f"{shown_version(place)} is one version, which never changes; follow {place.dataset}")
        last: list[Experiment] = []

        def opened(exact: VersionRef) -> StoredExperiment:
            stored = load_experiment(client, exact)
            if last:
                check_ramp(last[0], stored.experiment)
            if prepare is not None:
                prepare(stored.experiment)
            last[:] = [stored.experiment]
            return stored

        super().__init__(client, place, opened, poll_s=poll_s, name=f"ambry-watch-{place.dataset}")

    def told_of(self, found: StoredExperiment) -> dict[str, Any]:
        arms = {arm.name: arm.model for arm in found.experiment.arms}
        return {"exposed": found.experiment.exposed, "arms": arms}
