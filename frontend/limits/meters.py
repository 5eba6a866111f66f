"""Who asks for how much: a meter for each key, and for each address of those without one.

A request takes its place in the rate of requests before anything else is done for it, and is refused where there is none. Bytes
are counted as they pass: a stream is slowed down, and a request is refused while more than PATIENCE_S of bytes wait before it.
A key that shares the limits of others (frontend/access/sharing.py) takes of theirs too, all of them or none.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Iterable, Mapping
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

    __slots__ = ("_bytes", "_now", "_requests", "_shared", "bounded", "key", "known", "slows", "tally", "whose")

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
        self.known: Mapping[str, Any] | None = None
        """The keys that there were when it was last found whose limits are shared."""
        self.share(())

    def share(self, others: Iterable[Meter]) -> None:
        """From now on take of these as well, which share with nobody for its sake."""
        self._shared = tuple(other for other in others if other._bytes is not None or other._requests is not None)
        self.slows = self._bytes is not None or any(other._bytes is not None for other in self._shared)
        """Whether bytes are counted."""
        self.bounded = self.slows or self._requests is not None or bool(self._shared)

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
        wait_s = self._until(now)
        for other in self._shared:
            wait_s = max(wait_s, other._until(now))
        if wait_s:
            return wait_s
        for each in (self, *self._shared):
            if each._requests is not None:
                each._requests.take(1.0, now)
        return 0.0

    def _until(self, now: float) -> float:
        """The seconds until there is a place for a request, of its own alone."""
        if self._bytes is not None:
            wait_s = self._bytes.wait_s(now)
            if wait_s > PATIENCE_S:
                return wait_s - PATIENCE_S
        return 0.0 if self._requests is None else self._requests.until(1.0, now)

    def behind(self) -> str:
        """Who has no place for a request now, as a sentence names them."""
        now = self._now()
        if not self._shared or self._until(now):
            return f"{self.whose} asks for more in a second than its limits are"
        longest = max(self._shared, key=lambda other: other._until(now))
        return f"{self.whose} shares the limits of {longest.whose}, and together they ask for more in a second"

    def reserve(self, size: int) -> float:
        """Count so many bytes; the seconds until they may pass."""
        now = self._now()
        wait_s = 0.0 if self._bytes is None else self._bytes.reserve(size, now)
        for other in self._shared:
            if other._bytes is not None:
                wait_s = max(wait_s, other._bytes.reserve(size, now))
        return wait_s

    def wait_s(self) -> float:
        """Seconds until all bytes that were counted may pass."""
        now = self._now()
        return max((each._bytes.wait_s(now) for each in (self, *self._shared) if each._bytes is not None), default=0.0)


Sharers = Callable[[str, Any, Mapping[str, Any]], Iterable[tuple[str, Any, Rates]]]
"""Of a key, by its id, its row and all there are: ids, rows (None: it is gone) and limits of those whose limits it shares."""
_NO_KEYS: Mapping[str, Any] = {}


def _no_keys() -> Mapping[str, Any]:
    return _NO_KEYS


def _nobody(id: str, key: Any, keys: Mapping[str, Any]) -> Iterable[tuple[str, Any, Rates]]:
    return ()


class Meters:
    """All of one process."""

    def __init__(
        self,
        *,
        now: Callable[[], float],
        share: float = 1.0,
        anonymous: Rates = UNBOUNDED,
        keys: Callable[[], Mapping[str, Any]] = _no_keys,
        sharers: Sharers = _nobody,
    ) -> None:
        """`now` is monotonic, seconds. `anonymous` are the rates of an address from which somebody asks without a key.

        `keys` gives all keys by id, another mapping after every change; `sharers` tells whose limits one of them shares.
        """
        self._now = now
        self._keys = keys
        self._sharers = sharers
        self._share = share
        self._anonymous = anonymous
        self._bounds_addresses = anonymous.requests_per_s is not None or anonymous.bytes_per_s is not None
        self._by_key: dict[str, Meter] = {}
        self._of_gone: dict[str, Meter] = {}
        """Of keys that are gone, whose limits others share."""
        self._by_address: dict[str, Meter] = {}
        self.tallies: dict[str, UseTally] = {}
        """By the id of a key; empty for those without one."""

    def of(self, who: Who, client: str) -> Meter:
        """The meter of somebody; `client` is the address that they come from."""
        meter = self._by_key.get(who.id)
        if meter is None or meter.key is not who.key:
            meter = self._made(who.id, who.key)
        if meter.known is not self._keys():
            self._find_sharers(meter, who)
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
            raise RateLimited(f"{meter.behind()}; come back in {come_back_s} s", retry_after_s=come_back_s)
        return meter

    def _made(self, id: str, key: Any) -> Meter:
        """The meter of a key that has none yet, or other limits than it had."""
        rates: Rates = UNBOUNDED if key is None else key.limits
        before = self._by_key.get(id)
        whose = f"the key {id}" if id else "who asks"
        made = Meter(whose, rates, self._share, self._now, self.tally(id), key)
        if before is not None and before.key is not None:
            made.go_on_with(before)  # another row of the same key
        if len(self._by_key) >= KEYS_MAX:
            self._by_key.clear()
        self._by_key[id] = made
        return made

    def _find_sharers(self, meter: Meter, who: Who) -> None:
        """Have a meter take of those whose limits its key shares, as they are now."""
        known = self._keys()
        if who.key is not None:
            meter.share([self._shared(*each) for each in self._sharers(who.id, who.key, known)])
        meter.known = known

    def _shared(self, id: str, key: Any, limits: Rates) -> Meter:
        """The meter of a key whose limits are shared."""
        if key is not None:
            meter = self._by_key.get(id)
            return meter if meter is not None and meter.key is key else self._made(id, key)
        gone = self._of_gone.get(id)
        if gone is None:
            if len(self._of_gone) >= KEYS_MAX:
                self._of_gone.clear()
            gone = Meter(f"the key {id}, which is gone,", limits, self._share, self._now, UseTally())
            before = self._by_key.get(id)
            if before is not None:
                gone.go_on_with(before)
            self._of_gone[id] = gone
        return gone

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
