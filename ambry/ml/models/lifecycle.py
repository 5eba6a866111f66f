"""Which version serves: aliases that move and move back, and what a version was made from.

Deployment is an alias (`champion`) of the dataset, moved only from where its mover saw it, each move kept with who and why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ambry.client.datasets import AliasInfo
from ambry.client.refs import VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound, InvalidRequest
from ambry.ml.models.loading import StoredModel, open_model
from ambry.ml.places import dataset_text, in_dataset, version_of

CHAMPION = "champion"
LINEAGE_MAX = 100
"""Parents of parents that are looked up."""
POLL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageStep:
    """A model, and what it was made from. `model` is None where that version is not there any more."""

    version: str
    model: StoredModel | None


def promote(
    client: AmbryClient,
    place: VersionRef | str,
    alias: str = CHAMPION,
    *,
    expected: str | None = "AS_IT_IS",
    who: str = "",
    why: str = "",
) -> AliasInfo:
    """Let an alias point to a model. Raises BlobNotFound, UpdateConflict where the alias moved meanwhile."""
    model = open_model(client, place)
    return client.set_alias(dataset_text(model.place), alias, model.version, expected=expected, who=who, why=why)


def roll_back(client: AmbryClient, dataset: str, alias: str = CHAMPION, *, who: str = "", why: str = "") -> AliasInfo:
    """Let an alias point to where it did before its last move. Raises InvalidRequest where there is nothing before."""
    return client.roll_back_alias(dataset, alias, who=who, why=why)


def lineage(client: AmbryClient, place: VersionRef | str) -> Iterator[LineageStep]:
    """A model, its parent, and so on. Raises BlobNotFound for the first; a parent that is gone ends the line and says so."""
    model = open_model(client, place)
    for _ in range(LINEAGE_MAX):
        yield LineageStep(version=str(model), model=model)
        parent = model.manifest.parent
        if not parent:
            return
        try:
            model = open_model(client, parent)
        except BlobNotFound:
            yield LineageStep(version=parent, model=None)
            return


class ModelWatch:
    """A model that follows an alias: `current` is the one that it pointed to when it was last looked at.

    A thread of its own asks every `poll_s` seconds, one small request; a new model is opened, handed to `prepare` (which loads
    it, so that nobody waits for the first answer) and then becomes `current`. While the store does not answer, or a model
    cannot be prepared, the last good one stays and `error` says why. Close it, or use it in a `with`.
    """

    def __init__(
        self,
        client: AmbryClient,
        dataset: str,
        alias: str = CHAMPION,
        *,
        prepare: Callable[[StoredModel], None] | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        """Raises BlobNotFound where the alias is not there, and what `prepare` raises."""
        if not poll_s > 0:
            raise InvalidRequest(f"poll_s is a number of seconds above 0, not {poll_s!r}")
        self._client = client
        self._place = in_dataset(dataset, f"@{alias}")
        self._prepare = prepare or (lambda model: None)
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._moved = threading.Condition()
        self.error: Exception | None = None
        self.current = open_model(client, self._place)
        self._prepare(self.current)
        self._thread = threading.Thread(target=self._follow, name=f"ambry-watch-{alias}", daemon=True)
        self._thread.start()

    def wait(self, version: str, timeout_s: float) -> bool:
        """Whether `current` is of this version, at the latest after so many seconds."""
        with self._moved:
            return self._moved.wait_for(lambda: self.current.version == version, timeout_s)

    def look(self) -> StoredModel:
        """Look now. Raises what the store or `prepare` raises; `current` stays as it is then."""
        place = version_of(self._place)
        moved = self._client.alias(dataset_text(place), place.version.removeprefix("@"))
        if moved.version is not None and moved.version != self.current.version:
            model = open_model(self._client, self._place)
            self._prepare(model)
            with self._moved:
                self.current = model
                self._moved.notify_all()
        return self.current

    def close(self) -> None:
        """Stop following; `current` stays usable."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> ModelWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self.look()
                self.error = None
            except Exception as error:
                # Of whatever kind: `prepare` runs what others wrote, and the thread has to look again.
                self.error = error
