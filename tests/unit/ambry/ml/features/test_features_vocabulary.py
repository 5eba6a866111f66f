"""Vocabularies: ids are for ever, what is not in one is 0."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.features.text import DefinitionInvalid
from ambry.ml.features.vocabulary import OUT_OF_VOCAB, Vocabulary, format_vocabulary, parse_vocabulary

NAMES = st.text(min_size=1, max_size=10).filter(
    lambda name: name == name.strip() and len(name.splitlines()) == 1 and "\0" not in name and name != OUT_OF_VOCAB
)


@st.composite
def vocabularies(draw: st.DrawFn) -> Vocabulary:
    names = draw(st.lists(NAMES.filter(lambda name: "\n" not in name), max_size=8, unique=True))
    ids = draw(st.lists(st.integers(1, 2**31 - 1), min_size=len(names), max_size=len(names), unique=True))
    return Vocabulary((0, *sorted(ids)), (OUT_OF_VOCAB, *names))


@given(vocabularies())
def test_a_csv_of_any_vocabulary_is_read_as_the_same(vocabulary: Vocabulary) -> None:
    assert parse_vocabulary(format_vocabulary(vocabulary)) == vocabulary


@given(vocabularies(), NAMES)
def test_what_is_not_in_it_is_0(vocabulary: Vocabulary, name: str) -> None:
    assert (vocabulary.encode(name) == 0) == (name not in vocabulary.names)
    assert vocabulary.decode(vocabulary.encode(name)) == (name if name in vocabulary.names else OUT_OF_VOCAB)
    for known in vocabulary.names:
        assert vocabulary.decode(vocabulary.encode(known)) == known


def test_names_are_added_with_the_next_ids_and_break_nobody() -> None:
    first = parse_vocabulary("0, OUT_OF_VOCAB\n1, Comment\n5, Click\n")
    second = first.with_names(["Share"])
    assert second.encode("Share") == 6
    assert second.size == 7
    assert first.broken_by(second) is None
    assert (second.broken_by(first) or "").startswith("id 6 was 'Share' and is gone")
    renamed = parse_vocabulary("0, OUT_OF_VOCAB\n1, Comments\n5, Click\n")
    assert first.broken_by(renamed) == "id 1 was 'Comment' and is 'Comments' now"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "a.csv:1:1", "0, OUT_OF_VOCAB is missing"),
        ("1, a", "a.csv:1:1", "0, OUT_OF_VOCAB is missing"),
        ("0, a", "a.csv:1:1", "0, OUT_OF_VOCAB is missing"),
        ("0, OUT_OF_VOCAB\n1, a\n1, b", "a.csv:3:1", "id 1 stands twice"),
        ("0, OUT_OF_VOCAB\n1, a\n\n2, a", "a.csv:4:1", "'a' stands twice, first in line 2"),
        ("0, OUT_OF_VOCAB\n-1, a", "a.csv:2:1", "'-1' is not an id"),
        ("0, OUT_OF_VOCAB\n2147483648, a", "a.csv:2:1", "is not an id"),
        ("0, OUT_OF_VOCAB\n" + "9" * 5000 + ", a", "a.csv:2:1", "is not an id"),
        ("0, OUT_OF_VOCAB\n1", "a.csv:2:1", "1 fields"),
        ("0, OUT_OF_VOCAB\n1, a, b", "a.csv:2:1", "3 fields"),
        ("0, OUT_OF_VOCAB\n1,", "a.csv:2:1", "is not a name"),
        ('0, OUT_OF_VOCAB\n1, "a', "a.csv:2:1", "CSV"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, place: str, words: str) -> None:
    with pytest.raises(DefinitionInvalid) as caught:
        parse_vocabulary(text, "a.csv")
    assert str(caught.value).startswith(f"{place}: ")
    assert words in str(caught.value)


def test_rows_in_any_order_and_comments() -> None:
    assert parse_vocabulary("# actions\n2, b\n\n1, a\n0, OUT_OF_VOCAB") == Vocabulary.of(["a", "b"])


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        ((), ()),
        ((1,), (OUT_OF_VOCAB,)),
        ((0, 1), (OUT_OF_VOCAB,)),
        ((0, 2, 1), (OUT_OF_VOCAB, "a", "b")),
        ((0, 1), (OUT_OF_VOCAB, " a")),
    ],
)
def test_a_vocabulary_that_is_none_cannot_be_made(ids: tuple[int, ...], names: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest):
        Vocabulary(ids, names)
