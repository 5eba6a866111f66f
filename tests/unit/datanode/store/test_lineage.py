"""What a peer's token says of a log: every case of a log that went on, was lost in part, or was put back."""

from __future__ import annotations

import pytest

from datanode.store.index import FindToken
from datanode.store.lineage import EPOCHS_MAX, Epoch, Lineage, Seen

OURS = b"o" * 16
OTHER = b"x" * 16
FIRST, SECOND, LOST = "11" * 8, "22" * 8, "ff" * 8
END = 9000
LINEAGE = Lineage(epoch=SECOND, past=(Epoch("", 0), Epoch(FIRST, 5000)), former=((b"f" * 16).hex(),))


def token(lsn: int, epoch: str = SECOND, incarnation: bytes = OURS) -> FindToken:
    return FindToken(incarnation, lsn, bytes.fromhex(epoch))


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (token(0), Seen.HERE),
        (token(END), Seen.HERE),
        (token(END + 1), Seen.BEYOND),
        (token(5000, FIRST), Seen.HERE),
        (token(5001, FIRST), Seen.BEYOND),
        (token(10, LOST), Seen.BEYOND),
        (token(0, LOST), Seen.BEYOND),
        (token(END, ""), Seen.HERE),
        (token(END + 1, ""), Seen.BEYOND),
        (FindToken(b"", 0), Seen.ELSEWHERE),
        (token(1 << 40, LOST, b"f" * 16), Seen.ELSEWHERE),
        (token(1, LOST, OTHER), Seen.BEYOND),
    ],
)
def test_a_token_tells_whether_the_log_once_went_further(seen: FindToken, says: Seen) -> None:
    assert LINEAGE.judge(OURS, seen, END) is says


def test_lsns_that_are_given_again_hide_nothing() -> None:
    """The log has grown past the token again, with other records: the epoch tells."""
    assert LINEAGE.judge(OURS, token(7000, FIRST), 1 << 40) is Seen.BEYOND


def test_what_never_had_authority_knows_no_names_of_the_copy_that_was_wiped() -> None:
    young = Lineage(epoch=SECOND, young=True)
    assert young.judge(OURS, token(1, LOST, OTHER), END) is Seen.ELSEWHERE
    assert young.judge(OURS, token(1, LOST), END) is Seen.BEYOND, "its own name, though, is no stranger's"


def test_every_opening_ends_the_epoch_before_it() -> None:
    first = Lineage(young=True).begun(FIRST, 0, served=False, filled=False)
    assert (first.epoch, first.begin_lsn, first.young) == (FIRST, 0, True)
    second = first.begun(SECOND, 5000, served=True, filled=True)
    assert (second.epoch, second.begin_lsn, second.young) == (SECOND, 5000, False)
    assert second.past[-1] == Epoch(FIRST, 5000)
    assert second.judge(OURS, token(5000, FIRST), END) is Seen.HERE


@pytest.mark.parametrize(
    ("lineage", "served", "filled", "young"),
    [
        (Lineage(young=True), False, False, True),
        (
            Lineage(young=True),
            False,
            True,
            True,
        ),  # renewed: the log is of its former incarnation, and nobody has followed it
        (Lineage(epoch=FIRST, young=True), False, False, True),
        (Lineage(epoch=FIRST, young=True), False, True, False),
        (Lineage(epoch=FIRST, young=True), True, False, False),
        (Lineage(epoch=FIRST), False, False, False),
    ],
)
def test_it_is_young_until_it_had_authority_or_has_a_log_of_its_own(
    lineage: Lineage, served: bool, filled: bool, young: bool
) -> None:
    assert lineage.begun(SECOND, 0, served=served, filled=filled).young is young


def test_only_so_many_openings_are_remembered() -> None:
    lineage = Lineage()
    for number in range(EPOCHS_MAX + 50):
        lineage = lineage.begun(f"{number:016x}", number, served=True, filled=True)
    assert len(lineage.past) == EPOCHS_MAX
    assert lineage.judge(OURS, token(1, f"{10:016x}"), END) is Seen.BEYOND, "taken for one that knows more: harmless"


def test_a_new_incarnation_forgets_the_epochs_and_keeps_what_was_purged() -> None:
    renewed = Lineage(epoch=SECOND, past=(Epoch(FIRST, 5000),), former=("aa",), purged_lsn=77).renewed("bb")
    assert renewed == Lineage(former=("aa", "bb"), young=True, purged_lsn=77)


def test_a_backup_may_have_been_put_back_since_the_last_epoch_that_all_peers_confirmed() -> None:
    sure = Lineage(epoch=FIRST, sure_epoch=FIRST)
    once = sure.begun(SECOND, 5000, served=True, filled=True)
    twice = once.begun(LOST, 7000, served=True, filled=True)
    assert [lineage.unsure_lsn for lineage in (sure, once, twice)] == [0, 5000, 5000]
    assert Lineage(epoch=FIRST).begun(SECOND, 5000, served=True, filled=True).unsure_lsn == 5000, (
        "nobody ever said anything"
    )
