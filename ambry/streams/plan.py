"""What a publisher may do next: how much more may be sent, and which token may be kept. It asks and waits for nobody.

Pages are told one after the other; the broker acknowledges messages in any order. A token is `covered` when every message
before it is acknowledged. Two bounds: of messages that are not acknowledged (memory), and of those that lie beyond the token
that is kept (what comes again after a kill).

Invariant: the token of `covered` has no message before it that the broker did not acknowledge.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ambry.errors import InvariantBroken

IN_FLIGHT_MAX = 10_000
"""Messages that the broker has not acknowledged."""
REPEATS_MAX = 20_000
"""Messages beyond the token that is kept: so many may come again."""
KEEP_EVERY_S = 1.0
"""Between two tokens that are kept."""
KEEP_QUIET_S = 600.0
"""The same where nothing was published: a token that is very old costs its reader time."""
NOW = "now"
TELL_AFTER_S = 5.0
"""Without an acknowledgement that is waited for: somebody is told."""
GIVE_UP_AFTER_S = 60.0
"""The same, for a publisher that does not follow."""
LOOK_EVERY_S = 1.0
"""Between two questions whether the topic is the one that it was."""
UNANSWERED_S = 15.0
"""After which such a question is asked anew."""
OTHER_FOR_S = 5.0
"""Brokers learn at different times of a topic that was made: it is another one where that is said for so long."""


@dataclass(frozen=True, slots=True)
class Covered:
    """A token, and the number of messages before it, of all runs."""

    token: str
    sequence: int


@dataclass(slots=True)
class _Page:
    token: str
    end: int
    """The sequence behind its last message."""
    left: int


class PublishProgress:
    """Of one run, which begins where the token that was kept says."""

    def __init__(self, kept: Covered, now_s: float) -> None:
        self.covered = kept
        self.kept = kept
        self.sequence = kept.sequence
        """Of the next message."""
        self.in_flight = 0
        self._pages: deque[_Page] = deque()
        self._kept_at = now_s
        self._moved_at = now_s

    def has_room(self, count: int) -> bool:
        """Whether so many messages may be sent now. One page always may where nothing waits."""
        if not self.in_flight and self.sequence == self.kept.sequence:
            return True
        return self.in_flight + count <= IN_FLIGHT_MAX and self.sequence + count - self.kept.sequence <= REPEATS_MAX

    def take(self, token: str, count: int, now_s: float) -> range:
        """The sequences of a page's messages, which are sent now; `token` is the one behind it."""
        first = self.sequence
        self.sequence += count
        if not self.in_flight:
            self._moved_at = now_s
        self.in_flight += count
        self._pages.append(_Page(token, self.sequence, count))
        self._cover()
        return range(first, self.sequence)

    def acknowledge(self, sequence: int, now_s: float) -> None:
        """The broker has this message."""
        page = next((each for each in self._pages if sequence < each.end), None)
        if page is None or not page.left:
            raise InvariantBroken(f"message {sequence} was acknowledged, and none of its page was waited for")
        page.left -= 1
        self.in_flight -= 1
        self._moved_at = now_s
        self._cover()

    def to_keep(self, now_s: float, *, at_once: bool = False) -> Covered | None:
        """What is to be kept now, if anything: not more often than every KEEP_EVERY_S, unless it is wanted at once.

        A token behind which nothing was published is worth a write now and then alone: that is a change of its own. But
        `now` is another moment for the next run, and is replaced by the first token that comes.
        """
        if self.covered.token == self.kept.token:
            return None
        if self.covered.sequence == self.kept.sequence and self.kept.token != NOW:
            return self.covered if now_s - self._kept_at >= KEEP_QUIET_S else None
        half_full = self.covered.sequence - self.kept.sequence >= REPEATS_MAX // 2
        return self.covered if at_once or half_full or now_s - self._kept_at >= KEEP_EVERY_S else None

    def keep(self, kept: Covered, now_s: float) -> None:
        """It is durable."""
        self.kept = kept
        self._kept_at = now_s

    def not_now(self, now_s: float) -> None:
        """It could not be kept; tried again a moment later."""
        self._kept_at = now_s

    def silent_s(self, now_s: float) -> float:
        """How long the broker has acknowledged nothing, though something is waited for."""
        return now_s - self._moved_at if self.in_flight else 0.0

    def _cover(self) -> None:
        while self._pages and not self._pages[0].left:
            page = self._pages.popleft()
            self.covered = Covered(page.token, page.end)


class TopicWatch:
    """Whether the topic is the one that a run began on: one that was deleted took with it what was acknowledged, and messages
    go on to one of the same name that was made since.
    """

    def __init__(self, topic_id: str) -> None:
        self._topic_id = topic_id
        self._asked_at: float | None = None
        self._answered = True
        self._same_at: float | None = None
        self._other_since: float | None = None

    def asks(self, now_s: float) -> bool:
        """Whether it is to be asked now; then it was."""
        due = self._asked_at is None or now_s - self._asked_at >= (LOOK_EVERY_S if self._answered else UNANSWERED_S)
        if due:
            self._asked_at, self._answered = now_s, False
        return due

    def ask_at_once(self) -> None:
        """What was asked before now does not count."""
        self._asked_at = None

    def is_other(self, found: str, now_s: float) -> bool:
        """Whether this answer, with those before it, says for sure that the topic is gone, or another one."""
        self._answered = True
        if found == self._topic_id:
            self._same_at, self._other_since = self._asked_at, None
            return False
        self._other_since = now_s if self._other_since is None else self._other_since
        return now_s - self._other_since >= OTHER_FOR_S

    def is_same_since(self, at_s: float) -> bool:
        """Whether a question that was asked then, or later, was answered with the topic."""
        return self._same_at is not None and self._same_at >= at_s
