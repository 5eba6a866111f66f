"""The surface that was specified: every call of the client, the names of its arguments, and what holds without them.

Decision 74 says where ours is another one on purpose.
"""

from __future__ import annotations

import dataclasses
import inspect
from datetime import timedelta
from typing import Any

import pytest

import ambry
from ambry import AmbryClient, AsyncAmbryClient, AsyncUpload, Page, RetryPolicy, TransferConfig, Upload
from ambry.ids import IdKind

BLOB = ambry.BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=1, uuid=bytes(16))
REQUIRED = inspect.Parameter.empty

PUT = {
    "name": None,
    "ttl": None,
    "content_type": None,
    "metadata": None,
    "checksum": None,
    "if_absent": False,
    "progress": None,
    "transfer": None,
    "timeout": None,
}
CALLS: dict[str, dict[str, Any]] = {
    "__init__": {
        "endpoints": None,
        "profile": None,
        "account": None,
        "container": None,
        "auth": None,
        "service_id": None,
        "timeout": ambry.Timeout(connect=3.0, read=30.0, total=None),
        "retry": RetryPolicy(),
        "transfer": TransferConfig(),
        "verify": None,
        "tls": None,
        "hooks": None,
    },
    "from_env": {"profile": None, "overrides": REQUIRED},
    "put": {"data": REQUIRED, **PUT, "size": None, "idempotency_key": None},
    "put_file": {"path": REQUIRED, "resume": True, **PUT, "idempotency_key": None},
    "start_upload": {**PUT, "part_size": None, "size": None},
    "get": {"ref": REQUIRED, "range": None},
    "get_bytes": {"ref": REQUIRED, "range": None, "max_size": None},
    "get_into": {"ref": REQUIRED, "buffer": REQUIRED, "offset": 0},
    "get_ranges": {"ref": REQUIRED, "ranges": REQUIRED, "coalesce": 64 << 10},
    "get_file": {
        "ref": REQUIRED,
        "path": REQUIRED,
        "resume": True,
        "overwrite": False,
        "progress": None,
        "transfer": None,
    },
    "cached_path": {"ref": REQUIRED, "cache_dir": None},
    "open": {"ref": REQUIRED, "mode": "rb", "block_size": 4 << 20},
    "head": {"ref": REQUIRED},
    "exists": {"ref": REQUIRED},
    "delete": {"ref": REQUIRED, "missing_ok": True},
    "undelete": {"ref": REQUIRED},
    "update_ttl": {"ref": REQUIRED, "ttl": REQUIRED},
    "delete_many": {"refs": REQUIRED},
    "resolve": {"name": REQUIRED},
    "bind": {"name": REQUIRED, "blob": REQUIRED, "if_absent": True},
    "rename": {"src": REQUIRED, "dst": REQUIRED, "overwrite": False},
    "list": {"prefix": "", "delimiter": None, "page_size": 1000, "start_after": None},
    "presign": {"method": REQUIRED, "ref": None, "expires": timedelta(hours=1), "max_size": None},
    "health": {},
    "close": {},
}
OF_UPLOADS: dict[str, dict[str, Any]] = {
    "write_part": {"number": REQUIRED, "data": REQUIRED},
    "parts": {},
    "state": {},
    "resume": {"client": REQUIRED, "state": REQUIRED},
    "complete": {},
    "abort": {},
}
OF_READERS: dict[str, dict[str, Any]] = {
    "read": {"n": -1},
    "readinto": {"buffer": REQUIRED},
    "iter_chunks": {"size": 1 << 20},
    "close": {},
}


def taken(cls: type, name: str) -> dict[str, Any]:
    found = inspect.signature(getattr(cls, name)).parameters.values()
    return {each.name: each.default for each in found if each.name != "self"}


@pytest.mark.parametrize("cls", [AmbryClient, AsyncAmbryClient])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_takes_what_was_specified(cls: type, name: str) -> None:
    ours = taken(cls, name)
    assert {each: ours.get(each, "it is not there") for each in CALLS[name]} == CALLS[name]
    assert {each for each, default in ours.items() if default is REQUIRED} == {
        each for each, default in CALLS[name].items() if default is REQUIRED
    }


@pytest.mark.parametrize(
    ("cls", "calls"),
    [
        (Upload, OF_UPLOADS),
        (AsyncUpload, OF_UPLOADS),
        (ambry.BlobReader, OF_READERS),
        (ambry.AsyncBlobReader, OF_READERS),
    ],
)
def test_so_does_what_such_a_call_gives(cls: type, calls: dict[str, dict[str, Any]]) -> None:
    for name, wanted in calls.items():
        ours = taken(cls, name)
        assert {each: ours.get(each, "it is not there") for each in wanted} == wanted, name


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        (
            TransferConfig(),
            {
                "part_size": 8 << 20,
                "threshold": 16 << 20,
                "max_concurrency": 8,
                "max_bandwidth": None,
                "max_memory": 256 << 20,
            },
        ),
        (
            RetryPolicy(),
            {"max_attempts": 5, "base": 0.05, "cap": 5.0, "jitter": "full", "budget": 0.1, "retry_on": None},
        ),
    ],
)
def test_values_have_the_fields_and_defaults_that_were_specified(value: Any, fields: dict[str, Any]) -> None:
    assert {name: getattr(value, name) for name in fields} == fields
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, next(iter(fields)), 1)
    hash(value)


def test_a_blob_info_has_what_was_specified() -> None:
    wanted = {"id", "size", "created", "expires", "content_type", "metadata", "checksum"}
    wanted |= {"account", "container", "name", "etag", "datacenter"}
    assert wanted <= {each.name for each in dataclasses.fields(ambry.BlobInfo)}
    assert "__slots__" in vars(ambry.BlobInfo)
    info = ambry.BlobInfo(id=BLOB, size=1)
    assert hash(info) == hash(dataclasses.replace(info))
    assert {"entries", "prefixes", "next_token"} <= set(dir(Page))


@pytest.mark.parametrize(
    ("name", "bases"),
    [
        ("BlobNotFound", (FileNotFoundError,)),
        ("BlobGone", (ambry.BlobNotFound,)),
        ("AlreadyExists", (FileExistsError,)),
        ("AccessDenied", (PermissionError,)),
        ("RequestTimeout", (TimeoutError,)),
        ("ChecksumMismatch", (OSError,)),
        ("QuotaExceeded", ()),
        ("PreconditionFailed", ()),
        ("InvalidRequest", (ValueError,)),
        ("Unavailable", (ConnectionError,)),
    ],
)
def test_errors_are_those_that_were_specified(name: str, bases: tuple[type, ...]) -> None:
    cls = getattr(ambry, name)
    assert issubclass(cls, (ambry.AmbryError, *bases)) and all(issubclass(cls, each) for each in bases)
    error = cls("it was refused", request_id="r-1")
    told = {"status", "code", "request_id", "endpoint", "attempts", "retryable"}
    assert told <= set(dir(error)) and str(error) == "it was refused (request r-1)"
