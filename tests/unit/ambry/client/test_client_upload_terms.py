"""What was said of an upload in parts, held against its parts."""

from __future__ import annotations

import json

import pytest

from ambry import InvalidRequest, UploadedPart
from ambry.client.upload_terms import UploadTerms

MIB = 1 << 20
BOTH = UploadTerms(size=5 * MIB, part_size=2 * MIB)


def parts(*sizes: int, numbers: list[int] | None = None) -> list[UploadedPart]:
    named = numbers or range(1, len(sizes) + 1)
    return [UploadedPart(part=number, size=size, checksum="") for number, size in zip(named, sizes, strict=True)]


@pytest.mark.parametrize(
    ("terms", "number", "size"),
    [
        (UploadTerms(), 7, 1),
        (UploadTerms(size=1), 7, 100),
        (UploadTerms(part_size=2 * MIB), 7, 2 * MIB),
        (UploadTerms(part_size=2 * MIB), 7, 1),
        (BOTH, 1, 2 * MIB),
        (BOTH, 3, MIB),
        (BOTH, 3, None),
        (UploadTerms(size=0, part_size=MIB), 1, 0),
    ],
)
def test_a_part_that_may_be_one_is_sent(terms: UploadTerms, number: int, size: int | None) -> None:
    terms.check_part(number, size)


@pytest.mark.parametrize(
    ("terms", "number", "size", "said"),
    [
        (UploadTerms(part_size=2 * MIB), 7, 2 * MIB + 1, "part 7 has 2097153 bytes, more than part_size=2097152"),
        (BOTH, 1, MIB, "part 1 has 1048576 bytes; of 5242880 bytes in parts of 2097152 it has 2097152"),
        (BOTH, 3, 2 * MIB, "it has 1048576"),
        (BOTH, 4, 0, "part 4 has 0 bytes; .* it has 0"),
        (BOTH, 4, 1, "it has 0"),
    ],
)
def test_a_part_that_cannot_be_one_is_refused(terms: UploadTerms, number: int, size: int, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        terms.check_part(number, size)


@pytest.mark.parametrize(
    ("terms", "arrived"),
    [
        (UploadTerms(size=3), parts(1, 2)),
        (UploadTerms(size=3), parts(1, 2, numbers=[4, 9])),
        (UploadTerms(size=0), parts()),
        (UploadTerms(part_size=MIB), parts(MIB, MIB, 7)),
        (BOTH, parts(2 * MIB, 2 * MIB, MIB)),
    ],
)
def test_what_is_whole_is_completed(terms: UploadTerms, arrived: list[UploadedPart]) -> None:
    terms.check_whole(arrived)


@pytest.mark.parametrize(
    ("terms", "arrived", "said"),
    [
        (UploadTerms(size=4), parts(1, 2), "3 bytes in 2 parts, and its size is 4"),
        (UploadTerms(size=4), parts(), "0 bytes in 0 parts"),
        (UploadTerms(part_size=MIB), parts(MIB, 7, numbers=[1, 3]), "part 2 is missing, or not of 1048576 bytes"),
        (UploadTerms(part_size=MIB), parts(7, MIB), "part 1 is missing"),
        (BOTH, parts(2 * MIB), "part 2, 3 is missing"),
        (BOTH, parts(2 * MIB, 2 * MIB), "part 3 is missing"),
        (BOTH, parts(2 * MIB, 2 * MIB, 7), "4194311 bytes in 3 parts, and its size is 5242880"),
        (UploadTerms(size=20 * MIB, part_size=MIB), parts(MIB), "part 2, 3, 4, 5, 6, ... is missing"),
    ],
)
def test_what_is_not_whole_says_what_is_missing(terms: UploadTerms, arrived: list[UploadedPart], said: str) -> None:
    with pytest.raises(InvalidRequest, match=f"not whole: .*{said}"):
        terms.check_whole(arrived)


def test_terms_travel_as_json_and_are_checked() -> None:
    terms = UploadTerms(size=5 * MIB, part_size=2 * MIB, checksum="ab" * 16)
    state = json.loads(json.dumps({"upload": "x", **terms.state()}))
    assert UploadTerms.of_state(state) == terms
    assert UploadTerms().state() == {} and UploadTerms.of_state({"upload": "x"}) == UploadTerms()
    with pytest.raises(InvalidRequest, match="size of an upload is at least 0 bytes, not -1"):
        UploadTerms(size=-1)
    with pytest.raises(InvalidRequest, match="part_size of an upload is at least 1048576 bytes"):
        UploadTerms(part_size=MIB - 1)
    with pytest.raises(TypeError, match="part_size is a number of bytes"):
        UploadTerms(part_size="8MiB")  # type: ignore[arg-type]
