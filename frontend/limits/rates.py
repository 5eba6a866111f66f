"""What somebody may ask for in a second."""

from __future__ import annotations

import msgspec

BURST_S = 1.0
BURST_MAX_S = 3_600.0
REQUESTS_PER_S_MIN = 1 / 86_400
"""One in a day."""
BYTES_PER_S_MIN = 1.0
PER_S_MAX = 1e15


class Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """None for no bound. They hold in a frontend: each of its processes has its share of them."""

    requests_per_s: float | None = None
    bytes_per_s: float | None = None
    """Of bodies and answers, both ways together."""
    burst_s: float | None = None
    """What may be had at once: so many seconds' worth. None: BURST_S."""

    @property
    def worth_s(self) -> float:
        """Seconds' worth that may be had at once."""
        return BURST_S if self.burst_s is None else self.burst_s

    def within(self, others: Rates) -> bool:
        """Whether they never let more through than others: no more in a second, and no more at once."""
        pairs = ((self.requests_per_s, others.requests_per_s), (self.bytes_per_s, others.bytes_per_s))
        return all(
            theirs is None or (own is not None and own <= theirs and own * self.worth_s <= theirs * others.worth_s)
            for own, theirs in pairs
        )

    def shown(self) -> str:
        """As a sentence names them."""
        told = [
            f"{name} {value:.15g}"
            for name, value in (
                ("requestsPerS", self.requests_per_s),
                ("bytesPerS", self.bytes_per_s),
                ("burstS", self.burst_s),
            )
            if value is not None
        ]
        return ", ".join(told) or "none"

    def wrong(self) -> str | None:
        """What is wrong with them, as a sentence; None where nothing is."""
        for name, bound, least, said in (
            ("requestsPerS", self.requests_per_s, REQUESTS_PER_S_MIN, "1/86400, which is one in a day,"),
            ("bytesPerS", self.bytes_per_s, BYTES_PER_S_MIN, "1"),
        ):
            if bound is not None and not least <= bound <= PER_S_MAX:
                return f"{name} is {said} to {PER_S_MAX:.0e}, or null for no bound"
        if self.burst_s is not None and not 0 < self.burst_s <= BURST_MAX_S:
            return f"burstS is more than 0 and at most {BURST_MAX_S:.0f} seconds, or null for {BURST_S:.0f}"
        return None


UNBOUNDED = Rates()


class ChangedRates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What is said of rates that change: what is left out stays, None takes a bound off."""

    requests_per_s: float | msgspec.UnsetType | None = msgspec.UNSET
    bytes_per_s: float | msgspec.UnsetType | None = msgspec.UNSET
    burst_s: float | msgspec.UnsetType | None = msgspec.UNSET

    def of(self, before: Rates) -> Rates:
        """What becomes of them."""
        said = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not msgspec.UNSET}
        return msgspec.structs.replace(before, **said)
