"""The Python client: `AmbryClient` and `AsyncAmbryClient`, twins over one core that does no I/O.

model                               what users see: BlobInfo, policies, ranges
wire/                               requests and answers, one file per resource; no I/O
retry transfer                      the decisions: attempts, digests, what is complete; no I/O
hooks                               who hears of every attempt, and which trace it belongs to; no I/O
sources                             bodies and local files: the one place that touches files
options                             what both clients are configured with
profiles credentials endpoints tls  where that comes from: the environment, config.toml, files with keys and certificates
aio/                                the awaiting twin over aiohttp, one file per resource; `pacing` is its own
sync/                               the blocking twin: `transport`, `connection`, `pool`, `reader` and `waiting` by hand over
                                    blocking sockets, the rest generated from aio/ (`make sync-client`)
"""
