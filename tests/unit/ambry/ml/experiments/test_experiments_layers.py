"""Stretches of layers, taken by many at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from ambry import AmbryClient
from ambry.client.refs import VersionRef
from ambry.ml.experiments.document import LayerRange
from ambry.ml.experiments.layers import StretchTaken, let_go, stretches_of, take_stretch


def test_of_many_who_want_the_same_one_gets_it(client: AmbryClient, name: str) -> None:
    def take(number: int) -> bool:
        try:
            take_stretch(client, VersionRef(f"{name}-{number}"), LayerRange(name, number / 10, (number + 2) / 10))
        except StretchTaken:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        got = [number for number, is_taken in enumerate(pool.map(take, range(8))) if is_taken]
    held = stretches_of(client, VersionRef(name), name)
    assert held == {f"{name}-{number}": (number / 10, (number + 2) / 10) for number in got}
    ordered = sorted(held.values())
    assert all(end <= begin for (_, end), (begin, _) in pairwise(ordered))


def test_a_stretch_grows_and_does_not_shrink(client: AmbryClient, name: str) -> None:
    place = VersionRef(name)
    for begin, end in ((0.2, 0.4), (0.3, 0.5), (0.3, 0.4)):
        take_stretch(client, place, LayerRange(name, begin, end))
    assert stretches_of(client, place, name) == {name: (0.2, 0.5)}
    let_go(client, place, name)
    let_go(client, place, name)
    assert stretches_of(client, place, name) == {}
