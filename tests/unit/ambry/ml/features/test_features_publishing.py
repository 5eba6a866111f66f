"""Definitions as versions of a dataset: what breaks readers is refused, and which part of a version rises is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry import AlreadyExists, AmbryClient, BlobNotFound, ChecksumMismatch, InvalidRequest, UpdateConflict
from ambry.client.refs import VersionRef
from ambry.ml.features.compatibility import Level, compare, level_of
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.publishing import ChangeRefused, load, next_version, publish
from ambry.ml.features.reading import parse_definitions

BEFORE = """\
a: {valType: INT, dims: [kinds-1-0], availability: BOTH, doc: "x"}
b: {valType: FLOAT}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
days: {type: discrete}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""


def metadata(text: str) -> FeatureMetadata:
    return FeatureMetadata.of([parse_definitions(text, "n")])


@pytest.mark.parametrize(
    ("old", "new", "level", "words"),
    [
        ('doc: "x"', 'doc: "y"', Level.PATCH, "its doc is another one"),
        ("kinds.csv", "other.csv", Level.PATCH, "its file was kinds.csv and is other.csv"),
        ("2, Click\n", "2, Click\n3, Share\n", Level.MINOR, "kinds.csv has new names: Share"),
        ("b: {valType: FLOAT}", "b: {valType: FLOAT}\nc: {valType: INT}", Level.MINOR, "urn:li:(n,c,1,0) is new"),
        ("days: {", "weeks: {type: discrete}\ndays: {", Level.MINOR, "dimension n/weeks-1-0 is new"),
        ("b: {valType: FLOAT}", "", Level.MAJOR, "urn:li:(n,b,1,0) is gone"),
        ("days: {type: discrete}", "", Level.MAJOR, "dimension n/days-1-0 is gone"),
        ("availability: BOTH", "availability: OFFLINE", Level.MAJOR, "was BOTH and is OFFLINE"),
        ("b: {valType: FLOAT}", "b: {valType: FLOAT, default: 0}", Level.MAJOR, "its default was none and is 0.0"),
        ("b: {valType: FLOAT}", "b: {valType: DOUBLE}", Level.REFUSED, "was FLOAT and is DOUBLE"),
        (
            "[kinds-1-0]",
            "[kinds-1-0, days-1-0]",
            Level.REFUSED,
            "its dims were [kinds-1-0] and are [kinds-1-0, days-1-0]",
        ),
        ("[kinds-1-0]", "[{name: k, dim: kinds-1-0}]", Level.REFUSED, "under other names"),
        ("days: {type: discrete}", "days: {type: discrete : {size: 7}}", Level.REFUSED, "dimension n/days-1-0 was"),
        ("2, Click", "2, Klick", Level.REFUSED, "id 2 was 'Click' and is 'Klick' now"),
        ("2, Click\n", "", Level.REFUSED, "id 2 was 'Click' and is gone"),
    ],
)
def test_what_a_change_means_for_readers(old: str, new: str, level: Level, words: str) -> None:
    changes = compare(metadata(BEFORE), metadata(BEFORE.replace(old, new)))
    assert level_of(changes) is level
    assert any(words in change.words for change in changes)


def test_availability_that_widens_is_minor() -> None:
    narrow = metadata(BEFORE.replace("BOTH", "ONLINE"))
    assert level_of(compare(narrow, metadata(BEFORE))) is Level.MINOR


def test_another_version_of_a_feature_beside_it_is_minor() -> None:
    changes = compare(metadata(BEFORE), metadata(BEFORE + "b: {valType: DOUBLE, version: 2.0}"))
    assert [(change.level, change.words) for change in changes] == [(Level.MINOR, "urn:li:(n,b,2,0) is new")]


def test_nothing_is_different_from_itself() -> None:
    assert compare(metadata(BEFORE), metadata(BEFORE)) == []


def test_numbers_rise_as_far_as_they_have_to() -> None:
    minor = compare(metadata(BEFORE), metadata(BEFORE + "c: {valType: INT}"))
    assert next_version("1.2.3", minor) == "1.3.0"
    assert next_version("1.2.3", minor, "1.5.0") == "1.5.0"
    assert next_version("1.2.3", compare(metadata(BEFORE + "c: {valType: INT}"), metadata(BEFORE))) == "2.0.0"
    with pytest.raises(ChangeRefused, match=r"MINOR part has to rise, so at least 1\.3\.0, and not 1\.2\.4"):
        next_version("1.2.3", minor, "1.2.4")
    with pytest.raises(InvalidRequest, match="three numbers"):
        next_version("1.2.3", minor, "1.3")


# --- against a frontend ---


def test_definitions_are_published_and_read_by_number_alias_and_digest(client: AmbryClient, name: str) -> None:
    first = publish(client, name, metadata(BEFORE))
    assert (first.version, first.is_new) == ("1.0.0", True)
    again = publish(client, name, metadata(BEFORE))
    assert (again.version, again.digest, again.is_new) == ("1.0.0", first.digest, False)
    second = publish(client, name, metadata(BEFORE.replace("2, Click\n", "2, Click\n3, Share\n")))
    assert (second.version, [change.level for change in second.changes]) == ("1.1.0", [Level.MINOR])
    client.set_alias(name, "stable", "1.0.0")
    assert load(client, name).version == "1.1.0"
    assert load(client, f"{name}@stable").metadata == metadata(BEFORE)
    pinned = load(client, f"{name}@1.1.0", digest=second.digest)
    assert pinned.metadata.tensor_type("urn:li:(n,a,1,0)").shape == (4,)
    with pytest.raises(ChecksumMismatch, match=first.digest):
        load(client, f"{name}@1.1.0", digest=first.digest)
    assert [entry.version for entry in client.versions(name)] == ["1.0.0", "1.1.0"]


def test_a_directory_of_definitions_is_not_one_that_is_published(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    with pytest.raises(BlobNotFound, match=f"`ambry features publish {name} NAME` publishes the directory"):
        load(client, name)
    with pytest.raises(BlobNotFound) as caught:
        load(client, f"{name}-other")
    assert "directory" not in caught.value.message


def test_what_breaks_readers_is_not_published(client: AmbryClient, name: str) -> None:
    publish(client, name, metadata(BEFORE))
    with pytest.raises(ChangeRefused, match="id 2 was 'Click'") as caught:
        publish(client, name, metadata(BEFORE.replace("Click", "Klick")), version="9.0.0")
    assert [change.level for change in caught.value.changes] == [Level.REFUSED]
    with pytest.raises(ChangeRefused, match=r"MAJOR part has to rise, so at least 2\.0\.0"):
        publish(client, name, metadata(BEFORE.replace("b: {valType: FLOAT}", "")), version="1.1.0")
    assert [entry.version for entry in client.versions(name)] == ["1.0.0"]


@pytest.mark.parametrize(
    ("again", "words"),
    [
        (BEFORE.replace("a: {valType: INT", "a: {valType: STRING"), "its valType was INT and is STRING"),
        (BEFORE.replace("a: {valType: INT, dims: [kinds-1-0]", "a: {valType: INT, dims: [days-1-0]"), "its dims were"),
        (BEFORE.replace("1, Comment\n2, Click", "1, Click\n2, Comment"), "id 1 was 'Comment' and is 'Click' now"),
        (BEFORE.replace("2, Click\n", ""), "id 2 was 'Click' and is gone"),
    ],
)
def test_what_was_gone_comes_back_only_as_it_was(client: AmbryClient, name: str, again: str, words: str) -> None:
    """It was compared with the newest version alone: as another type, with ids that meant something else, it was MINOR."""
    publish(client, name, metadata("b: {valType: FLOAT}"))
    publish(client, name, metadata(BEFORE))
    without = metadata("b: {valType: FLOAT}")
    assert publish(client, name, without).version == "2.0.0"
    assert publish(client, name, metadata("c: {valType: FLOAT}")).version == "3.0.0"
    with pytest.raises(ChangeRefused, match=words) as caught:
        publish(client, name, metadata("c: {valType: FLOAT}\n" + again), version="9.0.0")
    assert {change.level for change in caught.value.changes} == {Level.REFUSED}
    assert "version 1.1.0 had it last" in str(caught.value)
    longer = BEFORE.replace("2, Click\n", "2, Click\n3, Share\n")
    assert publish(client, name, metadata("c: {valType: FLOAT}\n" + longer)).version == "3.1.0"


@pytest.mark.parametrize(
    ("old", "new", "to_do"),
    [
        ("b: {valType: FLOAT}", "b: {valType: DOUBLE}", 'define this one beside it with .* such as version: "2.0"'),
        ("[kinds-1-0]", "[days-1-0]", 'define this one beside it with .* such as version: "2.0"'),
        ("days: {type: discrete}", "days: {type: entity}", 'define this one beside it with .* such as version: "2.0"'),
        ("2, Click\n", "", "put it back, and give what is new the ids after 2"),
    ],
)
def test_a_change_that_is_refused_says_how_to_go_on(
    client: AmbryClient, name: str, old: str, new: str, to_do: str
) -> None:
    publish(client, name, metadata(BEFORE))
    with pytest.raises(ChangeRefused, match=to_do):
        publish(client, name, metadata(BEFORE.replace(old, new)))


def overtake(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let somebody else publish just before the next version is put."""
    put = AmbryClient.put_version
    overtaken = False

    def after_another(self: AmbryClient, *arguments: object, **options: object) -> object:
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            publish(client, name, metadata(text))
        return put(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(AmbryClient, "put_version", after_another)


def test_who_was_overtaken_compares_with_what_is_new(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(client, name, metadata(BEFORE))
    overtake(client, name, monkeypatch, BEFORE.replace("2, Click\n", "2, Click\n3, Share\n"))
    with pytest.raises(ChangeRefused, match="id 3 was 'Share' and is 'Like' now"):
        publish(client, name, metadata(BEFORE.replace("2, Click\n", "2, Click\n3, Like\n")))
    assert [entry.version for entry in client.versions(name)] == ["1.0.0", "1.1.0"]


def test_of_two_levels_at_once_that_contradict_each_other_one_goes(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One published 2.0.0 and the other 1.1.0, each compared with 1.0.0 alone; an id meant two things."""
    publish(client, name, metadata(BEFORE))
    overtake(client, name, monkeypatch, BEFORE.replace("2, Click\n", "2, Click\n3, Share\n"))
    major = BEFORE.replace("b: {valType: FLOAT}", "").replace("2, Click\n", "2, Click\n3, Like\n")
    with pytest.raises(ChangeRefused, match="id 3 was 'Share' and is 'Like' now"):
        publish(client, name, metadata(major))
    assert [entry.version for entry in client.versions(name)] == ["1.0.0", "1.1.0"]


def test_nothing_goes_within_a_major_by_a_number_that_was_said(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1.5.0 came a moment after 1.1.0, was compared with 1.0.0, and took away what 1.1.0 had added."""
    publish(client, name, metadata(BEFORE))
    overtake(client, name, monkeypatch, BEFORE + "c: {valType: INT}")
    with pytest.raises(ChangeRefused, match="MAJOR part has to rise"):
        publish(client, name, metadata(BEFORE.replace('doc: "x"', 'doc: "y"')), version="1.5.0")
    assert [entry.version for entry in client.versions(name)] == ["1.0.0", "1.1.0"]


def test_who_is_overtaken_all_the_time_is_told(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(*_: object, **__: object) -> None:
        raise AlreadyExists("somebody else was first")

    monkeypatch.setattr(AmbryClient, "put_version", too_late)
    with pytest.raises(UpdateConflict, match=f"^others give versions to {name} all the time; nothing was changed"):
        publish(client, name, metadata(BEFORE))


def test_a_dataset_of_another_schema_takes_none(client: AmbryClient, name: str) -> None:
    client.create_dataset(name, "MONOTONIC")
    with pytest.raises(InvalidRequest, match="SEMANTIC"):
        publish(client, name, metadata(BEFORE))


def test_what_is_no_package_is_not_loaded(client: AmbryClient, name: str) -> None:
    client.create_dataset(name, "SEMANTIC")
    client.put_version(name, b"weights", "1.0.0")
    with pytest.raises(InvalidRequest, match="no package"):
        load(client, name)
    with pytest.raises(BlobNotFound):
        load(client, f"{name}-none")


def test_a_dimension_with_its_own_namespace_is_the_same_one() -> None:
    """It was refused: "its dims were [kinds-1-0] and are [n/kinds-1-0]"."""
    with_namespace = metadata(BEFORE.replace("[kinds-1-0]", "[n/kinds-1-0]"))
    assert with_namespace != metadata(BEFORE)
    assert compare(metadata(BEFORE), with_namespace) == []
    assert compare(with_namespace, metadata(BEFORE)) == []


def test_definitions_that_changed_in_the_cache_are_fetched_again(client: AmbryClient, name: str) -> None:
    publish(client, name, metadata(BEFORE))
    assert load(client, name).metadata == metadata(BEFORE)
    kept = client.cached_path(VersionRef(name))
    kept.chmod(0o600)
    kept.write_bytes(bytes(kept.stat().st_size))
    assert load(client, name).metadata == metadata(BEFORE)
