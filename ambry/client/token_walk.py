"""Whether the tokens of a list, one page after the other, lead on. No I/O; of a list of any length it remembers one token."""

from __future__ import annotations


class TokenWalk:
    """Finds a walk that comes back to where it was, some pages later (Brent, An improved Monte Carlo factorization algorithm,
    BIT 20, 1980, section 2): the token that is compared is another one after 1, 2, 4, 8, ... pages."""

    def __init__(self, token: object) -> None:
        self._asked = token
        self._remembered = token
        self._left = self._power = 1

    def may_go_on(self, token: object) -> bool:
        """Whether a page may say that the next one is behind this token."""
        return isinstance(token, str) and bool(token) and token not in (self._asked, self._remembered)

    def went_on(self, token: object) -> None:
        self._asked = token
        self._left -= 1
        if not self._left:
            self._power *= 2
            self._left = self._power
            self._remembered = token
