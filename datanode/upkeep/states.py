"""What the metrics say of the replicas of a node: how many are in which state, and how long ago they were checked.

Counted when somebody asks, on whatever thread that is: nothing is kept up for it.
"""

from __future__ import annotations

from functools import partial

from datanode import metrics
from datanode.replicas import Replicas
from datanode.store.blob_store import StoreState
from datanode.upkeep.scrubber import ROUND as SCRUB

UNSURE = "unsure"
"""Open, without the authority to say "not found"."""
STATES = ("open", UNSURE, "fenced", "opening", "reopening", "failed")


def watch(replicas: Replicas) -> None:
    """Let the metrics of this process tell of these replicas."""
    for state in STATES:
        metrics.REPLICAS.labels(state).set_function(partial(_count, replicas, state))
    metrics.SCRUB_AGE.set_function(partial(_scrub_age_s, replicas))


def counts(replicas: Replicas) -> dict[str, int]:
    """How many replicas are in each state; those of a layout that are in none do not exist."""
    found = dict.fromkeys(STATES, 0)
    for how in replicas.unavailable().values():
        found[how["state"]] += 1
    for replica in list(replicas.values()):
        store = replica.store
        if store.state is StoreState.OPEN:
            found["open" if store.authority else UNSURE] += 1
        elif store.state is StoreState.FENCED:
            found["fenced"] += 1
    return found


def _count(replicas: Replicas, state: str) -> float:
    return counts(replicas)[state]


def _scrub_age_s(replicas: Replicas) -> float:
    stores = [replica.store for replica in list(replicas.values())]
    return max((store.age.open_s - store.rounds.get(SCRUB, 0.0) for store in stores), default=0.0)
