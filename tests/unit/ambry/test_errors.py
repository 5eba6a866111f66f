from __future__ import annotations

import builtins
from pathlib import Path

import pytest

import ambry
from ambry import errors
from ambry.errors import AmbryError, InternalError, error_class, error_from_code


def tree(base: type[AmbryError]) -> list[type[AmbryError]]:
    return [base, *(found for child in base.__subclasses__() for found in tree(child))]


OURS = [cls for cls in tree(AmbryError) if cls.__module__ == errors.__name__]


def test_the_codes_on_the_wire_never_change() -> None:
    assert {cls.code: cls.__name__ for cls in OURS} == {
        1: "AmbryError",
        2: "InternalError",
        3: "InvariantBroken",
        10: "InvalidRequest",
        11: "InvalidBlobId",
        12: "ChecksumMismatch",
        13: "AccessDenied",
        14: "RetentionLocked",
        15: "Unauthenticated",
        20: "BlobNotFound",
        21: "BlobGone",
        22: "BlobDeleted",
        23: "BlobExpired",
        24: "NameNotFound",
        25: "NameDeleted",
        26: "AccountNotFound",
        27: "ContainerNotFound",
        28: "EncryptionKeyDeleted",
        29: "KeyNotFound",
        30: "MethodNotAllowed",
        31: "RequestTimeout",
        32: "AlreadyExists",
        33: "NotDeleted",
        34: "PreconditionFailed",
        35: "TooLarge",
        36: "UriTooLong",
        37: "RangeNotSatisfiable",
        38: "HeadersTooLarge",
        39: "QuotaExceeded",
        40: "NotSupported",
        41: "MisdirectedRequest",
        42: "ExpectationFailed",
        43: "HttpVersionNotSupported",
        44: "MediaTypeUnsupported",
        45: "UpdateConflict",
        46: "RateLimited",
        47: "UploadNotFound",
        48: "UploadGone",
        49: "Offline",
        50: "Unavailable",
        51: "QuorumNotReached",
        52: "ReplicaUnavailable",
        53: "ReplicaFenced",
        54: "DeadlineExceeded",
        55: "PeerConnectionLost",
        56: "Overloaded",
        57: "PartitionUnknown",
        58: "MetadataUnavailable",
        59: "KeysUnavailable",
        60: "InsufficientStorage",
        61: "DataCorrupt",
        62: "IndexCorrupt",
        63: "FormatUnknown",
        64: "ProtocolViolation",
        65: "ReleaseMismatch",
        66: "NotUnderstood",
        67: "CallAbandoned",
        68: "AnswerDamaged",
        69: "KeyMismatch",
        70: "ConfigInvalid",
        71: "StoreMismatch",
    }


@pytest.mark.parametrize("cls", OURS)
def test_an_error_comes_over_the_wire_as_itself(cls: type[AmbryError]) -> None:
    made = error_from_code(cls.code, "what happened", request_id="r1")
    assert type(made) is cls
    assert made.message == "what happened"
    assert str(made) == "what happened (request r1)"
    assert error_class(cls.__name__) is cls
    assert 400 <= cls.status < 600


def test_an_error_of_a_newer_peer_is_still_an_error() -> None:
    made = error_from_code(9_999, "something new")
    assert type(made) is InternalError
    assert "9999" in str(made)
    assert error_class("SomethingNew") is None


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.BlobNotFound, builtins.FileNotFoundError),
        (errors.BlobDeleted, builtins.FileNotFoundError),
        (errors.AlreadyExists, builtins.FileExistsError),
        (errors.Unavailable, builtins.ConnectionError),
        (errors.RequestTimeout, builtins.TimeoutError),
        (errors.InvalidBlobId, builtins.ValueError),
        (errors.AccessDenied, builtins.PermissionError),
        (errors.InsufficientStorage, builtins.OSError),
    ],
)
def test_users_may_catch_the_fitting_builtin(cls: type[AmbryError], builtin: type[Exception]) -> None:
    with pytest.raises(builtin):
        raise cls("x")


@pytest.mark.parametrize(
    "cls", [errors.ReplicaUnavailable, errors.ReplicaFenced, errors.IndexCorrupt, errors.PartitionUnknown]
)
def test_what_stays_between_nodes_is_no_error_of_the_operating_system(cls: type[AmbryError]) -> None:
    """ "Stopping" was a ConnectionError, so an OSError, and was taken for a broken disk in five places."""
    assert not issubclass(cls, OSError)
    assert cls.retriable
    assert cls.status == 503


def test_only_what_may_pass_is_retriable() -> None:
    assert {cls.__name__ for cls in OURS if cls.retriable} == {
        "RequestTimeout",
        "QuotaExceeded",
        "Unavailable",
        "MetadataUnavailable",
        "KeysUnavailable",
        "RateLimited",
        "QuorumNotReached",
        "ReplicaUnavailable",
        "ReplicaFenced",
        "DeadlineExceeded",
        "PeerConnectionLost",
        "Overloaded",
        "PartitionUnknown",
        "InsufficientStorage",
        "DataCorrupt",
        "AnswerDamaged",
        "IndexCorrupt",
    }


BETWEEN_NODES = {
    "CallAbandoned",
    "FormatUnknown",
    "IndexCorrupt",
    "InvariantBroken",
    "NotUnderstood",
    "PartitionUnknown",
    "ReleaseMismatch",
    "ReplicaFenced",
    "ReplicaUnavailable",
    "StoreMismatch",
}
"""What is between our own processes, or of their files."""


def test_what_a_caller_may_meet_is_exported_and_in_the_table_of_the_sdk() -> None:
    """UploadNotFound was neither: nobody could catch it without looking where it is."""
    page = Path(ambry.__file__).parents[1].joinpath("docs", "sdk.md").read_text(encoding="utf-8")
    table = page.partition("## Errors")[2].partition("\n## ")[0]
    met = {cls.__name__ for cls in OURS} - BETWEEN_NODES
    assert met - set(ambry.__all__) == set() and BETWEEN_NODES & set(ambry.__all__) == set()
    assert {name for name in met if f"`{name}`" not in table} == set()


def test_what_must_be_there_is_handed_on_and_its_absence_is_a_bug_under_dash_o_too() -> None:
    assert errors.must_have(0, "a number") == 0
    with pytest.raises(errors.InvariantBroken, match="the key that was made here is not there"):
        errors.must_have(None, "the key that was made here")
