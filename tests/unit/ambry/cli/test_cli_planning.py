"""What a sync is to do: drawn folders, and a model that carries plans out."""

from __future__ import annotations

import os.path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.cli.planning import (
    ComparedFolders,
    below,
    compare,
    fit_here,
    folders_of,
    joined,
    sync_plan,
    twice,
    why_no_path,
)

PATHS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)
FOLDERS = st.dictionaries(PATHS, st.binary(max_size=1), max_size=8)


def planned(source: dict[str, bytes], target: dict[str, bytes], *, delete: bool):  # type: ignore[no-untyped-def]
    compared = compare({k: len(v) for k, v in source.items()}, {k: len(v) for k, v in target.items()})
    return sync_plan(compared, [path for path in compared.asked if source[path] == target[path]], delete=delete)


def a_folder(names: dict[str, bytes]) -> dict[str, bytes]:
    return {path: names[path] for path in fit_here(names)[0]}


@given(FOLDERS, FOLDERS)
def test_a_plan_with_deletion_makes_the_target_what_the_source_is(
    source: dict[str, bytes], target: dict[str, bytes]
) -> None:
    plan, made = planned(source, target, delete=True), dict(target)
    for path in (*plan.cleared, *plan.deleted):
        assert path not in source
        del made[path]
    for path in plan.copied:
        assert made.get(path) != source[path], "what is alike is left alone"
        made[path] = source[path]
    assert made == source
    assert planned(source, made, delete=True).is_empty
    assert set(plan.same) | set(plan.copied) == set(source)


@given(FOLDERS, FOLDERS)
def test_a_plan_without_deletion_deletes_nothing_and_keeps_what_the_target_has_alone(
    source: dict[str, bytes], target: dict[str, bytes]
) -> None:
    plan = planned(source, target, delete=False)
    assert plan.cleared == plan.deleted == ()
    assert {**target, **{path: source[path] for path in plan.copied}} == {**target, **source}


@given(FOLDERS, FOLDERS)
def test_at_no_moment_is_a_file_where_a_folder_must_be(source: dict[str, bytes], target: dict[str, bytes]) -> None:
    source, target = a_folder(source), a_folder(target)
    plan, there = planned(source, target, delete=True), set(target)
    there -= set(plan.cleared)
    for path in plan.copied:
        assert not there & set(folders_of(path))
        assert not any(other.startswith(path + "/") for other in there)
        there.add(path)


def test_what_cannot_be_told_is_copied() -> None:
    compared = ComparedFolders(new=(), changed=(), asked=("a", "b"), extra=())
    assert sync_plan(compared, ["a"], delete=False).copied == ("b",)


@given(st.lists(st.one_of(PATHS, st.text(max_size=12)), max_size=8))
def test_no_name_leads_out_of_its_folder_and_none_is_both_a_file_and_a_folder(names: list[str]) -> None:
    good, blocked = fit_here(names)
    assert sorted([*good, *(each.path for each in blocked)]) == sorted(names)
    for path in good:
        placed = os.path.normpath(os.path.join("/root/of/it", path))  # noqa: PTH118
        assert placed == f"/root/of/it/{path}"
        assert not set(folders_of(path)) & set(names)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".", "a/.", "x" * 256, "a\0b", "é" * 128]
)
def test_names_that_no_file_can_have(name: str) -> None:
    assert why_no_path(name)


@pytest.mark.parametrize("name", ["a", "a/b", "...", ".hidden", "-rf", "é", "a\nb", "x" * 255, "a\\..\\b"])
def test_names_that_a_file_can_have(name: str) -> None:
    assert why_no_path(name) == ""


def test_what_is_called_as_our_own_files_comes_down_alone_only() -> None:
    good, blocked = fit_here(["m", "m.ambry-upload", "m.ambry-upload-2"])
    assert good == ["m", "m.ambry-upload-2"] and [each.path for each in blocked] == ["m.ambry-upload"]


def test_where_a_folder_goes() -> None:
    assert below("to", "from/models", into=True, contents=False) == "to/models"
    assert below("to", "from/models", into=True, contents=True) == "to"
    assert below("to", "from/models", into=False, contents=False) == "to"
    assert (joined("/", "a"), joined("", "a"), joined("b/", "a")) == ("/a", "a", "b/a")
    assert twice(["a", "b", "a"]) == "a" and twice(["a", "b"]) is None
