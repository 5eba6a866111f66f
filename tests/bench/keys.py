"""What knowing a key costs a request: whose it is, and whether it may, as the short ways ask (frontend/rest/short_read.py).

    python -m tests.bench.keys

In one process, without network: microseconds of processor time of a request, the best and the median of many batches, for no
key, one that stands in the configuration, and one with nine grants and a time to live; and what a key's first request takes
after any key was changed. The bar is 3 us for what was verified before.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from ambry.clock import SystemClock
from ambry.rest.access import Grant, Role, hash_of
from frontend.access.key_rows import StoredKey
from frontend.access.verified import Access, trusting
from tests.support.access import bearer, fresh_key, root_line
from tests.support.fake_cluster import some_container

BATCH = 2_000
BATCHES = 200
REQUEST_US_MAX = 3.0


def us_of(work: Callable[[], object], count: int) -> tuple[float, float]:
    """Processor time of one call in the best of many batches, and in their median."""
    found = []
    for _ in range(BATCHES):
        began = time.thread_time_ns()
        for _ in range(count):
            work()
        found.append((time.thread_time_ns() - began) / count / 1000)
    return min(found), statistics.median(found)


def main() -> int:
    root, named, clock, container = fresh_key(), fresh_key(), SystemClock(), some_container()
    grants = tuple(Grant(account="default", container=f"c{number}", roles=("read", "write")) for number in range(8))
    own = Grant(account=container.account_name, container=container.container_name, roles=("read",))
    stored = StoredKey(
        name="bench",
        hash=hash_of(named.secret),
        grants=(*grants, own),
        created_ms=0,
        created_by="",
        expires_ms=clock.wall_ms() + 3_600_000,
    )
    access = Access(clock=clock, root_keys=[root_line(root)])
    access.know([(named.id, stored)])
    asked = {
        "no keys at all (--no-auth)": (trusting(clock), None),
        "a key of the configuration": (access, bearer(root)["Authorization"]),
        "a key with nine grants and an end": (access, bearer(named)["Authorization"]),
    }
    held = True
    for name, (keys, header) in asked.items():
        keys.of(header)

        def request(keys: Access = keys, header: str | None = header) -> None:
            who = keys.at_once(header)
            assert who is not None and who.may(Role.READ, container)

        best, median = us_of(request, BATCH)
        held = held and best <= REQUEST_US_MAX
        print(f"{name}: {best:.2f} us, median {median:.2f}")

    def first() -> None:
        access.know([(named.id, stored)])
        assert access.of(bearer(named)["Authorization"]).may(Role.READ, container)

    best, median = us_of(first, 50)
    print(f"the same key for the first time since a key was changed: {best:.1f} us, median {median:.1f}")
    print(f"{'held  ' if held else 'MISSED'}  a request costs at most {REQUEST_US_MAX:g} us for its key")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
