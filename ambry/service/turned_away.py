"""Saying who was turned away in a handshake, and why: each a line, and of a flood a few lines that tell how many there were."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from ambry.service.logs import get_logger

log = get_logger()

LINES_AT_ONCE = 20
LINES_PER_S = 1.0


class TurnedAway:
    """Those of one port. `who` is what they are taken for; `now` gives seconds that never go back."""

    def __init__(self, who: str, now: Callable[[], float], *, over: str = "in its handshake") -> None:
        self._event = f"{who} was turned away {over}"
        self._now = now
        self._lines = float(LINES_AT_ONCE)
        """That may be written now."""
        self._at = now()
        self._untold = 0

    def say(self, client: str, error: OSError) -> None:
        """A handshake failed."""
        self.tell(client, why(error))

    def tell(self, client: str, reason: str) -> None:
        now = self._now()
        self._lines = min(LINES_AT_ONCE, self._lines + (now - self._at) * LINES_PER_S)
        self._at = now
        if self._lines < 1:
            self._untold += 1
            return
        self._lines -= 1
        untold, self._untold = self._untold, 0
        more = {"untold": untold} if untold else {}
        log.warning(self._event, client=client, error=reason, **more)


def why(error: OSError) -> str:
    """What was wrong with a handshake, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if not isinstance(error, ssl.SSLError):
        return str(error) or "the connection ended in its handshake"
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "did not return a certificate" in reason:
        return "it shows no certificate"
    if "alert" in reason:
        return f"it refuses what is shown here: {reason}"
    if "http request" in reason or "wrong version number" in reason:
        return f"it speaks no TLS: {reason}"
    return f"no TLS that is spoken here: {reason}"
