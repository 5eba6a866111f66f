"""The header names of Ambry's HTTP API, as both ends write them: in lower case, the only case on our side of a parser."""

from __future__ import annotations

# Of an upload, and told again on a read.
SERVICE_ID = "x-ambry-service-id"
OWNER_ID = "x-ambry-owner-id"
CONTENT_TYPE = "x-ambry-content-type"
CONTENT_ENCODING = "x-ambry-content-encoding"
ACCOUNT_NAME = "x-ambry-target-account-name"
CONTAINER_NAME = "x-ambry-target-container-name"
ACCOUNT_ID = "x-ambry-target-account-id"
IGNORE_CONTAINERS = "x-ambry-ignore-containers"
TTL = "x-ambry-ttl"
PRIVATE = "x-ambry-private"
FILENAME = "x-ambry-filename"
ENCODED_FILENAME = "x-ambry-enc-filename"
"""In place of FILENAME, percent-encoded UTF-8, where the name is not plain ASCII (see ambry.rest.text)."""
DIGEST = "x-ambry-digest"
DURABILITY = "x-ambry-durability"
IDEMPOTENCY_KEY = "x-ambry-idempotency-key"
METADATA_PREFIX = "x-ambry-um-"
ENCODED_METADATA_PREFIX = "x-ambry-enc-um-"

# Of a name.
NAMED_UPSERT = "x-ambry-named-upsert"
"""Whether a name that exists may point to the new blob."""

# Of a dataset.
DATASET_NAME = "x-ambry-target-dataset-name"
DATASET_VERSION = "x-ambry-target-dataset-version"
"""Only ever told."""
DATASET_UPDATE = "x-ambry-dataset-update"
"""Whether a dataset that exists is changed."""
DATASET_VERSION_QUERY = "x-ambry-dataset-version-query-enabled"
"""Whether a path below /named is a dataset and a version of it, and not a name."""

# Of a chunk that is stitched with others (Ambry's older form of an upload in parts).
CHUNK_UPLOAD = "x-ambry-chunk-upload"
UPLOAD_NAME = "x-ambry-upload-name"
"""Of an upload in parts: the name that its blob is for, percent-encoded as in a path."""
UPLOAD_SESSION = "x-ambry-session"
MAX_UPLOAD_SIZE = "x-ambry-max-upload-size"

# Of a read or an update.
BLOB_ID = "x-ambry-blob-id"
GET_OPTION = "x-ambry-get-option"
RESOLVE_RANGE_ON_EMPTY_BLOB = "x-ambry-resolve-range-on-empty-blob"

# Of a page about the cluster.
CLUSTER_NAME = "x-ambry-cluster-name"
STATS_TYPE = "x-ambry-stats-type"

# Of a part of a batch.
BATCH_INDEX = "x-ambry-batch-index"
"""Which item of the request it answers, from 0."""
BATCH_RANGE = "x-ambry-batch-range"
"""Which of the item's ranges, from 0."""
BATCH_STATUS = "x-ambry-batch-status"

# Only ever told.
BLOB_SIZE = "x-ambry-blob-size"
CREATION_TIME = "x-ambry-creation-time"
LIFE_VERSION = "x-ambry-life-version"
ENCRYPTED_IN_STORAGE = "x-ambry-encrypted-in-storage"
REQUEST_ID = "x-ambry-request-id"
ANSWERED = "x-ambry-answered-ms"
"""When the frontend answered, milliseconds since 1970 by the clock of the cluster; a proxy writes a `Date` of its own."""
DATACENTER = "x-ambry-datacenter"
FRONTEND = "x-ambry-frontend"
ERROR_CODE = "x-ambry-error-code"
ERROR_DETAIL = "x-ambry-error-detail"
"""The sentence of a refusal, as `sentence_in_header` writes it: an answer to HEAD has no body to say it."""
