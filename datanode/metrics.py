"""The metrics of a data node."""

from __future__ import annotations

from ambry.service.metrics import LATENCY_BUCKETS_S, Counter, Gauge, Histogram, registry
from ambry.service.tallies import Counts, Spreads

REQUESTS = Counts(
    "ambry_datanode_requests",
    "RPC requests by type and outcome: ok, or the name of the error.",
    ["type", "outcome"],
    registry=registry,
)
LATENCY = Spreads(
    "ambry_datanode_request_seconds",
    "Time from a request's last byte to its answer, by type; changes waits for one (long poll).",
    ["type"],
    buckets=LATENCY_BUCKETS_S,
    registry=registry,
)
BYTES_IN = Counts("ambry_datanode_payload_bytes_received", "Payload bytes of puts.", registry=registry).labels()
BYTES_OUT = Counts("ambry_datanode_payload_bytes_sent", "Payload bytes of gets.", registry=registry).labels()
BATCH_RECORDS = Spreads(
    "ambry_datanode_commit_batch_records",
    "Records that one group commit made durable together.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    registry=registry,
).labels()
FENCED = Counter(
    "ambry_datanode_replicas_fenced", "Replicas that stopped after a failed write or sync.", registry=registry
)
FREE_BYTES = Gauge("ambry_datanode_free_bytes", "Room on the disk of this node's replicas.", registry=registry)
CONNECTIONS = Gauge("ambry_datanode_connections", "RPC connections to this node that are open.", registry=registry)
CONNECTIONS_CLOSED = Gauge(
    "ambry_datanode_connections_refused",
    "RPC connections that were closed or refused since the start, as there were too many.",
    registry=registry,
)
REQUEST_BYTES = Gauge(
    "ambry_datanode_request_bytes",
    "What the requests hold that come or are not answered; node.requests_bytes_max bounds it.",
    registry=registry,
)
SET_ASIDE_BYTES = Gauge(
    "ambry_datanode_set_aside_bytes",
    "Files, cut-off bytes and whole replicas that were set aside and that nothing drops by itself.",
    registry=registry,
)
DISK_HANGS = Gauge(
    "ambry_datanode_disk_hangs_seconds",
    "For how long the disk of this node has not returned from a call; 0 while it works.",
    registry=registry,
)
PUT_BACK = Counter(
    "ambry_datanode_replicas_put_back",
    "Replicas whose directory was put back from a backup, as their peers know.",
    registry=registry,
)
STARTED_OVER = Counter(
    "ambry_datanode_replicas_started_over",
    "Replicas that were set aside and rebuilt, since tombstones were dropped before they saw them.",
    registry=registry,
)
BOOTSTRAPS = Counter(
    "ambry_datanode_bootstraps",
    "Replicas that were copied from the segments of peers: complete, incomplete (a peer went away), or failed (here).",
    ["result"],
    registry=registry,
)
BOOTSTRAP_BYTES = Counter(
    "ambry_datanode_bootstrap_bytes", "Record bytes copied from segments of a peer.", ["peer"], registry=registry
)
BOOTSTRAP_BLOBS = Counter(
    "ambry_datanode_bootstrap_blobs", "Blobs copied from segments of a peer.", ["peer"], registry=registry
)
BOOTSTRAP_TO_GO = Gauge(
    "ambry_datanode_bootstrap_bytes_to_go",
    "About how many bytes of log the replicas that are being copied, or wait for it, still lack.",
    registry=registry,
)
CORRUPT = Counter(
    "ambry_datanode_corrupt_reads", "Reads of this node's own disk that failed a checksum.", registry=registry
)
REPLICATION_LAG = Gauge(
    "ambry_datanode_replication_lag_bytes",
    "How far this replica was behind a peer's log when that last answered.",
    ["peer", "partition"],
    registry=registry,
)
REPLICATION_SILENCE = Gauge(
    "ambry_datanode_replication_silence_seconds",
    "Since a peer last answered what changed in its log; an idle one answers every replication.poll_wait_ms.",
    ["peer"],
    registry=registry,
)
REPLICATION_LAG_S = Gauge(
    "ambry_datanode_replication_lag_seconds",
    "Since everything of a peer's log was here, as far as this node knows: grows while the peer cannot be reached.",
    ["peer"],
    registry=registry,
)
TOMBSTONES_WAITING = Gauge(
    "ambry_datanode_tombstones_waiting",
    "Tombstones whose retention is over, that stay since this peer, or one as far behind, has not seen them for good.",
    ["peer"],
    registry=registry,
)
REPLICATED = Counter(
    "ambry_datanode_replicated_blobs",
    "Blobs fetched from peers, by the peer's datacenter.",
    ["datacenter"],
    registry=registry,
)
REPLICATED_BYTES = Counter(
    "ambry_datanode_replicated_bytes",
    "Record bytes fetched from peers, by datacenter.",
    ["datacenter"],
    registry=registry,
)
PEER_CLOCK_OFFSET = Gauge(
    "ambry_datanode_peer_clock_offset_seconds",
    "How far a peer's wall clock is ahead of this node's, by its last answer to a ping.",
    ["peer"],
    registry=registry,
)
CLOCK_DOUBTED = Gauge(
    "ambry_datanode_clock_doubted",
    "1 while this node's clock is in doubt, and nothing is freed by it; /peers on the admin port says why.",
    registry=registry,
)
WANTED = Gauge("ambry_datanode_wanted_blobs", "Blobs that should be here and are being looked for.", registry=registry)
REPAIR_S = Histogram(
    "ambry_datanode_repair_seconds",
    "From when a blob was found missing or damaged here until it was whole again, or known to be gone.",
    buckets=(0.1, 1, 10, 60, 600, 3_600, 21_600, 86_400),
    registry=registry,
)
WANTED_AGE = Gauge(
    "ambry_datanode_wanted_age_seconds",
    "Since that blob is looked for here that is looked for the longest; 0 when none is.",
    registry=registry,
)
REPLICAS = Gauge(
    "ambry_datanode_replicas",
    'Replicas of this node by state: open, unsure (open, and may not say "not found" yet), fenced, opening, reopening, failed.',
    ["state"],
    registry=registry,
)
SCRUB_AGE = Gauge(
    "ambry_datanode_scrub_age_seconds",
    "For how long that replica was open since its last scrub, or since it began, of which that is the longest.",
    registry=registry,
)
COMPACTED_BYTES = Counter("ambry_datanode_compacted_bytes", "Bytes that compaction gave back.", registry=registry)
SCRUBBED_BYTES = Counter("ambry_datanode_scrubbed_bytes", "Log bytes that the scrub verified.", registry=registry)
SCRUB_DAMAGE = Counter("ambry_datanode_scrub_damage", "Damaged places that the scrub found.", registry=registry)
SWEPT = Counter("ambry_datanode_swept_chunks", "Data chunks whose blob is gone, given up.", registry=registry)
COMPARED = Counter(
    "ambry_datanode_comparisons",
    "Comparisons of a replica with a peer: complete, lacking something that the peer has, or undecided.",
    ["result"],
    registry=registry,
)
COMPARED_AGE = Gauge(
    "ambry_datanode_comparison_age_seconds",
    "Since that pair of replicas was compared whose comparison is the longest ago; one that never was counts from its opening.",
    registry=registry,
)
LACKING = Counter(
    "ambry_datanode_lacking_blobs",
    "Blobs and states that a comparison of digests found missing here, by the datacenter of the peer that had them.",
    ["datacenter"],
    registry=registry,
)
REPAIRED = Counter(
    "ambry_datanode_lacking_blobs_repaired",
    "Those of ambry_datanode_lacking_blobs that were got at once; what was not, is wanted.",
    ["datacenter"],
    registry=registry,
)
