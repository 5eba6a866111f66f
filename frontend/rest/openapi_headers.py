"""What the headers and query keys of the API may hold, as OpenAPI says it."""

from __future__ import annotations

from typing import Any

from ambry.ids import ID_TEXT_SIZE
from ambry.rest import names, values
from ambry.rest.text import TEXT_SIZE_MAX
from frontend.feed.token import TOKEN_TEXT_MAX
from frontend.http.refusals import LINE_SIZE_MAX

Schema = dict[str, Any]

_FLAG: Schema = {"type": "string", "enum": ["true", "false"]}
_TEXT: Schema = {"type": "string", "pattern": r"^([!-~]([ -~]*[!-~])?)?$", "maxLength": TEXT_SIZE_MAX}
_NAME: Schema = {"type": "string", "pattern": r"^[!-~]([ -~]*[!-~])?$", "maxLength": 64}
_NUMBER: Schema = {"type": "string", "pattern": r"^[0-9]{1,10}$"}
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # nosec B105 # of RFC 9110
_CODINGS: Schema = {"pattern": rf"^{_TOKEN}([ \t]*,[ \t]*{_TOKEN})*$", "maxLength": TEXT_SIZE_MAX}
"""A list, which has no type of its own in a header."""
_BASE64 = r"[A-Za-z0-9+/]+={0,2}"
_DIGESTS: Schema = {"type": "string", "pattern": rf"^sha-(256|512)=:{_BASE64}:(, ?sha-(256|512)=:{_BASE64}:)?$"}
BLOB_ID: Schema = {
    "type": "string",
    "format": "ambry-blob-id",
    "pattern": rf"^[A-Za-z0-9_-]{{{ID_TEXT_SIZE}}}$",
    "description": "an id that carries its own checksum",
}

HEADERS: dict[str, tuple[str, Schema]] = {
    names.SERVICE_ID: ("who calls; stored with an upload", _TEXT),
    names.OWNER_ID: ("whose blob it is", _TEXT),
    names.CONTENT_TYPE: (
        "the media type to store",
        {"type": "string", "pattern": rf"^{_TOKEN}/{_TOKEN}([ \t]*;.*)?$", "maxLength": TEXT_SIZE_MAX},
    ),
    names.CONTENT_ENCODING: (
        "how the bytes are encoded; they are never decoded",
        _CODINGS,
    ),
    "content-encoding": (
        f"as {names.CONTENT_ENCODING}",
        _CODINGS,
    ),
    names.ACCOUNT_NAME: ("the account that a new blob goes to, or that one is in", _NAME),
    names.CONTAINER_NAME: ("the container that a new blob goes to, or that one is in", _NAME),
    names.ACCOUNT_ID: ("the account, by its number", _NUMBER),
    names.IGNORE_CONTAINERS: ("leave the containers out", _FLAG),
    names.TTL: (
        f"seconds to live, at most {values.TTL_SECONDS_MAX}; -1 is for ever",
        {"type": "string", "pattern": r"^(-1|[1-9][0-9]{0,8})$"},
    ),
    names.PRIVATE: ("not for shared caches", _FLAG),
    names.FILENAME: (
        "the name of one file",
        {"type": "string", "maxLength": 255},
    ),
    names.ENCODED_FILENAME: (
        "the name of one file, percent-encoded UTF-8; in place of the other",
        {"type": "string", "maxLength": 765},
    ),
    names.DIGEST: ("xxh3-128 of the body", {"type": "string", "pattern": "^[0-9a-fA-F]{32}$"}),
    names.DURABILITY: ("what is promised when it is answered", {"type": "string", "enum": ["memory", "disk", "geo"]}),
    names.IDEMPOTENCY_KEY: ("makes repeated uploads one; each has a key of its own, such as a UUID", _TEXT),
    names.CHUNK_UPLOAD: ("this is a chunk that is stitched with others", _FLAG),
    names.UPLOAD_NAME: ("the name that the blob of an upload in parts is for, percent-encoded", _TEXT),
    names.UPLOAD_SESSION: ("which chunks are of one blob: a text of the client's own, such as a UUID", _TEXT),
    names.MAX_UPLOAD_SIZE: ("how many bytes the chunk may have at most", _NUMBER),
    names.NAMED_UPSERT: ("the name may point to something already", _FLAG),
    names.DATASET_VERSION_QUERY: ("the path is a dataset and a version of it, and no name", _FLAG),
    names.BLOB_ID: ("which blob", BLOB_ID),
    names.GET_OPTION: (
        "which blobs to show beside those that live",
        {
            "type": "string",
            "enum": ["None", "Include_Deleted_Blobs", "Include_Expired_Blobs", "Include_All"],
        },
    ),
    names.RESOLVE_RANGE_ON_EMPTY_BLOB: ("answer any range of an empty blob with nothing", _FLAG),
    names.CLUSTER_NAME: ("the cluster that is meant", _NAME),
    names.STATS_TYPE: ("by what to report", {"type": "string", "enum": ["ACCOUNT_REPORT", "PARTITION_CLASS_REPORT"]}),
    "last-event-id": (
        "the token to go on from, in place of since: also one that is too long for an address",
        {"type": "string", "pattern": r"^[A-Za-z0-9_-]+$", "maxLength": TOKEN_TEXT_MAX},
    ),
    "content-md5": ("MD5 of the body", {"type": "string", "pattern": r"^[A-Za-z0-9+/]{21}[AQgw]==$"}),
    "content-digest": ("digests of the body (RFC 9530)", _DIGESTS),
    "repr-digest": ("digests of the body (RFC 9530)", _DIGESTS),
}
"""By name in lower case: what it says, and its schema. One that is not here is any text."""

CONDITIONS: dict[str, tuple[str, Schema]] = {
    "if-match": ("only if it is one of these", {"type": "string", "pattern": r'^(\*|"[!#-~]*")$'}),
    "if-none-match": ("only if it is none of these", {"type": "string", "pattern": r'^(\*|"[!#-~]*")$'}),
}
RANGES: dict[str, tuple[str, Schema]] = {
    "range": ("which bytes (RFC 9110 section 14)", {"type": "string"}),
    "if-range": (
        "only if it is still this one",
        {"type": "string", "pattern": r'^"[!#-~]*"$'},
    ),
}
QUERY: dict[str, tuple[str, Schema]] = {
    "account": ("the account, default where none is named", _NAME),
    "container": ("the container, default where none is named", _NAME),
    "since": (
        "where to begin: a token of an answer before, the beginning (the default), or now",
        {"type": "string", "pattern": r"^(beginning|now|[A-Za-z0-9_-]+)$", "maxLength": LINE_SIZE_MAX // 2},
    ),
    "wait": ("seconds to wait for something to change", {"type": "string", "pattern": r"^([0-9]|[1-5][0-9]|60)$"}),
    "limit": ("changes of a page, about", {"type": "string", "pattern": r"^([1-9][0-9]{0,2}|1000)$"}),
    "name": ("the host or the name of a data node", {"type": "string", "minLength": 1}),
    "path": ("the path of the call that is signed", {"type": "string", "pattern": "^/[!-~]*$"}),
    "verb": ("what it may be called with", {"type": "string", "enum": ["GET", "PUT", "POST"]}),
    "expires-in": ("seconds that it is good for", {"type": "string", "pattern": "^[1-9][0-9]{0,5}$"}),
    "max-size": ("bytes that its body may have", {"type": "string", "pattern": "^[0-9]{1,18}$"}),
    "content-type": ("the media type of its body", {"type": "string", "pattern": rf"^{_TOKEN}/{_TOKEN}([ \t]*;.*)?$"}),
    "once": ("good for one upload", _FLAG),
    "port": ("its port", {"type": "string", "pattern": r"^[0-9]{1,5}$"}),
}
PATH: dict[str, tuple[str, Schema]] = {
    "id": ("a blob", BLOB_ID),
    "filename": (
        "the name of one file",
        {"type": "string", "minLength": 1, "maxLength": 255},
    ),
    "n": ("a number, from 0", {"type": "string", "pattern": r"^[0-9]{1,9}$"}),
}
