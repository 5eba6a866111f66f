"""Where an alias is rolled back to, over drawn histories: `version_before` sees versions alone, the model what was meant."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
from hypothesis import given, settings

from ambry.client.datasets import AliasInfo, version_before
from tests.support.served_versions import ServedVersions

VERSIONS = st.sampled_from(["1", "2", "3", "4"])
MOVES = st.lists(st.tuples(st.just("point"), VERSIONS) | st.sampled_from([("back", ""), ("delete", "")]), max_size=30)


def moved(moves: list[tuple[str, str]]) -> ServedVersions:
    """Those that are refused are no moves."""
    model = ServedVersions()
    for what, version in moves:
        if what == "point":
            model.point(version)
        elif what == "back" and model.before is not None:
            model.roll_back()
        elif what == "delete" and model.now is not None:
            model.delete()
    return model


def told(model: ServedVersions) -> str | None:
    return version_before([AliasInfo(dataset="d", alias="a", version=move.version) for move in model.moves])


@settings(max_examples=500)
@given(MOVES)
def test_the_way_back_is_what_was_meant(moves: list[tuple[str, str]]) -> None:
    model = moved(moves)
    assert model.now is None or told(model) == model.before


@given(MOVES, VERSIONS)
def test_a_roll_back_undoes_the_promotion_before_it_and_no_more(moves: list[tuple[str, str]], version: str) -> None:
    model = moved(moves)
    now, before = model.now, model.before
    if now is None or version in (now, before):
        return
    model.point(version)
    assert told(model) == now
    model.roll_back()
    assert told(model) == before


@given(MOVES)
def test_roll_backs_come_to_an_end_and_return_to_nothing(moves: list[tuple[str, str]]) -> None:
    """Until one is refused: each goes on to what served before the last, never to what was just rolled back."""
    model = moved(moves)
    if model.now is None:
        return
    visited, pointed = [model.now], [version for what, version in moves if what == "point"]
    while (back := told(model)) is not None:
        visited.append(back)
        model.roll_back()
        assert len(visited) <= len(pointed)
    assert visited[-1] == pointed[0], "the first that ever served is the last resort"
    assert all(one != other for one, other in pairwise(visited))
    assert all(one != other for one, other in zip(visited, visited[2:], strict=False)), "two would take turns for ever"
