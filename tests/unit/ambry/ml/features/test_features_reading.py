"""Definitions out of text and back, the article's own text first."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.ml.features.definitions import (
    BUCKETS_MAX,
    Availability,
    Categorical,
    Definitions,
    Dimension,
    Discrete,
    EntityKey,
    Feature,
    FeatureDim,
    FeatureValue,
    Hashed,
    ValueType,
)
from ambry.ml.features.reading import check_references, parse_definitions, with_vocabularies
from ambry.ml.features.text import DefinitionInvalid
from ambry.ml.features.urn import FeatureUrn, FeatureVersion, Reference
from ambry.ml.features.vocabulary import Vocabulary
from ambry.ml.features.writing import format_definitions

ARTICLE = """\
// Feature definition:
historicalActionsInFeed: {
  doc: "Historical interactions on feed for members. go/linkToDocumentation"
  version: "1.0"
  dims: [
    feedActions-1-0,
    numberOfDays-1-0
  ]
  valType: INT
  availability: ONLINE
}
//////////
// Dimension definitions:
feedActions: {
  doc: "The actions a user can take on main feed"
  version: "1.0"
  type: categorical : {
    idMappingFile: "feedActions.csv"
  }
}
numberOfDays: {
  doc: "Count of days for historical windowing"
  type: discrete
}
//////////
// Categorical definition (feedActions.csv):
0, OUT_OF_VOCAB
1, Comment
2, Click
3, Share
"""
FIRST = FeatureVersion(1, 0)


def test_the_articles_text_is_read_as_it_was_printed() -> None:
    definitions = parse_definitions(ARTICLE, "flagship")
    feature = Feature(
        "historicalActionsInFeed",
        ValueType.INT,
        dims=(FeatureDim(Reference("feedActions", FIRST)), FeatureDim(Reference("numberOfDays", FIRST))),
        availability=Availability.ONLINE,
        doc="Historical interactions on feed for members. go/linkToDocumentation",
    )
    assert definitions.features == (feature,)
    assert definitions.dimensions == (
        Dimension("feedActions", Categorical("feedActions.csv"), doc="The actions a user can take on main feed"),
        Dimension("numberOfDays", Discrete(), doc="Count of days for historical windowing"),
    )
    assert definitions.vocabularies == {"feedActions.csv": Vocabulary.of(["Comment", "Click", "Share"])}
    check_references(definitions)
    urn = FeatureUrn.parse("urn:li:(flagship,historicalActionsInFeed,1,0)")
    assert definitions.feature(urn.name, urn.version) is definitions.features[0]


@pytest.mark.parametrize(
    "same",
    [
        ARTICLE.replace("\n", "\r\n"),
        "{" + ARTICLE.split("//////////\n// Categorical")[0] + "}\n//  (feedActions.csv)" + ARTICLE.split("csv):")[1],
        ARTICLE.replace("//", "#"),
        ARTICLE.replace(": {", " {", 1).replace('version: "1.0"', "version = 1.0"),
        ARTICLE.replace("categorical : {", "{ categorical {").replace('csv"\n  }', 'csv"\n  }}'),
        ARTICLE.replace("feedActions-1-0,", '"feedActions-1-0"'),
        ARTICLE.replace("  valType: INT\n", "  valType: INT // whole numbers\n"),
        "namespace: flagship\n" + ARTICLE,
    ],
)
def test_ways_to_write_the_same(same: str) -> None:
    read, expected = parse_definitions(same, "flagship"), parse_definitions(ARTICLE, "flagship")
    assert read.features == expected.features
    assert read.dimensions == expected.dimensions
    assert read.vocabularies == expected.vocabularies


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: {valType: INTT}", "1:14", "INT, LONG, FLOAT, DOUBLE, STRING, BOOLEAN or BYTES (did you mean INT?)"),
        ("a: {valType: int}", "1:14", "did you mean INT?"),
        ("a: {\n  valType: INT\n  dimz: [b-1-0]\n}", "3:3", "did you mean dims?"),
        ("a: {valType: FLOAT, default: 1e300}", "1:30", "is not a value of the type FLOAT"),
        ("a: {valType: FLOAT, default: 16777217}", "1:30", "is not a value of the type FLOAT"),
        ("a: {valType: DOUBLE, default: 9007199254740993}", "1:31", "is not a value of the type DOUBLE"),
        ("a: {valType: INT, default: 1.5}", "1:28", "'1.5' is not a value of the type INT"),
        ("a: {valType: INT, default: 2147483648}", "1:28", "INT"),
        ('a: {valType: INT, default: "1"}', "1:28", "INT"),
        ("a: {valType: BOOLEAN, default: yes}", "1:32", "BOOLEAN"),
        ("a: {valType: DOUBLE, default: 1e999}", "1:31", "DOUBLE"),
        ("a: {valType: BYTES, default: x}", "1:30", "base64"),
        ("a: {valType: INT, dims: [b]}", "1:26", "b-1-0"),
        ("a: {valType: INT, dims: b-1-0}", "1:25", "dims is a list"),
        ("a: {valType: INT, dims: [b-1-0, b-1-0]}", "1:1", "{name: viewer, dim: b-1-0}"),
        ("a: {valType: INT, dims: [{dim: b-1-0}]}", "1:26", "says both"),
        ("a: {valType: INT, type: entity}", "1:1", "a feature has the first"),
        ("a: {doc: x}", "1:1", "neither valType"),
        ("a: {dims: []}", "1:1", "does not say its valType"),
        ("a: {type: categorical}", "1:11", "idMappingFile"),
        ('a: {type: categorical : {idMappingFile: "../b.csv"}}', "1:41", "beside the definitions"),
        ('a: {type: categorical : {idMappingFile: "/b.csv"}}', "1:41", "beside the definitions"),
        ("a: {type: hashed}", "1:11", "buckets"),
        ("a: {type: hashed : {buckets: 0}}", "1:30", "1 to 2147483648"),
        ("a: {type: hashed : {buckets: many}}", "1:30", "whole number"),
        ("a: {type: discrete : {size: -1}}", "1:29", "whole number"),
        ("a: {type: entity : {size: 1}}", "1:21", "no settings"),
        ("a: {type: categoric}", "1:11", "did you mean categorical?"),
        ("a: {type: categorical : x}", "1:25", "braces"),
        ("a: {valType: INT, valType: INT}", "1:19", "stands twice, first at f.conf:1:5"),
        ("a: {valType: INT}\na: {valType: LONG}", "2:1", "'a' 1.0 stands twice"),
        ("a: {valType: INT, version: 1}", "1:28", '"1.0"'),
        ("a: {valType: INT, version: 1.1000}", "1:28", '"1.0"'),
        ("a: {valType: INT", "1:4", "never closed"),
        ("a: [", "1:4", "never closed"),
        ('a: "b\n"', "1:4", "never closed"),
        ("}", "1:1", "opens nothing"),
        ("{a: {valType: INT}} b: {}", "1:21", "closing brace"),
        ("a.b: {}", "1:1", "quotes"),
        ("a: ${b}", "1:4", "substitutions"),
        ("a += 1", "1:3", "+= is not read"),
        ("include x", "1:10", "a : is missing"),
        ('a: {doc: "\\q", valType: INT}', "1:10", "escape"),
        ("a", "1:2", "a : is missing after 'a'"),
        ("a: ", "1:4", "at the end"),
        ("0, OUT_OF_VOCAB", "1:1", "(name.csv)"),
        ("// (b.csv)\n0, OUT_OF_VOCAB\n\n// two more\n1, x\n2, x", "6:1", "'x' stands twice, first in line 5"),
        ("// (b.csv)\n1, x", "2:1", "0, OUT_OF_VOCAB is missing"),
        ("a: " + "[" * 40, "1:36", "32 deep"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, place: str, words: str) -> None:
    with pytest.raises(DefinitionInvalid) as caught:
        parse_definitions(text, "n", "f.conf")
    assert str(caught.value).startswith(f"f.conf:{place}: ")
    assert words in str(caught.value)


def test_a_text_that_is_no_file_tells_line_and_column_in_words() -> None:
    with pytest.raises(DefinitionInvalid, match=r"^line 2, column 4: "):
        parse_definitions("a: {valType: INT}\nb: ]", "n")


def test_a_namespace_must_be_said() -> None:
    with pytest.raises(DefinitionInvalid, match="namespace: flagship"):
        parse_definitions("a: {valType: INT}")


def test_a_dimension_that_nobody_defines_is_told_with_the_versions_that_there_are() -> None:
    text = "a: {valType: INT, dims: [b-1-0]}\nb: {type: entity, version: 2.0}"
    with pytest.raises(DefinitionInvalid, match=r"dimension b-1-0; there is b in version 2\.0"):
        check_references(parse_definitions(text, "n"))


def test_a_dimension_of_another_namespace() -> None:
    mine = parse_definitions("a: {valType: INT, dims: [others/b-1-0]}", "mine")
    others = parse_definitions("b: {type: entity}", "others")
    check_references(mine, [others])
    with pytest.raises(DefinitionInvalid, match="nobody defines the dimension others/b-1-0"):
        check_references(mine)


def test_one_dimension_on_two_axes_has_local_names() -> None:
    text = "seen: {valType: BOOLEAN, dims: [{name: viewer, dim: member-1-0}, {name: viewee, dim: member-1-0}]}"
    definitions = parse_definitions(text + "\nmember: {type: entity}", "n")
    assert [dim.name for dim in definitions.features[0].dims] == ["viewer", "viewee"]


def test_two_versions_of_a_feature_stand_side_by_side() -> None:
    text = "a: {valType: INT, version: 1.0}\na: {valType: FLOAT, version: 2.0}"
    definitions = parse_definitions(text, "n")
    second = definitions.feature("a", FeatureVersion(2, 0))
    assert second is not None
    assert second.value_type is ValueType.FLOAT


def test_vocabularies_come_from_their_files() -> None:
    text = 'a: {type: categorical : {idMappingFile: "a.csv"}}'
    definitions = with_vocabularies(
        parse_definitions(text, "n"), lambda file: {"a.csv": "0, OUT_OF_VOCAB\n1, x"}.get(file)
    )
    assert definitions.vocabularies == {"a.csv": Vocabulary.of(["x"])}
    with pytest.raises(DefinitionInvalid, match=r"^line 1, column 1: dimension 'a': there is no file 'a\.csv'"):
        with_vocabularies(parse_definitions(text, "n"), lambda file: None)


# --- there and back ---

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,20}", fullmatch=True) | st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters="/"), min_size=1, max_size=12
).filter(lambda name: name not in (".", ".."))
VERSIONS = st.builds(FeatureVersion, st.integers(0, 999), st.integers(0, 999))
DOCS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
REFERENCES = st.builds(Reference, NAMES, VERSIONS, st.none() | NAMES)
KINDS = st.one_of(
    st.from_regex(r"[a-z]{1,8}\.csv", fullmatch=True).map(Categorical),
    (st.none() | st.integers(1, BUCKETS_MAX)).map(Discrete),
    st.integers(1, BUCKETS_MAX).map(Hashed),
    st.just(EntityKey()),
)
DIMENSIONS = st.builds(Dimension, NAMES, KINDS, VERSIONS, DOCS)
DEFAULTS: dict[ValueType, st.SearchStrategy[FeatureValue]] = {
    ValueType.INT: st.integers(-(2**31), 2**31 - 1),
    ValueType.LONG: st.integers(-(2**63), 2**63 - 1),
    ValueType.FLOAT: st.floats(width=32, allow_nan=False, allow_infinity=False),
    ValueType.DOUBLE: st.floats(allow_nan=False, allow_infinity=False),
    ValueType.STRING: DOCS,
    ValueType.BOOLEAN: st.booleans(),
    ValueType.BYTES: st.binary(max_size=20),
}


@st.composite
def features(draw: st.DrawFn) -> Feature:
    value_type = draw(st.sampled_from(ValueType))
    dims = draw(
        st.lists(st.builds(FeatureDim, REFERENCES, st.just("") | NAMES), max_size=3, unique_by=lambda dim: dim.name)
    )
    dims = [FeatureDim(dim.dimension, "" if dim.local_name == dim.dimension.name else dim.local_name) for dim in dims]
    return Feature(
        draw(NAMES),
        value_type,
        tuple(dims),
        draw(VERSIONS),
        draw(st.sampled_from(Availability)),
        draw(st.none() | DEFAULTS[value_type]),
        draw(DOCS),
    )


@given(
    NAMES,
    st.lists(features(), max_size=4, unique_by=lambda one: (one.name, one.version)),
    st.lists(DIMENSIONS, max_size=4, unique_by=lambda one: (one.name, one.version)),
)
def test_text_of_any_definitions_is_read_as_the_same(
    namespace: str, made: list[Feature], dims: list[Dimension]
) -> None:
    definitions = Definitions(namespace, tuple(made), tuple(dims))
    text = format_definitions(definitions)
    assert parse_definitions(text) == definitions
    assert format_definitions(parse_definitions(text)) == text


@given(st.text() | st.text('{}[]:=,"\n\t #/ab1.-$'))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        parse_definitions(text, "n")
    except DefinitionInvalid as error:
        assert error.place is not None


def test_bytes_stand_as_base64() -> None:
    text = f'a: {{valType: BYTES, default: "{base64.b64encode(b"xyz").decode()}"}}'
    assert parse_definitions(text, "n").features[0].default == b"xyz"


@pytest.mark.parametrize(
    "comment", ["// (k.csv)", "# ids (k.csv):", "// ids ( k.csv ) : ", "// see (elsewhere) (k.csv):\t"]
)
def test_a_comment_names_the_file_of_the_rows_below_it(comment: str) -> None:
    assert set(parse_definitions(f"{comment}\n0, OUT_OF_VOCAB\n", "n").vocabularies) == {"k.csv"}


@pytest.mark.parametrize(
    "comment",
    ["// k.csv", "// (k.csv) x", "// (k.txt)", "// (a b.csv)", "// (k.csv", f"// (k.csv){' ' * 500_000}x", "// ()"],
)
def test_a_comment_that_names_no_file_is_words(comment: str) -> None:
    """One with 20,000 spaces behind the name took three seconds; these would take half an hour."""
    with pytest.raises(DefinitionInvalid, match="below a comment that names the file"):
        parse_definitions(f"{comment}\n0, OUT_OF_VOCAB\n", "n")
