"""A process that uses a cache until it is killed.

    python -m tests.support.cache_user DIRECTORY MAX_BYTES SEED ENDPOINT BLOB=DIGEST...

It asks for blobs in an order of its own and reads each file whole. It prints a line for each one that was right, and one that
begins with WRONG where bytes were not those of the digest.
"""

from __future__ import annotations

import random
import sys

import xxhash

from ambry import AmbryClient, CacheConfig, RetryPolicy


def main(directory: str, max_bytes: str, seed: str, endpoint: str, *blobs: str) -> None:
    digests = dict(each.split("=") for each in blobs)
    source = random.Random(int(seed))
    config = CacheConfig(directory=directory, max_bytes=int(max_bytes))
    with AmbryClient(endpoint, cache=config, retry=RetryPolicy(base=0.01)) as client:
        while True:
            blob = source.choice(sorted(digests))
            path = client.cached_path(blob)
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # Another one needed the room before this one opened it.
            right = xxhash.xxh3_128_hexdigest(data) == digests[blob]
            print("right" if right else f"WRONG {blob}: {len(data)} bytes", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
