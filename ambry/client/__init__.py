"""The Python client: `AmbryClient` and `AsyncAmbryClient`, twins over one core that does no I/O.

model                               what users see: BlobInfo, policies, ranges
core retry transfer                 the decisions: requests, answers, errors, retries, digests; no I/O
sources                             bodies and local files: the one place that touches files
options                             what both clients are configured with, and where it comes from
sync_transport sync_reader sync_client       blocking sockets
async_transport async_reader async_client    aiohttp
"""
