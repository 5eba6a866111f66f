from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ambry.config import convert, load
from ambry.errors import ConfigInvalid


class Inner(msgspec.Struct, frozen=True):
    size_bytes: int = 5
    fast: bool = False
    ratio: float = 0.5
    name: str = "x"


class Shape(msgspec.Struct, frozen=True):
    store: Inner = msgspec.field(default_factory=Inner)
    node: Inner = msgspec.field(default_factory=Inner)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_defaults_stand_without_a_file() -> None:
    assert load(Shape, None, env={}) == Shape()


def test_the_file_is_overruled_by_the_environment_and_that_by_set(tmp_path: Path) -> None:
    path = write(tmp_path, '[store]\nsize_bytes = 1\nname = "file"\nratio = 0.25\n')
    env = {"AMBRY_STORE__SIZE_BYTES": "2", "AMBRY_STORE__NAME": "env", "AMBRY_STORE__FAST": "true", "OTHER": "x"}
    made = load(Shape, path, env=env, overrides=["store.name=set=1", "node.size_bytes=9"])
    assert made == Shape(store=Inner(2, True, 0.25, "set=1"), node=Inner(size_bytes=9))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[stor]\n", ["stor", "did you mean store?"]),
        ("[store]\nsize_byte = 1\n", ["store.size_byte", "did you mean store.size_bytes?"]),
        ("[store]\nzzz = 1\n", ["store.zzz", "known keys: fast, name, ratio, size_bytes"]),
        ('[store]\nsize_bytes = "many"\n', ["c.toml: store.size_bytes: Expected `int`"]),
        ("store = 3\n", ["c.toml: store: Expected `object`"]),
        ("[store\n", ["not valid TOML"]),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, words: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigInvalid) as caught:
        load(Shape, path, env={})
    for word in (*words, str(path)):
        assert word in str(caught.value)


def test_a_mistake_is_laid_to_who_made_it(tmp_path: Path) -> None:
    """The file was named, in which nothing was wrong."""
    path = write(tmp_path, "[store]\nsize_bytes = 1\n")
    for env, item, said in (
        (
            {"AMBRY_STORE__SIZE_BYTES": "x"},
            "store.fast=true",
            "AMBRY_STORE__SIZE_BYTES: store.size_bytes: Expected `int`",
        ),
        ({"AMBRY_STORE__SIZE": "1"}, "store.fast=true", "AMBRY_STORE__SIZE: unknown key store.size"),
        ({"AMBRY_STORE__SIZE_BYTES": "x"}, "store.size_bytes=y", "--set: store.size_bytes: Expected `int`"),
        ({}, "stor.size_bytes=1", "--set: unknown key stor; did you mean store?"),
        ({}, "store.siz=1", "--set: unknown key store.siz"),
    ):
        with pytest.raises(ConfigInvalid) as caught:
            load(Shape, path, env=env, overrides=[item])
        assert str(caught.value).startswith(said)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot read the configuration"):
        load(Shape, tmp_path / "none.toml", env={})


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigInvalid, match="not valid TOML"):
        load(Shape, path, env={})


@pytest.mark.parametrize("item", ["store.size_bytes", "size_bytes=1", "a.b.c=1", "=1"])
def test_set_wants_a_section_a_key_and_a_value(item: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"section\.key=value"):
        load(Shape, None, env={}, overrides=[item])


def test_an_unknown_key_in_the_environment_or_set_is_an_error() -> None:
    with pytest.raises(ConfigInvalid, match=r"store\.size_byte; did you mean store\.size_bytes"):
        load(Shape, None, env={"AMBRY_STORE__SIZE_BYTE": "1"})
    with pytest.raises(ConfigInvalid, match="did you mean store"):
        load(Shape, None, env={}, overrides=["stor.size_bytes=1"])
    with pytest.raises(ConfigInvalid, match="Expected"):
        load(Shape, None, env={}, overrides=["store.fast=perhaps"])


def test_other_variables_of_ours_are_left_alone() -> None:
    assert load(Shape, None, env={"AMBRY_ENDPOINT": "x", "AMBRY_OTHER__KEY": "1", "AMBRY_STORE": "2"}) == Shape()


def test_a_plain_tree_is_converted() -> None:
    assert convert(Shape, {"node": {"ratio": "0.75"}}, source="s").node.ratio == 0.75
