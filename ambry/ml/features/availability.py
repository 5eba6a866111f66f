"""Where a feature may be asked for: the one rule that every source, every store of sources and every scoring service holds to.

A feature is ONLINE, OFFLINE or BOTH, and so is where it lies. They fit where they have a side in common: an OFFLINE feature is
asked of no online source. Who loads is told so, and nobody who asks for a score.
"""

from __future__ import annotations

from ambry.errors import InvalidRequest
from ambry.ml.features.definitions import Availability


class WrongSource(InvalidRequest):
    """A feature is asked of a source that must not serve it, or that has it as something else."""


def check_served(urn: object, feature: Availability, side: Availability, whose: str, to_do: str) -> None:
    """Raises WrongSource for a feature that must not be asked of this side; `whose` that is, and what `to_do` about it."""
    if (feature.online and side.online) or (feature.offline and side.offline):
        return
    raise WrongSource(f"{urn} is {feature.value}, and {whose} is {side.value}; {to_do}")
