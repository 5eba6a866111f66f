"""A publisher with a broker and a feed of this test's own: nothing lost, in order, bounded, whatever fails and when."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.client.changes import RESTARTED, ToldChange, ToldChanges
from ambry.client.model import BlobInfo
from ambry.client.refs import NameRef
from ambry.errors import AmbryError, InvalidRequest, Unavailable
from ambry.ids import BlobId, IdKind
from ambry.streams.messages import ChangeMessage
from ambry.streams.pages import Feed
from ambry.streams.plan import GIVE_UP_AFTER_S
from ambry.streams.publisher import Published, Publisher
from ambry.streams.state import Keeper, Overtaken, PublisherState, StateBlob, StateFile
from tests.support.named_frontend import named_frontend


class Log:
    """A topic that outlives its publishers."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        """Key and change, as they were appended."""


class Killed(BaseException):
    """As a kill: nothing of the publisher runs after it."""


class ScriptedBroker:
    """Appends what it was sent in order, acknowledges in any order, and is killed or silent when the test says so."""

    trouble = "connection refused"

    def __init__(self, log: Log, heard: Callable[[int], None], chance: random.Random, steps: int | None = None) -> None:
        self._log, self._heard, self._chance = log, heard, chance
        self._sent: list[tuple[ChangeMessage, int]] = []
        self._appended: list[int] = []
        self._steps = steps
        self.silent = False
        self.waits_s = 0.0
        self.topic_id: str | None = "topic-1"

    def topic(self, within_s: float) -> tuple[str, str]:
        return "cluster", "topic-1"

    def ask(self) -> None:
        pass

    def told(self) -> str | None:
        return self.topic_id

    def send(self, message: ChangeMessage, sequence: int, epoch: bytes) -> None:
        self._step()
        self._sent.append((message, sequence))

    def poll(self, wait_s: float) -> None:
        self._step()
        self.waits_s += wait_s
        if self.silent:
            return
        while self._sent and self._chance.random() < 0.9:
            message, sequence = self._sent.pop(0)
            self._log.messages.append((message.key.decode(), message.change.decode()))
            self._appended.append(sequence)
        self._chance.shuffle(self._appended)
        while self._appended and self._chance.random() < 0.8:
            self._heard(self._appended.pop())

    def _step(self) -> None:
        if self._steps is not None:
            self._steps -= 1
            if self._steps < 0:
                raise Killed

    def close(self) -> None:
        pass


class Pages:
    """A feed of these changes, of which a token is the number told before it."""

    def __init__(self, changes: list[ToldChange], size: int, token: str) -> None:
        self._changes, self._size = changes, size
        self._next = 0 if token == "beginning" else int(token)

    def next_page(self) -> ToldChanges:
        told = tuple(self._changes[self._next : self._next + self._size])
        self._next += len(told)
        return ToldChanges(changes=told, token=str(self._next), at_end=self._next == len(self._changes))


class Memory:
    """A state that outlives its runs."""

    name = None

    def __init__(self) -> None:
        self.own: set[str] = set()
        self.kept: PublisherState | None = None
        self.refuses: Exception | None = None

    def load(self) -> PublisherState | None:
        return self.kept

    def store(self, kept: PublisherState) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.kept = kept


def changes(count: int) -> list[ToldChange]:
    return [
        ToldChange(type="name.put", name=f"n{number % 5}", size=number, datacenter=number) for number in range(count)
    ]


def run(
    told: list[ToldChange],
    log: Log,
    memory: Keeper,
    seed: int = 0,
    steps: int | None = None,
    tell: list[str] | None = None,
) -> Published:
    chance = random.Random(seed)
    return Publisher(
        brokers=lambda heard: ScriptedBroker(log, heard, chance, steps),
        feeds=lambda token: Pages(told, 7, token),
        keeper=memory,
        topic="topic",
        tell=(lambda text: None) if tell is None else tell.append,
    ).run()


def firsts(log: Log) -> dict[str, list[str]]:
    """By key, changes in the order of their first appearance."""
    found: dict[str, list[str]] = {}
    for key, change in log.messages:
        if change not in found.setdefault(key, []):
            found[key].append(change)
    return found


def test_everything_is_published_and_kept() -> None:
    log, memory = Log(), Memory()
    assert run(changes(40), log, memory) == Published(messages=40, token="40")
    assert len(log.messages) == 40
    assert memory.kept is not None and (memory.kept.token, memory.kept.sequence) == ("40", 40)
    assert run(changes(40), log, memory).messages == 0 and len(log.messages) == 40


@pytest.mark.parametrize("seed", range(25))
def test_killed_anywhere_nothing_is_lost_and_the_order_of_keys_holds(seed: int) -> None:
    chance = random.Random(seed)
    told, memory, log, undisturbed = changes(60), Memory(), Log(), Log()
    run(told, undisturbed, Memory())
    for again in range(100):
        before = memory.kept
        try:
            run(told, log, memory, seed=100 * seed + again, steps=chance.randrange(10, 120))
            break
        except Killed:
            if chance.random() < 0.5:  # What a kill left out of what an interruption still keeps.
                memory.kept = before or memory.kept
    assert firsts(log) == firsts(undisturbed)
    assert memory.kept is not None and memory.kept.token == "60"


def test_a_run_that_was_overtaken_ends() -> None:
    memory = Memory()

    class Once(Memory):
        def store(self, kept: PublisherState) -> None:
            if memory.kept is not None:
                raise Overtaken("another one goes on")
            memory.kept = kept

    with pytest.raises(Overtaken):
        run(changes(3), Log(), Once())


@pytest.mark.parametrize("runs_before", [0, 1])
@pytest.mark.parametrize("lands", ["at once", "after the next look", "after the next put"])
def test_a_first_put_that_takes_effect_late_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lands: str, runs_before: int
) -> None:
    told, log, answers = changes(20), Log(), 0
    with named_frontend(tmp_path / "meta.sqlite") as url, AmbryClient(url) as client:
        here = (client.default_account, client.default_container)

        def keeper() -> StateBlob:
            return StateBlob(client, NameRef("state", *here), here)

        for _ in range(runs_before):
            run(told, log, keeper())
        put, late = client.put, list[tuple[Any, Any]]()

        def land() -> str:
            given, named = late[0]
            try:
                return str(put(*given, **named).id)
            except AmbryError:
                return ""

        def slow(*given: Any, **named: Any) -> BlobInfo:
            nonlocal answers
            answers += 1
            if answers == 1:
                late.append((given, named))
                if lands == "at once":
                    assert land()
                raise Unavailable("no answer in time")
            if answers == 2 and lands == "after the next look":
                assert land()
            made = put(*given, **named)
            if answers == 2 and lands == "after the next put":
                assert not land(), "whoever is late finds another state"
            return made

        monkeypatch.setattr(client, "put", slow)
        publisher = Publisher(
            brokers=lambda heard: ScriptedBroker(log, heard, random.Random(0)),
            feeds=lambda token: Pages(told, 7, token),
            keeper=keeper(),
            topic="topic",
            clock=QuickClock(),  # type: ignore[arg-type]
        )
        assert publisher.run() == Published(messages=0 if runs_before else 20, token="20")
        kept = keeper().load()
        assert kept is not None and (kept.token, kept.sequence, kept.epoch) == ("20", 20, runs_before + 1)
    assert len(log.messages) == 20


class Refused:
    """A feed whose store does not take its token."""

    def next_page(self) -> ToldChanges:
        raise InvalidRequest("the token is of another container; name that one, or begin anew in this", request_id="r1")


def refusing_at_once(token: str) -> Pages:
    raise InvalidRequest("since is beginning, now, or a token that was told")


@pytest.mark.parametrize(
    ("feeds", "why"), [(lambda token: Refused(), "of another container"), (refusing_at_once, "since is beginning")]
)
def test_a_token_that_the_store_refuses_is_told_with_the_state_that_has_it(
    feeds: Callable[[str], Feed], why: str, tmp_path: Path
) -> None:
    """It named no state, and the same command failed for ever."""
    keeper = StateFile(tmp_path / "state")
    keeper.store(PublisherState(cluster="cluster", topic="topic", token="of-before", topic_id="topic-1"))
    publisher = Publisher(
        brokers=lambda heard: ScriptedBroker(Log(), heard, random.Random(0)), feeds=feeds, keeper=keeper, topic="topic"
    )
    with pytest.raises(InvalidRequest, match=rf"the token of the state {tmp_path}/state is refused \(.*{why}") as told:
        publisher.run()
    assert "name another one (--state), or remove it and say where to begin (--since)" in str(told.value)


@pytest.mark.parametrize(
    ("feeds", "why"), [(lambda token: Refused(), "of another container"), (refusing_at_once, "since is beginning")]
)
def test_a_first_token_that_the_store_refuses_is_not_kept(
    feeds: Callable[[str], Feed], why: str, tmp_path: Path
) -> None:
    """It was stored as the state, which was blamed for it, and --since counted no more: it had to be removed by hand."""
    keeper, log, told = StateFile(tmp_path / "state"), Log(), changes(20)

    def publisher(feeds: Callable[[str], Feed], since: str) -> Publisher:
        return Publisher(
            brokers=lambda heard: ScriptedBroker(log, heard, random.Random(0)),
            feeds=feeds,
            keeper=keeper,
            topic="topic",
            since=since,
        )

    with pytest.raises(
        InvalidRequest, match=rf"the token of --since is refused \(.*{why}.*\); say beginning"
    ) as failed:
        publisher(feeds, "nonsense").run()
    assert "state" not in str(failed.value) and list(tmp_path.iterdir()) == []
    assert publisher(lambda token: Pages(told, 7, token), "13").run() == Published(messages=7, token="20")
    assert len(log.messages) == 7, "what was read to look at the token is published as well, and once"


def test_a_first_token_is_looked_at_again_where_the_store_is_away(tmp_path: Path) -> None:
    asked: list[str] = []

    def feeds(token: str) -> Feed:
        asked.append(token)
        if len(asked) == 1:
            raise Unavailable("away")
        return Pages(changes(5), 7, token)

    publisher = Publisher(
        brokers=lambda heard: ScriptedBroker(Log(), heard, random.Random(0)),
        feeds=feeds,
        keeper=StateFile(tmp_path / "state"),
        topic="topic",
        since="3",
        clock=QuickClock(),  # type: ignore[arg-type]
    )
    assert publisher.run() == Published(messages=2, token="5") and asked == ["3"] * 3


def test_a_feed_that_begins_again_is_told_and_no_message() -> None:
    tell: list[str] = []
    log = Log()
    run([ToldChange(type=RESTARTED), *changes(2)], log, Memory(), tell=tell)
    assert len(log.messages) == 2 and "begins again in part" in tell[0]


class QuickClock:
    """Each look at it is a second later, or as much as is said."""

    def __init__(self, step_s: float = 1.0) -> None:
        self.now_s = 0.0
        self._step_s = step_s

    def monotonic(self) -> float:
        self.now_s += self._step_s
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_a_broker_that_says_nothing_is_told_of_and_given_up_at_last() -> None:
    tell: list[str] = []

    def silent(heard: Callable[[int], None]) -> ScriptedBroker:
        broker = ScriptedBroker(Log(), heard, random.Random(0))
        broker.silent = True
        return broker

    publisher = Publisher(
        brokers=silent,
        feeds=lambda token: Pages(changes(3), 7, token),
        keeper=Memory(),
        topic="topic",
        tell=tell.append,
        clock=QuickClock(),  # type: ignore[arg-type]
    )
    with pytest.raises(Unavailable, match=r"3 changes wait \(connection refused\); the same command goes on"):
        publisher.run()
    assert len(tell) == 1 and tell[0].endswith("it is tried again")


def test_a_broker_that_is_away_at_first_is_waited_for_within_bounds() -> None:
    tell: list[str] = []
    left: list[float] = []

    class Away(ScriptedBroker):
        def topic(self, within_s: float) -> tuple[str, str]:
            left.append(within_s)
            raise Unavailable("nobody answers")

    clock = QuickClock()
    publisher = Publisher(
        brokers=lambda heard: Away(Log(), heard, random.Random(0)),
        feeds=lambda token: Pages([], 7, token),
        keeper=Memory(),
        topic="topic",
        tell=tell.append,
        clock=clock,  # type: ignore[arg-type]
    )
    with pytest.raises(Unavailable):
        publisher.run()
    assert tell == ["nobody answers; it is tried again"] and clock.now_s >= GIVE_UP_AFTER_S
    assert GIVE_UP_AFTER_S - 2 < left[0] <= GIVE_UP_AFTER_S and left[-1] == 1 and left == sorted(left, reverse=True)


def test_what_follows_waits_for_kafka_as_long_as_it_is_told_to() -> None:
    class AwayFor(ScriptedBroker):
        left = 500

        def topic(self, within_s: float) -> tuple[str, str]:
            self.left -= 1
            if self.left:
                raise Unavailable("nobody answers")
            raise InvalidRequest("it answered")

    for bound, ends in ((120.0, Unavailable), (None, InvalidRequest)):
        publisher = Publisher(
            brokers=lambda heard: AwayFor(Log(), heard, random.Random(0)),
            feeds=lambda token: Pages([], 7, token),
            keeper=Memory(),
            topic="topic",
            follow=True,
            give_up_after_s=bound,
            clock=QuickClock(),  # type: ignore[arg-type]
        )
        with pytest.raises(ends):
            publisher.run()


def test_a_token_that_cannot_be_kept_ends_who_follows_after_the_bound() -> None:
    class Refuses(Memory):
        def store(self, kept: PublisherState) -> None:
            if self.kept is not None:
                raise Unavailable("no frontend answers")
            super().store(kept)

    tell: list[str] = []
    clock = QuickClock()
    publisher = Publisher(
        brokers=lambda heard: ScriptedBroker(Log(), heard, random.Random(0)),
        feeds=lambda token: Pages(changes(3), 7, token),
        keeper=Refuses(),
        topic="topic",
        follow=True,
        give_up_after_s=300,
        tell=tell.append,
        clock=clock,  # type: ignore[arg-type]
    )
    with pytest.raises(Unavailable, match="no frontend answers"):
        publisher.run()
    assert 300 <= clock.now_s < 600 and len(tell) == 1


def test_a_message_that_fails_ends_the_run_and_what_was_acknowledged_is_kept() -> None:
    class Refuses(ScriptedBroker):
        def send(self, message: ChangeMessage, sequence: int, epoch: bytes) -> None:
            if sequence == 14:
                for _ in range(200):
                    self.poll(0)
                raise InvalidRequest("message size too large")
            super().send(message, sequence, epoch)

    memory, log = Memory(), Log()
    publisher = Publisher(
        brokers=lambda heard: Refuses(log, heard, random.Random(0)),
        feeds=lambda token: Pages(changes(20), 7, token),
        keeper=memory,
        topic="topic",
    )
    with pytest.raises(InvalidRequest, match="too large"):
        publisher.run()
    assert memory.kept is not None and (memory.kept.token, memory.kept.sequence) == ("14", 14)


class Endless(Pages):
    """One more change with each page, for who follows."""

    def next_page(self) -> ToldChanges:
        self._changes.append(ToldChange(type="name.put", name="n", size=self._next, datacenter=self._next))
        return super().next_page()


@pytest.mark.parametrize(("now", "what"), [("topic-2", "deleted and made again"), ("", "deleted")])
@pytest.mark.parametrize("when", ["in the middle", "at the end"])
@pytest.mark.parametrize("follow", [False, True])
def test_a_topic_that_is_not_the_one_any_more_ends_the_run(now: str, what: str, when: str, follow: bool) -> None:
    """It was looked at when a run began: messages went on to the topic that was made since, as long as --follow ran, and a run
    that ended told of success.
    """

    class Remade(ScriptedBroker):
        def send(self, message: ChangeMessage, sequence: int, epoch: bytes) -> None:
            super().send(message, sequence, epoch)
            if sequence == (20 if when == "in the middle" else 39):
                self.topic_id = now

    memory = Memory()
    publisher = Publisher(
        brokers=lambda heard: Remade(Log(), heard, random.Random(0)),
        feeds=lambda token: (Endless if follow else Pages)(changes(40), 7, token),
        keeper=memory,
        topic="topic",
        follow=follow,
        clock=QuickClock(0.01),  # type: ignore[arg-type]
    )
    with pytest.raises(InvalidRequest, match=rf"topic topic was {what} while this publisher ran, and the .* messages"):
        publisher.run()
    assert memory.kept is not None and memory.kept.topic_id == "topic-1", "the next start finds it out as well"


def test_a_broker_that_does_not_know_the_topic_yet_ends_nothing() -> None:
    """Of several brokers some learn of a new one later."""
    answers = iter(["", "", "topic-1", "topic-of-before", "topic-1"])

    class Behind(ScriptedBroker):
        def told(self) -> str | None:
            return next(answers, "topic-1")

    publisher = Publisher(
        brokers=lambda heard: Behind(Log(), heard, random.Random(0)),
        feeds=lambda token: Pages(changes(40), 7, token),
        keeper=Memory(),
        topic="topic",
        clock=QuickClock(0.01),  # type: ignore[arg-type]
    )
    assert publisher.run().messages == 40 and next(answers, None) is None


def test_who_does_not_hear_of_the_topic_is_not_told_of_success() -> None:
    class Mute(ScriptedBroker):
        def told(self) -> str | None:
            return None

    memory = Memory()
    publisher = Publisher(
        brokers=lambda heard: Mute(Log(), heard, random.Random(0)),
        feeds=lambda token: Pages(changes(4), 7, token),
        keeper=memory,
        topic="topic",
        clock=QuickClock(),  # type: ignore[arg-type]
    )
    with pytest.raises(
        Unavailable, match=r"whether topic topic is there still \(connection refused\); the same command"
    ):
        publisher.run()
    assert memory.kept is not None and memory.kept.sequence == 4


def test_what_the_store_took_is_no_silence_of_kafka() -> None:
    """Acknowledgements were there, and nobody had looked: the run ended for the wrong reason."""
    clock = QuickClock(0.01)

    class Slow(Memory):
        hung = False

        def store(self, kept: PublisherState) -> None:
            super().store(kept)
            if not self.hung and 0 < kept.sequence < 40:
                self.hung = True
                clock.sleep(70)

    class Prompt(ScriptedBroker):
        def poll(self, wait_s: float) -> None:
            clock.sleep(0.2)
            super().poll(wait_s)
            while self._sent or self._appended:
                super().poll(0)

    memory, tell = Slow(), list[str]()
    publisher = Publisher(
        brokers=lambda heard: Prompt(Log(), heard, random.Random(0)),
        feeds=lambda token: Pages(changes(40), 7, token),
        keeper=memory,
        topic="topic",
        tell=tell.append,
        clock=clock,  # type: ignore[arg-type]
    )
    assert publisher.run().messages == 40 and tell == [] and memory.hung


def test_a_state_that_cannot_be_kept_is_told_once() -> None:
    """Each attempt has a request of another id, and each was a line."""

    class Full(Memory):
        refused = 0

        def store(self, kept: PublisherState) -> None:
            if self.kept is not None and self.refused < 15:
                self.refused += 1
                raise Unavailable(f"the quota is full: {self.refused} bytes too many", request_id=f"r{self.refused}")
            super().store(kept)

    tell: list[str] = []
    publisher = Publisher(
        brokers=lambda heard: ScriptedBroker(Log(), heard, random.Random(0)),
        feeds=lambda token: Endless(changes(4), 7, token),
        keeper=(keeper := Full()),
        topic="topic",
        follow=True,
        tell=tell.append,
        give_up_after_s=100.0,
        clock=QuickClock(0.3),  # type: ignore[arg-type]
    )

    class Enough(Exception):
        pass

    def store(kept: PublisherState) -> None:
        Full.store(keeper, kept)
        if keeper.refused == 15:
            raise Enough

    keeper.store = store  # type: ignore[method-assign]
    with pytest.raises(Enough):
        publisher.run()
    assert len(tell) == 1 and tell[0].startswith("how far it is could not be stored: the quota is full")


def test_states_of_other_publishers_are_not_published() -> None:
    """Two publishers of one container kept each other busy for ever: each token of one was three changes for the other."""
    other, blob = (
        BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=0, uuid=each * 16)
        for each in (b"a", b"b")
    )
    told = [
        ToldChange(type="blob.put", id=other, size=300),
        ToldChange(type="name.put", name=".changes/kafka/other", id=other, size=300),
        ToldChange(type="blob.put", id=blob, size=300),
        ToldChange(type="blob.delete", id=other),
    ]
    log = Log()
    publisher = Publisher(
        brokers=lambda heard: ScriptedBroker(log, heard, random.Random(0)),
        feeds=lambda token: Pages(told, 2, token),
        keeper=Memory(),
        topic="topic",
        is_state=lambda asked: asked == other,
    )
    assert publisher.run().messages == 1 and [key for key, _ in log.messages] == [str(blob)]
