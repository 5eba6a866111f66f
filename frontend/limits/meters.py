"""Who asks for how much: a meter for each key, and for each address of those without one.

A request takes its place in the rate of requests before anything else is done for it, and is refused where there is none. Bytes
are counted as they pass: a stream is slowed down, and a request is refused while more than PATIENCE_S of bytes wait before it.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from typing import Any

from ambry.errors import RateLimited
from frontend.limits.bucket import Bucket
from frontend.limits.rates import BYTES_PER_S_MIN, REQUESTS_PER_S_MIN, UNBOUNDED, Rates
from frontend.who import Who

PATIENCE_S = 1.0
"""A request is let in while those before it want no more than so many seconds' worth of bytes."""
ADDRESSES_MAX = 4_096
"""Clients without a key that are told apart; beyond that the one who was first seen begins anew."""
KEYS_MAX = 16_384
COME_BACK_MAX_S = 86_400
"""What somebody who is refused is told to wait at most, however long it is until there is a place."""
PIECE_BYTES = 64 << 10
"""A stream that is slowed goes on by so much at a time."""
_NETWORK_BITS = 64
"""What one customer has of IPv6 at least: all its addresses are one."""


class UseTally:
    """What was asked for since this was last taken."""

    __slots__ = ("bytes_in", "bytes_out", "refused", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.refused = 0
        """Of them, those that were answered 401, 403 or 429."""
        self.bytes_in = 0
        self.bytes_out = 0

    def add(self, received: int, sent: int, *, refused: bool) -> None:
        """One request more, with the bytes of its body and its answer."""
        self.requests += 1
        self.bytes_in += received
        self.bytes_out += sent
        if refused:
            self.refused += 1

    def take(self) -> tuple[int, int, int, int]:
        """Requests, those that were refused, bytes in and out; it begins anew."""
        taken = (self.requests, self.refused, self.bytes_in, self.bytes_out)
        self.requests = self.refused = self.bytes_in = self.bytes_out = 0
        return taken


class Meter:
    """One of them."""

    __slots__ = ("_bytes", "_now", "_requests", "bounded", "key", "slows", "tally", "whose")

    def __init__(
        self, whose: str, rates: Rates, share: float, now: Callable[[], float], tally: UseTally, key: Any = None
    ) -> None:
        """`share` of the rates is this process's; `key` is what they were taken from."""
        self.whose = whose
        self.key = key
        self.tally = tally
        self._now = now
        began, worth_s = now(), rates.worth_s
        self._requests: Bucket | None = None
        if rates.requests_per_s is not None:
            rate = max(rates.requests_per_s, REQUESTS_PER_S_MIN) * share  # a row may be older than the least there is
            self._requests = Bucket(rate, max(1.0, rate * worth_s), began)
        self._bytes: Bucket | None = None
        if rates.bytes_per_s is not None:
            rate = max(rates.bytes_per_s, BYTES_PER_S_MIN) * share
            self._bytes = Bucket(rate, rate * worth_s, began)
        self.slows = self._bytes is not None
        """Whether bytes are counted."""
        self.bounded = self.slows or self._requests is not None

    def go_on_with(self, other: Meter) -> None:
        """What was used of another one's rates stays used, and what still passes by that one counts here too."""
        self._requests = self._changed(other._requests, self._requests)
        self._bytes = self._changed(other._bytes, self._bytes)

    def _changed(self, before: Bucket | None, after: Bucket | None) -> Bucket | None:
        if before is None or after is None:
            return after
        before.change(after.rate, after.burst, self._now())
        return before

    def begin(self) -> float:
        """Take the place of one request, and return 0; else the seconds until there is one."""
        now = self._now()
        if self._bytes is not None:
            level = self._bytes.level(now)
            if level < 0:
                wait_s = -level / self._bytes.rate
                if wait_s > PATIENCE_S:
                    return wait_s - PATIENCE_S
        return 0.0 if self._requests is None else self._requests.take(1.0, now)

    def reserve(self, size: int) -> float:
        """Count so many bytes; the seconds until they may pass."""
        return 0.0 if self._bytes is None else self._bytes.reserve(size, self._now())

    def wait_s(self) -> float:
        """Seconds until all bytes that were counted may pass."""
        return 0.0 if self._bytes is None else self._bytes.wait_s(self._now())


class Meters:
    """All of one process."""

    def __init__(self, *, now: Callable[[], float], share: float = 1.0, anonymous: Rates = UNBOUNDED) -> None:
        """`now` is monotonic, seconds. `anonymous` are the rates of an address from which somebody asks without a key."""
        self._now = now
        self._share = share
        self._anonymous = anonymous
        self._bounds_addresses = anonymous.requests_per_s is not None or anonymous.bytes_per_s is not None
        self._by_key: dict[str, Meter] = {}
        self._by_address: dict[str, Meter] = {}
        self.tallies: dict[str, UseTally] = {}
        """By the id of a key; empty for those without one."""

    def of(self, who: Who, client: str) -> Meter:
        """The meter of somebody; `client` is the address that they come from."""
        meter = self._by_key.get(who.id)
        if meter is None or meter.key is not who.key:
            meter = self._made(who, meter)
        if self._bounds_addresses and not who.known:
            return self._at(client)
        return meter

    def admitted(self, who: Who, client: str) -> Meter | None:
        """The same, and a request of theirs has its place; None where there is none now."""
        meter = self.of(who, client)
        return None if meter.bounded and meter.begin() else meter

    def admit(self, who: Who, client: str) -> Meter:
        """The same. Raises RateLimited, which says when there is one."""
        meter = self.of(who, client)
        wait_s = meter.begin() if meter.bounded else 0.0
        if wait_s:
            come_back_s = math.ceil(min(wait_s, COME_BACK_MAX_S))
            raise RateLimited(
                f"{meter.whose} asks for more in a second than its limits are; come back in {come_back_s} s",
                retry_after_s=come_back_s,
            )
        return meter

    def _made(self, who: Who, before: Meter | None) -> Meter:
        """The meter of a key that has none yet, or other limits than it had."""
        rates: Rates = UNBOUNDED if who.key is None else who.key.limits
        whose = f"the key {who.id}" if who.id else "who asks"
        made = Meter(whose, rates, self._share, self._now, self.tally(who.id), who.key)
        if before is not None and before.key is not None:
            made.go_on_with(before)  # another row of the same key
        if len(self._by_key) >= KEYS_MAX:
            self._by_key.clear()
        self._by_key[who.id] = made
        return made

    def _at(self, client: str) -> Meter:
        address = network_of(client)
        meter = self._by_address.get(address)
        if meter is None:
            if len(self._by_address) >= ADDRESSES_MAX:
                del self._by_address[next(iter(self._by_address))]
            meter = Meter(f"whoever asks from {address}", self._anonymous, self._share, self._now, self.tally(""))
            self._by_address[address] = meter
        return meter

    def forget(self, id: str) -> None:
        """A key is gone; a request of it that is under way may bring it back for a while."""
        self._by_key.pop(id, None)
        self.tallies.pop(id, None)

    def tally(self, id: str) -> UseTally:
        found = self.tallies.get(id)
        if found is None:
            found = self.tallies[id] = UseTally()
        return found


def network_of(address: str) -> str:
    """Of an address what one customer has: all of IPv4, half of IPv6."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, _NETWORK_BITS), strict=False))
