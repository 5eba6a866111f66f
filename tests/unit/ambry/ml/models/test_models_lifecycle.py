"""Histories of aliases, drawn, through the clients that move them: promote, roll back, others' moves, lost answers, races.

Against a plain model (tests/support/served_versions.py). What is refused leaves the history as it was; what is done
once is in it once, with who and why.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ambry import AmbryClient, VersionRef
from ambry.client.datasets import AliasInfo
from ambry.errors import AmbryError, BlobNotFound, InvalidRequest, UpdateConflict
from ambry.ml import models
from ambry.ml.models.histories import CHAMPION
from tests.support.named_frontend import LosingLink
from tests.support.served_versions import MadeMove, ServedVersions

numbers = st.integers(0, 3)
rarely = st.integers(0, 5).map(lambda drawn: drawn == 5)
people = st.sampled_from(["ann", "bob"])
reasons = st.text(st.characters(exclude_categories=["C"]), max_size=8)
_names = count()


class AliasHistory(RuleBasedStateMachine):
    """`client` loses answers on its way where it is told to; `someone` else moves the same alias."""

    client: ClassVar[AmbryClient]
    someone: ClassVar[AmbryClient]
    link: ClassVar[LosingLink]
    seen: ClassVar[set[str]] = set()
    """What came up in any history."""

    def __init__(self) -> None:
        super().__init__()
        self.dataset = f"history-{next(_names)}"
        self.model = ServedVersions()
        self.deleted: set[str] = set()
        self.versions = [
            models.publish(self.client, self.dataset, {"x.txt": str(number).encode()}).version for number in range(4)
        ]

    def came_up(self, what: str) -> None:
        self.seen.add(what)

    @rule(number=numbers, who=people, why=reasons, lost=rarely)
    def promote(self, number: int, who: str, why: str, lost: bool) -> None:
        version = self.versions[number]
        place = f"{self.dataset}@{version}"
        if version in self.deleted:
            with pytest.raises(BlobNotFound):
                models.promote(self.client, place, who=who, why=why)
            return self.came_up("promoted what was deleted")
        again = self.model.now == version
        if lost and not again:
            self.link.lose("POST")
            self.came_up("a promotion whose answer was lost")
        assert models.promote(self.client, place, who=who, why=why).version == version
        if not again:
            self.model.point(version, who, why)

    @rule(numbers=st.permutations(range(4)))
    def one_after_the_other(self, numbers: list[int]) -> None:
        for number in numbers:
            self.promote(number, "ann", "", False)

    @rule(number=numbers, why=reasons)
    def somebody_else_points_it(self, number: int, why: str) -> None:
        """Also where it points there: the plain call notes that somebody said it again."""
        if self.versions[number] not in self.deleted:
            self.someone.set_alias(self.dataset, CHAMPION, self.versions[number], who="carol", why=why)
            self.model.point(self.versions[number], "carol", why)

    @rule(who=people, why=reasons, times=st.sampled_from([1, 3]), lost=rarely)
    def roll_back(self, who: str, why: str, times: int, lost: bool) -> None:
        for _ in range(times):
            to = self.model.before
            if to is None or to in self.deleted:
                with pytest.raises((InvalidRequest, BlobNotFound)):
                    models.roll_back(self.client, self.dataset, who=who, why=why)
                return self.came_up("nothing to roll back to" if to is None else "rolled back to what was deleted")
            if lost:
                self.link.lose("POST")
            assert models.roll_back(self.client, self.dataset, who=who, why=why).version == to
            self.model.roll_back(who, why)
            self.came_up("rolled back")
        self.came_up(f"rolled back {times} times")

    @rule(number=numbers, expected=numbers)
    def a_move_from_where_it_is_not(self, number: int, expected: int) -> None:
        version, stale = self.versions[number], self.versions[expected]
        if stale == self.model.now or version in self.deleted or version == stale:
            return
        with pytest.raises(UpdateConflict):
            models.promote(self.client, f"{self.dataset}@{version}", expected=stale, who="late")
        self.came_up("refused: moved meanwhile")

    @rule(numbers=st.permutations(range(4)))
    def two_at_once(self, numbers: list[int]) -> None:
        """Both saw it where it is: one of them moves it, the other one is told."""
        expected = self.model.now
        two = [version for version in map(self.versions.__getitem__, numbers) if version not in self.deleted][:2]
        if len(two) < 2 or expected in two:
            return
        start = threading.Barrier(2)
        found: list[AliasInfo | Exception] = []

        def move(client: AmbryClient, version: str) -> None:
            start.wait(30)
            try:
                found.append(
                    client.set_alias(self.dataset, CHAMPION, version, expected=expected, who=version, why="race")
                )
            except AmbryError as error:
                found.append(error)

        movers = [
            threading.Thread(target=move, args=pair) for pair in zip((self.client, self.someone), two, strict=True)
        ]
        for mover in movers:
            mover.start()
        for mover in movers:
            mover.join(60)
        won = [each for each in found if isinstance(each, AliasInfo)]
        assert len(won) == 1 and len(found) == 2, found
        assert isinstance(next(each for each in found if each is not won[0]), UpdateConflict)
        assert won[0].version is not None
        self.model.point(won[0].version, won[0].who, won[0].why)
        self.came_up("two at once")

    @precondition(lambda self: self.model.now is not None)
    @rule()
    def delete_the_alias(self) -> None:
        self.someone.delete_alias(self.dataset, CHAMPION)
        self.model.delete()
        self.came_up("an alias that was deleted")

    @rule(number=numbers)
    def delete_a_version(self, number: int) -> None:
        version = self.versions[number]
        if version == self.model.now:
            with pytest.raises(UpdateConflict, match=r"points to"):
                self.client.delete(VersionRef(self.dataset, version))
        elif len(self.deleted) < 2 and version not in self.deleted:
            self.client.delete(VersionRef(self.dataset, version))
            self.deleted.add(version)

    @invariant()
    def its_history_is_all_its_moves(self) -> None:
        if not self.model.moves:
            return
        history = self.someone.alias_history(self.dataset, CHAMPION)
        # Who deletes is the service of the client, and there is no reason.
        assert [MadeMove(each.version, each.who, each.why) for each in history] == self.model.moves
        times = [each.modified for each in history if each.modified is not None]
        assert len(times) == len(history) and times == sorted(times, reverse=True)

    @invariant()
    def it_points_where_it_was_moved_last(self) -> None:
        if self.model.now is None:
            with pytest.raises(BlobNotFound):
                models.open(self.client, f"{self.dataset}@{CHAMPION}")
        else:
            model = models.open(self.client, f"{self.dataset}@{CHAMPION}")
            number = self.versions.index(self.model.now)
            assert (model.version, model.path().read_bytes()) == (self.model.now, str(number).encode())


@pytest.fixture
def histories(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[AliasHistory]]:
    monkeypatch.setenv("AMBRY_CACHE_DIR", str(tmp_path / "cache"))
    with LosingLink(url) as link, AmbryClient(link.url) as client, AmbryClient(url) as someone:
        AliasHistory.client, AliasHistory.someone, AliasHistory.link = client, someone, link
        AliasHistory.seen = set()
        yield AliasHistory


def test_any_history_of_an_alias_is_that_of_a_plain_model(histories: type[AliasHistory]) -> None:
    run_state_machine_as_test(
        histories,
        settings=settings(
            max_examples=12,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            database=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_a_history_with_everything_in_it_is_that_of_a_plain_model(histories: type[AliasHistory]) -> None:
    """What is drawn above depends on who wins a race: each thing that may happen is here in any case."""
    history = histories()

    def then(_: None) -> None:
        history.its_history_is_all_its_moves()
        history.it_points_where_it_was_moved_last()

    then(history.roll_back("ann", "", 1, False))
    then(history.one_after_the_other([0, 1, 2, 3]))
    then(history.roll_back("bob", "worse", 3, False))
    then(history.promote(2, "ann", "again", True))
    then(history.a_move_from_where_it_is_not(1, 3))
    then(history.roll_back("ann", "", 1, True))
    then(history.somebody_else_points_it(3, "mine"))
    then(history.promote(1, "ann", "", False))
    then(history.delete_a_version(3))
    then(history.promote(3, "ann", "", False))
    then(history.roll_back("ann", "", 3, False))
    then(history.two_at_once([0, 2, 1, 3]))
    then(history.delete_the_alias())
    then(history.promote(0, "ann", "anew", False))
    assert histories.seen == {
        "promoted what was deleted",
        "a promotion whose answer was lost",
        "nothing to roll back to",
        "rolled back",
        "rolled back 1 times",
        "rolled back 3 times",
        "rolled back to what was deleted",
        "refused: moved meanwhile",
        "two at once",
        "an alias that was deleted",
    }
