"""Pages of the feed, read ahead on a thread: one is asked for while another is published, and a wait keeps nobody."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from ambry.client.changes import NOT_ALL
from ambry.clock import SystemClock
from ambry.errors import AmbryError, Unavailable
from ambry.streams.tried_again import TriedAgain

if TYPE_CHECKING:
    from ambry.client.changes import ToldChanges

AHEAD = 4
"""Pages, of up to 1,000 blobs and names each, that are held for the publisher."""
AGAIN_S = 1.0
"""Between attempts while no frontend answers."""
_WAIT_S = 0.2

_clock = SystemClock()


class Feed(Protocol):
    """What pages are read from."""

    def next_page(self) -> ToldChanges:
        """The next one, whole."""
        ...


class PagesAhead:
    """Use it in a `with`. A feed that fails is asked again where that may help; else it raises in `get`, and so it does when it
    has failed for `give_up_after_s` (None: never). One that does not follow has failed where some changes cannot be told now.
    """

    def __init__(
        self, feed: Feed, *, follows: bool, tell: Callable[[str], None], give_up_after_s: float | None = None
    ) -> None:
        self._feed = feed
        self._give_up_after_s = math.inf if give_up_after_s is None else give_up_after_s
        self._follows = follows
        self._tell = tell
        self._pages: queue.Queue[ToldChanges | Exception] = queue.Queue(AHEAD)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="ambry-changes", daemon=True)

    def __enter__(self) -> PagesAhead:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        # It may wait for changes for 20 s; it is a daemon, holds nothing that has to be given back, and ends by itself.
        self._ended.set()

    def get(self, wait_s: float) -> ToldChanges | None:
        """The next page; None where there is none within this time. Raises what reading it raised."""
        try:
            found = self._pages.get(timeout=wait_s)
        except queue.Empty:
            return None
        if isinstance(found, Exception):
            raise found
        return found

    def _read(self) -> None:
        """Until the end, or a failure: whatever it is, the thread that publishes is told."""
        try:
            self._read_pages()
        except Exception as error:
            self._put(error)

    def _read_pages(self) -> None:
        again, answered = TriedAgain(self._tell), _clock.monotonic()
        while not self._ended.is_set():
            trouble: AmbryError | None
            try:
                page = self._feed.next_page()
            except AmbryError as error:
                trouble = error
            else:
                self._put(replace(page, at_end=page.at_end and not page.delayed))
                trouble = Unavailable(NOT_ALL) if page.delayed else None
                if not page.at_end or self._follows:
                    answered = _clock.monotonic()  # What the publisher took for it is not of the store.
                    if trouble is None:
                        again.went_well()
                    else:
                        again.failed(trouble)
                    continue
                if trouble is None:
                    return
            if not trouble.retriable or _clock.monotonic() - answered >= self._give_up_after_s:
                raise trouble
            again.failed(trouble)
            _clock.sleep(AGAIN_S)

    def _put(self, found: ToldChanges | Exception) -> None:
        while not self._ended.is_set():
            try:
                self._pages.put(found, timeout=_WAIT_S)
                return
            except queue.Full:
                continue
