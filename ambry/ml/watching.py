"""What moves in the store is followed by a thread: the version that an alias points to, or the newest one of a dataset."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeVar

from ambry.client.refs import VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.clock import SystemClock
from ambry.errors import InvalidRequest
from ambry.ml.places import shown_version

BROKEN_S = 60.0
"""The longest time until a version that could not be opened is tried again."""

_CLOCK = SystemClock()
_log = logging.getLogger("ambry.ml")


class RepeatedWork:
    """Calls `work` every `every_s` seconds on a thread of its own, the first time after that. Close it.

    An exception of any kind is `error` until `work` succeeds; a warning tells of one that was not there the time before, and
    the log tells that it works again.
    """

    def __init__(
        self,
        work: Callable[[], object],
        every_s: float,
        *,
        name: str,
        more: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        """`name` is the thread's; `more` is what a warning tells besides. Raises InvalidRequest."""
        self.every_s = check_seconds(every_s)
        self.error: Exception | None = None
        self._work = work
        self._name = name
        self._more = more
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)
        self._thread.start()

    def soon(self) -> None:
        """Call `work` now, or once more when it is done."""
        self._wake.set()

    def close(self, wait_s: float | None = None) -> bool:
        """End the thread, when it has done what it is at; whether it has, after at most so many seconds."""
        self._closed = True
        self._wake.set()
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _repeat(self) -> None:
        while True:
            self._wake.wait(self.every_s)
            self._wake.clear()
            if self._closed:
                return
            try:
                self._work()
            except Exception as error:
                # Of whatever kind: `work` runs what others wrote, and the thread has to go on.
                if repr(error) != repr(self.error):
                    said = f"{type(error).__name__}: {error}"
                    told = {"work": self._name, "error": said, **self._more()}
                    # Without a handler of the user's the message alone is on their terminal.
                    _log.warning("%s failed, and is tried again: %s", self._name, said, extra=told)
                self.error = error
            else:
                if self.error is not None:
                    _log.info("works again", extra={"work": self._name, **self._more()})
                self.error = None


class _Versioned(Protocol):
    @property
    def version(self) -> str: ...


T = TypeVar("T", bound=_Versioned)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Broken:
    """A version that could not be opened."""

    version: str
    error: Exception
    wait_s: float
    again_at: float
    """By the monotonic clock."""


class VersionWatch(Generic[T]):
    """`current` is what a place (an alias, or the newest version) was when it was last looked at.

    A thread of its own asks every `poll_s` seconds, one small request; another version is opened and then becomes `current`.
    While the store does not answer, or that version cannot be opened, the last good one stays and `error` says why. What could
    not be opened is tried again after twice as long each time, up to BROKEN_S, and at once where the place moves on. Close it,
    or use it in a `with`.
    """

    def __init__(
        self, client: AmbryClient, place: VersionRef, opened: Callable[[VersionRef], T], *, poll_s: float, name: str
    ) -> None:
        """`opened` is the version that the place is now, ready to be used. Raises what it raises."""
        check_seconds(poll_s)
        self._client = client
        self._place = place
        self._opened = opened
        self._broken: _Broken | None = None
        self._moved = threading.Condition()
        self._looking = threading.Lock()
        self.current = opened(replace(place, version=client.head(place).version))
        self._repeated = RepeatedWork(self.look, poll_s, name=name, more=self._serving)

    @property
    def error(self) -> Exception | None:
        """Why `current` may not be what is there now."""
        return self._repeated.error

    def wait(self, version: str, timeout_s: float) -> bool:
        """Whether `current` is of this version, at the latest after so many seconds."""
        with self._moved:
            return self._moved.wait_for(lambda: self.current.version == version, timeout_s)

    def look(self) -> T:
        """Look now, or when who is looking is done. Raises what the store or opening raises; `current` stays as it is then."""
        # Who asked earlier and opened for longer would put an older version in the place of a newer one.
        with self._looking:
            return self._look()

    def _look(self) -> T:
        version = self._client.head(self._place).version
        if version == self.current.version:
            self._broken = None
            return self.current
        broken = self._broken if self._broken is not None and self._broken.version == version else None
        if broken is not None and _CLOCK.monotonic() < broken.again_at:
            raise broken.error
        try:
            # By its number: the place may be elsewhere by now, and what was there before is not opened again.
            found = self._opened(replace(self._place, version=version))
        except Exception as error:
            wait_s = min(BROKEN_S, 2 * (broken.wait_s if broken is not None else self._repeated.every_s))
            self._broken = _Broken(version=version, error=error, wait_s=wait_s, again_at=_CLOCK.monotonic() + wait_s)
            raise
        self._broken = None
        with self._moved:
            before, self.current = self.current, found
            self._moved.notify_all()
        _log.info(
            "followed",
            extra={
                "place": shown_version(self._place),
                "before": before.version,
                "version": found.version,
                **self.told_of(found),
            },
        )
        return found

    def told_of(self, found: T) -> dict[str, Any]:
        """What the log tells of a version besides its number."""
        return {}

    def _serving(self) -> dict[str, object]:
        broken = {"broken": self._broken.version} if self._broken is not None else {}
        return {"place": shown_version(self._place), **broken, "stays": self.current.version}

    def close(self) -> None:
        """Stop following; `current` stays usable."""
        self._repeated.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_seconds(seconds: float) -> float:
    """Raises InvalidRequest."""
    if not 0 < seconds < math.inf:
        raise InvalidRequest(f"the time between two looks (poll_s) is a number of seconds above 0, not {seconds!r}")
    return seconds
