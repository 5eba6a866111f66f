"""Publishes the changes of a container: reads pages ahead, sends them, and keeps the token behind what was acknowledged.

What a kill leaves is the token that was kept last: the next run publishes again what lies behind it, at most REPEATS_MAX
messages, in the same order for each key and with the same `ambry-change`. A message that fails ends the run, since a later one
of its key must not be there before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

from ambry.client.changes import RESTARTED, SINCE_WORDS, ToldChange, ToldChanges, naming_since, naming_state
from ambry.clock import SystemClock, system_random
from ambry.errors import AmbryError, Unavailable, must_have
from ambry.ids import BlobId
from ambry.streams.messages import ChangeMessage, message_of, without_own
from ambry.streams.other_states import OtherStates
from ambry.streams.pages import Feed, PagesAhead
from ambry.streams.plan import GIVE_UP_AFTER_S, TELL_AFTER_S, PublishProgress, TopicWatch
from ambry.streams.state import Keeper, Overtaken, PublisherState, begin, gone
from ambry.streams.tried_again import TriedAgain

T = TypeVar("T")

POLL_S = 0.02
"""How long an acknowledgement may lie unheard while no page comes."""


class Broker(Protocol):
    """What messages are given to; see KafkaBroker."""

    trouble: str

    def topic(self, within_s: float) -> tuple[str, str]: ...

    def send(self, message: ChangeMessage, sequence: int, epoch: bytes) -> None: ...

    def poll(self, wait_s: float) -> None: ...

    def ask(self) -> None: ...

    def told(self) -> str | None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a run did: the messages that were acknowledged, and the token behind them, which is kept."""

    messages: int
    token: str


class Publisher:
    """One run. `brokers` makes what messages are given to, given who hears acknowledgements; `feeds` a feed from a token.

    It is given up when Kafka or the store have not answered for `give_up_after_s` (None: never).
    """

    def __init__(
        self,
        *,
        brokers: Callable[[Callable[[int], None]], Broker],
        feeds: Callable[[str], Feed],
        keeper: Keeper,
        topic: str,
        since: str = "beginning",
        follow: bool = False,
        give_up_after_s: float | None = GIVE_UP_AFTER_S,
        tell: Callable[[str], None] = lambda text: None,
        is_state: Callable[[BlobId], bool] = lambda blob: False,
        clock: SystemClock | None = None,
    ) -> None:
        self._brokers = brokers
        self._feeds = feeds
        self._keeper = keeper
        self._topic = topic
        self._since = since
        self._follow = follow
        self._give_up_after_s = give_up_after_s
        self._tell = tell
        self._clock = clock or SystemClock()
        self._progress: PublishProgress | None = None
        self._kept: PublisherState | None = None
        self._watch = TopicWatch("")
        self._told_silence = False
        self._sent_from = 0
        self._other_states = OtherStates(is_state)
        self._again = TriedAgain(tell)
        self._not_kept_since: float | None = None

    def run(self) -> Published:
        """Until there is no more, or with `follow` until it is interrupted; what was acknowledged by then is kept.

        Raises Overtaken, Unavailable, AccessDenied, InvalidRequest, AmbryError of the store.
        """
        broker = self._brokers(self._acknowledged)
        try:
            cluster, topic_id = self._patiently(broker.topic)
            self._watch = TopicWatch(topic_id)
            # Each call of it is of this run: one that seemed to fail may take effect later.
            first = partial(
                begin,
                self._keeper,
                run=system_random().randbytes(8).hex(),
                cluster=cluster,
                topic=self._topic,
                topic_id=topic_id,
                since=self._since,
                check=self._check_first,
            )
            kept = self._patiently(lambda _: first())
            self._kept = kept
            self._sent_from = kept.sequence
            self._progress = PublishProgress(kept.covered, self._clock.monotonic())
            with self._pages(kept.token) as pages:
                self._publish_and_keep(broker, pages)
        finally:
            broker.close()
        progress = must_have(self._progress, "progress")
        return Published(messages=progress.covered.sequence - self._sent_from, token=progress.covered.token)

    def _check_first(self, token: str) -> None:
        """Raises what the store has against a token before it is kept: no other one would be taken in its place then."""
        if token not in SINCE_WORDS:
            with naming_since():
                self._feeds(token).next_page()

    def _pages(self, token: str) -> PagesAhead:
        with naming_state(self._keeper):
            feed = self._feeds(token)
        return PagesAhead(feed, follows=self._follow, tell=self._tell, give_up_after_s=self._give_up_after_s)

    def _publish_and_keep(self, broker: Broker, pages: PagesAhead) -> None:
        try:
            self._publish(broker, pages)
        except Overtaken:
            raise
        except BaseException:
            # Whatever ended it, an interruption first of all: what comes again is less by what can be kept now.
            with suppress(AmbryError, OSError):
                self._keep(at_once=True)
            raise
        self._keep(at_once=True)

    def _publish(self, broker: Broker, pages: PagesAhead) -> None:
        progress = must_have(self._progress, "progress")
        ended = False
        while not (ended and not progress.in_flight):
            page = None
            if ended:
                broker.poll(POLL_S)
            else:
                with naming_state(self._keeper):
                    page = pages.get(POLL_S)
                broker.poll(0)
            if page is not None:
                self._send(broker, page)
                ended = page.at_end and not self._follow
            self._keep()
            self._look_at_kafka(broker)
        if progress.sequence > self._sent_from:
            self._look_at_last(broker)

    def _send(self, broker: Broker, page: ToldChanges) -> None:
        progress = must_have(self._progress, "progress")
        if any(each.type == RESTARTED for each in page.changes):
            self._tell("the feed begins again in part: changes that were published before come again")
        messages = self._messages(page.changes)
        while not progress.has_room(len(messages)):
            broker.poll(POLL_S)
            self._keep()
            self._look_at_kafka(broker)
        epoch = b"%d" % must_have(self._kept, "state").epoch
        sequences = progress.take(page.token, len(messages), self._clock.monotonic())
        for sequence, message in zip(sequences, messages, strict=True):
            broker.send(message, sequence, epoch)

    def _messages(self, changes: tuple[ToldChange, ...]) -> list[ChangeMessage]:
        told = without_own(changes, self._keeper.name, self._keeper.own)
        told = self._other_states.without(told)
        return [message for each in told if (message := message_of(each)) is not None]

    def _acknowledged(self, sequence: int) -> None:
        must_have(self._progress, "progress").acknowledge(sequence, self._clock.monotonic())
        if self._told_silence:
            self._told_silence = False
            self._tell("Kafka answers again")

    def _keep(self, *, at_once: bool = False) -> None:
        """Keep the token, if it is time. While the store does not answer publishing goes on as far as its bound."""
        progress, kept = must_have(self._progress, "progress"), must_have(self._kept, "state")
        now = self._clock.monotonic()
        wanted = progress.to_keep(now, at_once=at_once)
        if wanted is None:
            return
        new = replace(kept, token=wanted.token, sequence=wanted.sequence)
        try:
            self._keeper.store(new)
        except AmbryError as error:
            now = self._clock.monotonic()
            if at_once or not error.retriable or self._is_too_long(now - (self._not_kept_since or now)):
                raise
            self._not_kept_since = self._not_kept_since or now
            self._again.failed(error, "how far it is could not be stored: ")
            progress.not_now(self._clock.monotonic())
            return
        self._again.went_well()
        self._kept, self._not_kept_since = new, None
        progress.keep(wanted, self._clock.monotonic())

    def _look_at_kafka(self, broker: Broker) -> None:
        broker.poll(0)  # What was waited for in the store is no silence of Kafka's.
        self._look_at_topic(broker)
        self._look_at_silence(broker)

    def _look_at_topic(self, broker: Broker) -> None:
        """Raises InvalidRequest where what was published went with its topic. It is asked beside all else: nobody waits."""
        now = self._clock.monotonic()
        if self._watch.asks(now):
            broker.ask()
        found = broker.told()
        if found is not None and self._watch.is_other(found, now):
            what = "deleted and made again" if found else "deleted"
            published = must_have(self._progress, "progress").covered.sequence
            raise gone(self._topic, f"{what} while this publisher ran", published)

    def _look_at_last(self, broker: Broker) -> None:
        """Behind the last acknowledgement: whoever is told of success has it all on the topic."""
        self._watch.ask_at_once()
        began = self._clock.monotonic()
        while not self._watch.is_same_since(began):
            broker.poll(POLL_S)
            self._look_at_topic(broker)
            if self._is_too_long(self._clock.monotonic() - began):
                why = f" ({broker.trouble})" if broker.trouble else ""
                raise Unavailable(
                    f"Kafka does not say whether topic {self._topic} is there still{why}; the same command goes on where it was"
                )

    def _look_at_silence(self, broker: Broker) -> None:
        progress = must_have(self._progress, "progress")
        silent_s = progress.silent_s(self._clock.monotonic())
        if silent_s >= TELL_AFTER_S and not self._told_silence:
            self._told_silence = True
            self._tell(f"{self._silence(broker, silent_s)}; it is tried again")
        if self._is_too_long(silent_s):
            raise Unavailable(f"{self._silence(broker, silent_s)}; the same command goes on where it was")

    def _silence(self, broker: Broker, silent_s: float) -> str:
        waiting = must_have(self._progress, "progress").in_flight
        why = f" ({broker.trouble})" if broker.trouble else ""
        return f"Kafka has acknowledged nothing for {silent_s:.0f} s, and {waiting:,} changes wait{why}"

    def _is_too_long(self, seconds: float) -> bool:
        return self._give_up_after_s is not None and seconds >= self._give_up_after_s

    def _patiently(self, call: Callable[[float], T]) -> T:
        """What a call gives that may fail at first: until it is given up. It is told what is left, in seconds, at least one."""
        began = self._clock.monotonic()
        while True:
            spent_s = self._clock.monotonic() - began
            try:
                return call(math.inf if self._give_up_after_s is None else max(1.0, self._give_up_after_s - spent_s))
            except AmbryError as error:
                if not error.retriable or self._is_too_long(self._clock.monotonic() - began):
                    raise
                self._again.failed(error)
            self._clock.sleep(1.0)
