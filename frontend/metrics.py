"""The metrics of a frontend."""

from __future__ import annotations

from ambry.service.metrics import LATENCY_BUCKETS_S, Counter, Gauge, registry
from ambry.service.tallies import Count, Counts, Spreads

REQUESTS = Counts(
    "ambry_frontend_requests", "HTTP requests by operation and status.", ["op", "status"], registry=registry
)
LATENCY = Spreads(
    "ambry_frontend_request_seconds",
    "Time from a request's headers until the kernel has the last byte of its answer, by operation.",
    ["op"],
    buckets=LATENCY_BUCKETS_S,
    registry=registry,
)
IN_FLIGHT = Gauge("ambry_frontend_requests_in_flight", "Requests that are being answered.", registry=registry)
begun, over = Count(), Count()
"""Requests: all since the start."""
IN_FLIGHT.set_function(lambda: begun.value - over.value)
BYTES_IN = Counts(
    "ambry_frontend_bytes_received", "Bytes of bodies that were taken and answered with success.", registry=registry
).labels()
BYTES_OUT = Counts("ambry_frontend_bytes_sent", "Bytes of answers sent, with their heads.", registry=registry).labels()
BUDGET_FREE = Gauge("ambry_frontend_memory_budget_free_bytes", "Memory budget that is not taken.", registry=registry)
PEER_CLOCK_OFFSET = Gauge(
    "ambry_frontend_peer_clock_offset_seconds",
    "How far a data node's wall clock is ahead of this frontend's, by its last answer to a ping.",
    ["peer"],
    registry=registry,
)
CLOCK_CORRECTION = Gauge(
    "ambry_frontend_clock_correction_seconds",
    "What is added to this frontend's wall clock, since it differs from most data nodes'; 0 while it agrees.",
    registry=registry,
)
PEERS_USABLE = Gauge("ambry_frontend_peers_usable", "Data nodes that are connected and answer.", registry=registry)
REFUSED = Counter(
    "ambry_frontend_refused",
    "What the edge refused or ended before or beside an answer of the API, by kind (docs/operations.md).",
    ["kind"],
    registry=registry,
)
RATE_LIMITED = Counts(
    "ambry_frontend_rate_limited",
    "Requests that were more than the rate of their key, or of the address of a client without one.",
    ["of"],
    registry=registry,
)
AUDIT_LINES = Counts("ambry_frontend_audit_lines", "Lines of the audit that were written.", registry=registry).labels()
AUDIT_LOST = Counts(
    "ambry_frontend_audit_lost",
    "Requests of which the audit does not tell, because it could not be written for long.",
    registry=registry,
).labels()
AUDIT_LEFT_OUT = Counts(
    "ambry_frontend_audit_left_out",
    "Refusals of which the audit does not tell, because there were too many in a second.",
    registry=registry,
).labels()
AUDIT_WAITING = Gauge(
    "ambry_frontend_audit_waiting_bytes", "Lines of the audit that wait to be written.", registry=registry
)
DISCARDS_WAITING = Gauge(
    "ambry_frontend_discards_waiting",
    "Records of puts that failed, which too few replicas have been told to forget.",
    registry=registry,
)
DISCARDS_GIVEN_UP = Gauge(
    "ambry_frontend_discards_given_up",
    "Of those, how many this process gave up; its log names them.",
    registry=registry,
)
CONNECTIONS = Gauge("ambry_frontend_connections", "Clients that are connected.", registry=registry)
UNREADABLE = Counts(
    "ambry_frontend_unreadable_rows",
    "Rows of the metadata store that could not be read and were passed over, each time that it was tried.",
    ["kind"],
    registry=registry,
)
ASKED = Counts(
    "ambry_frontend_rpc_requests",
    "What frontends of other datacenters asked this one, by message and outcome.",
    ["message", "outcome"],
    registry=registry,
)
ASKED_OTHERS = Counter(
    "ambry_frontend_metadata_asked_others",
    "Names and the like that are not known in this datacenter and were asked of the others, by what they said.",
    ["outcome"],
    registry=registry,
)
METADATA_BEHIND = Gauge(
    "ambry_frontend_metadata_behind_versions",
    "Versions that another datacenter's metadata has and this one's has not; no number where another process follows it.",
    ["datacenter"],
    registry=registry,
)
METADATA_BEHIND_S = Gauge(
    "ambry_frontend_metadata_behind_seconds",
    "Since when something of another datacenter's metadata may be missing here; no number where another process follows it.",
    ["datacenter"],
    registry=registry,
)
METADATA_MERGED = Gauge(
    "ambry_frontend_metadata_merged_versions",
    "Versions that came from another datacenter and were new here, since this process started.",
    ["datacenter"],
    registry=registry,
)
CONTAINERS_AGE = Gauge(
    "ambry_frontend_containers_age_seconds",
    "How long ago the metadata store last told what holds for accounts and containers; no number before the first time.",
    registry=registry,
)
FEED_FOLLOWERS = Gauge(
    "ambry_frontend_feed_followers", "Clients that follow the changes of a container now.", registry=registry
)
METADATA_FAILED = Counter(
    "ambry_frontend_metadata_failed",
    "What was asked of the metadata store and failed by it, by error: it did not answer, had no room, or was damaged.",
    ["error"],
    registry=registry,
)
ENCRYPTION_KEYS = Gauge(
    "ambry_frontend_encryption_keys", "Keys of containers that this process holds open in memory.", registry=registry
)
ENCRYPTION_CALLS = Counter(
    "ambry_frontend_encryption_calls",
    "What the provider of master keys was asked, by call and outcome: done, refused, away, or not_asked since it is away.",
    ["call", "outcome"],
    registry=registry,
)
METADATA_WAITING = Gauge(
    "ambry_frontend_metadata_waiting", "Requests that wait for the metadata store.", registry=registry
)
