"""What fails and is tried again is told once, and not with each attempt."""

from __future__ import annotations

import re
from collections.abc import Callable

from ambry.errors import AmbryError

_NUMBERS = re.compile(r"\d+")


class TriedAgain:
    """Of one kind of calls. The same is not told again until one `went_well`, or another error was told: errors are the same
    whatever numbers they say, of requests, bytes and seconds.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._said = ""

    def failed(self, error: AmbryError, before: str = "") -> None:
        said = _NUMBERS.sub("0", f"{before}{error.message}")
        if said != self._said:
            self._said = said
            self._tell(f"{before}{error}; it is tried again")

    def went_well(self) -> None:
        self._said = ""
