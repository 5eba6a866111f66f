"""The table of the pieces that a download has, as bytes, and what is missing."""

from __future__ import annotations

import random
import struct
from itertools import pairwise

import pytest

from ambry.checksum import digest
from ambry.client.pieces import (
    PIECE_BYTES_MAX,
    PIECE_BYTES_MIN,
    PIECES_MAX,
    SECTIONS_MAX,
    Pieces,
    PieceSpan,
    cut,
    parse_footer,
    said_digests,
    sections,
)
from tests.support.clusters import seed_of

KIB = 1024
FOUR = Pieces(200 * KIB, 64 * KIB)


def test_a_blob_is_cut_into_pieces_of_which_the_last_may_be_short() -> None:
    assert FOUR.count == 4
    assert [FOUR.span(index) for index in range(4)] == [
        PieceSpan(0, 65536),
        PieceSpan(65536, 131072),
        PieceSpan(131072, 196608),
        PieceSpan(196608, 204800),
    ]
    assert cut(5, 1).piece_size == PIECE_BYTES_MIN and cut(5, 1 << 40).piece_size == PIECE_BYTES_MAX
    assert Pieces(0, PIECE_BYTES_MIN).count == 0


def test_the_footer_is_as_it_is_written_down() -> None:
    assert FOUR.footer() == b"AmbryPt1" + struct.pack(">IIQ", 65536, 0, 204800)
    assert FOUR.footer().hex() == "416d6272795074310001000000000000" + "0000000000032000"
    assert FOUR.table_size == 4 * 16 + 24 and FOUR.entry_offset(2) == 204800 + 32
    assert parse_footer(FOUR.footer(), 204800 + 88) == FOUR


@pytest.mark.parametrize(
    ("footer", "file_size"),
    [
        (b"", 0),
        (FOUR.footer()[:-1], 204800 + 88),
        (FOUR.footer(), 204800 + 87),
        (b"x" + FOUR.footer()[1:], 204800 + 88),
        (Pieces(204800, 1).footer(), 204800 + 204800 * 16 + 24),
        (Pieces(0, 65536).footer(), 24),
        (b"AmbryPt1" + struct.pack(">IIQ", 65536, 1, 204800), 204800 + 88),
        # A sparse file that says so cost nothing, and its table filled the memory.
        (Pieces((PIECES_MAX + 1) << 20, 1 << 20).footer(), ((PIECES_MAX + 1) << 20) + 16 * (PIECES_MAX + 1) + 24),
        (b"AmbryPt1" + struct.pack(">IIQ", 1 << 31, 0, 1 << 62), (1 << 62) + 24 + (1 << 35)),
    ],
)
def test_what_is_no_footer_of_this_file_says_nothing(footer: bytes, file_size: int) -> None:
    assert parse_footer(footer, file_size) is None


def test_a_table_says_the_pieces_that_have_a_digest() -> None:
    one, two = digest(b"1"), digest(b"2")
    assert said_digests(bytes(16) + one + bytes(16) + two) == {1: one, 3: two}


@pytest.mark.parametrize(
    ("there", "section_size", "spans"),
    [
        ([], 1 << 40, [(0, 204800)]),
        ([], 1, [(0, 65536), (65536, 131072), (131072, 196608), (196608, 204800)]),
        ([], 131072, [(0, 131072), (131072, 204800)]),
        ([0], 131072, [(65536, 196608), (196608, 204800)]),
        ([1], 1 << 40, [(0, 65536), (131072, 204800)]),
        ([0, 1, 2, 3], 1 << 40, []),
        ([3], 1 << 40, [(0, 196608)]),
    ],
)
def test_what_is_missing_is_asked_for_in_few_sections(
    there: list[int], section_size: int, spans: list[tuple[int, int]]
) -> None:
    assert list(sections(FOUR, there, section_size)) == spans


def test_sections_are_what_is_missing_and_nothing_else() -> None:
    source = random.Random(seed_of("pieces"))
    for _ in range(300):
        pieces = Pieces(source.randrange(1, 3_000_000), 65536)
        there = {index for index in range(pieces.count) if source.random() < source.choice((0.1, 0.9))}
        most = source.choice((1, 65536, 200_000, 1 << 40))
        bytes_of = [
            byte
            for span in sections(pieces, there, most)
            for byte in range(span.start // 65536, -(-span.stop // 65536))
        ]
        assert bytes_of == [index for index in range(pieces.count) if index not in there]
        assert all(span.stop - span.start <= max(65536, most) for span in sections(pieces, there, most))


def test_a_blob_of_any_size_has_a_bounded_number_of_sections() -> None:
    # Its pieces were walked through one by one.
    huge = cut(1 << 44, 1 << 20)
    found = sections(huge, {5}, 8 << 20)
    assert len(found) <= SECTIONS_MAX + 1
    assert found[0] == PieceSpan(0, 5 << 20) and found[1].start == 6 << 20 and found[-1].stop == 1 << 44
    assert all(before.stop == after.start for before, after in pairwise(found[1:]))
