"""Pages of the feed, read ahead on a thread: one is asked for while another is published, and a wait keeps nobody."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ambry.clock import SystemClock
from ambry.errors import AmbryError

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
    """Use it in a `with`. A feed that fails is asked again where it `follows` and that may help; else it raises in `get`, and
    so it does when it has failed for `give_up_after_s` (None: never).
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
        answered = _clock.monotonic()
        while not self._ended.is_set():
            found: ToldChanges | Exception
            try:
                found = self._feed.next_page()
                answered = _clock.monotonic()
            except AmbryError as error:
                if self._follows and error.retriable and _clock.monotonic() - answered < self._give_up_after_s:
                    self._tell(f"{error}; it is tried again")
                    _clock.sleep(AGAIN_S)
                    continue
                found = error
            except Exception as error:  # Whatever it is, the thread that publishes is told.
                found = error
            self._put(found)
            if isinstance(found, Exception) or (found.at_end and not self._follows):
                return

    def _put(self, found: ToldChanges | Exception) -> None:
        while not self._ended.is_set():
            try:
                self._pages.put(found, timeout=_WAIT_S)
                return
            except queue.Full:
                continue
