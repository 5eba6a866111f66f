"""What made the checkpoints of a job: its sources and arguments, and those of whatever it goes on from.

They stand in `gang.json` beside the checkpoints (gangs.py), oldest first, each once, and that of the newest submission last. So
they change in the same put as whose the checkpoints are, and lineage tells all that had a part in a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ambry.errors import InvalidRequest

Origin = Mapping[str, Any]
"""As TrainingJob.origin tells it."""
ORIGINS_MAX = 100
_TEXTS = ("job", "script", "sources", "sources_sha256")
_CODE = {"script": "script", "sources_sha256": "sources"}
_COMPARED = {
    **_CODE,
    "environment_sha256": "environment",
    "snapshot": "snapshot",
    "arguments": "arguments",
    "workers": "workers",
}
"""By what they are: ids are of a store, and the same sources may be stored anew."""


def parse_origin(told: Any) -> dict[str, Any]:
    """One that was written down, with what its readers take for granted. Raises MALFORMED."""
    found = dict(told)
    for key in _TEXTS:
        if not isinstance(found[key], str):
            raise TypeError(f"{key} is no text: {found[key]!r:.100}")
    return found


def malformed_words(error: Exception) -> str:
    """Why a document is none of ours, in its words where the error has those of Python."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


def with_own(before: Iterable[Origin], own: Origin, *, fresh: bool = False) -> tuple[Origin, ...]:
    """Those of before, and what goes on from them. Raises InvalidRequest where they are too many to be written down.

    What begins at step 0 is not refused: those of before are named until their checkpoints are deleted.
    """
    found = (*(each for each in before if _differing(each, own, _COMPARED)), own)
    if len(found) > ORIGINS_MAX and not fresh:
        raise InvalidRequest(
            f"the checkpoints were made in {ORIGINS_MAX} ways by now, and no more are written down: "
            "begin at step 0 with --fresh"
        )
    return found


def is_other_code(before: Iterable[Origin], own: Origin) -> bool:
    """Whether what was submitted last had another script or other sources."""
    last = next(reversed(tuple(before)), None)
    return last is not None and bool(_differing(last, own, _CODE))


def told_origin(before: Origin, own: Origin) -> str:
    """What is told of a job that goes on from the checkpoints of another submission, or of another job."""
    what = _differing(before, own, _COMPARED)
    listed = " and ".join((*filter(None, (", ".join(what[:-1]),)), *what[-1:]))
    return f"what it goes on from was made with other {listed}, by the job {before.get('job')}; its lineage names both"


def _differing(one: Origin, other: Origin, of: Mapping[str, str]) -> list[str]:
    return [called for key, called in of.items() if one.get(key) != other.get(key)]
