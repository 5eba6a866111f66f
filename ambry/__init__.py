"""ambry: an immutable blob store.

`ambry.AmbryClient` and `ambry.AsyncAmbryClient` are the way in. Names are loaded when they are first used, so that
`import ambry` costs next to nothing and needs none of the server's libraries.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ambry.client.accounts import AccountInfo as AccountInfo
    from ambry.client.accounts import ContainerInfo as ContainerInfo
    from ambry.client.aio.changes import AsyncChangesFeed as AsyncChangesFeed
    from ambry.client.aio.client import AsyncAmbryClient as AsyncAmbryClient
    from ambry.client.aio.files import AsyncBlobFile as AsyncBlobFile
    from ambry.client.aio.pager import AsyncPager as AsyncPager
    from ambry.client.aio.reader import AsyncBlobReader as AsyncBlobReader
    from ambry.client.aio.upload_session import AsyncUpload as AsyncUpload
    from ambry.client.aio.writing import AsyncBlobWriter as AsyncBlobWriter
    from ambry.client.changes import ToldChange as ToldChange
    from ambry.client.credentials import Auth as Auth
    from ambry.client.credentials import KeyFile as KeyFile
    from ambry.client.datasets import AliasInfo as AliasInfo
    from ambry.client.datasets import DatasetInfo as DatasetInfo
    from ambry.client.datasets import VersionEntry as VersionEntry
    from ambry.client.hooks import AttemptOutcome as AttemptOutcome
    from ambry.client.hooks import Hooks as Hooks
    from ambry.client.hooks import RequestAttempt as RequestAttempt
    from ambry.client.keys import FreshKey as FreshKey
    from ambry.client.keys import KeyInfo as KeyInfo
    from ambry.client.keys import KeyLimits as KeyLimits
    from ambry.client.model import BatchResult as BatchResult
    from ambry.client.model import BlobInfo as BlobInfo
    from ambry.client.model import BlobSource as BlobSource
    from ambry.client.model import ByteRange as ByteRange
    from ambry.client.model import CacheConfig as CacheConfig
    from ambry.client.model import ClusterHealth as ClusterHealth
    from ambry.client.model import EndpointHealth as EndpointHealth
    from ambry.client.model import Metadata as Metadata
    from ambry.client.model import Progress as Progress
    from ambry.client.model import RetryPolicy as RetryPolicy
    from ambry.client.model import Timeout as Timeout
    from ambry.client.model import TLSConfig as TLSConfig
    from ambry.client.model import TransferConfig as TransferConfig
    from ambry.client.model import UploadedPart as UploadedPart
    from ambry.client.names import NameChange as NameChange
    from ambry.client.names import NameEntry as NameEntry
    from ambry.client.names import Page as Page
    from ambry.client.proxies import Proxies as Proxies
    from ambry.client.refs import NameRef as NameRef
    from ambry.client.refs import Ref as Ref
    from ambry.client.refs import VersionRef as VersionRef
    from ambry.client.sync.changes import ChangesFeed as ChangesFeed
    from ambry.client.sync.client import AmbryClient as AmbryClient
    from ambry.client.sync.files import BlobFile as BlobFile
    from ambry.client.sync.pager import Pager as Pager
    from ambry.client.sync.reader import BlobReader as BlobReader
    from ambry.client.sync.upload_session import Upload as Upload
    from ambry.client.sync.writing import BlobWriter as BlobWriter
    from ambry.durability import Durability as Durability
    from ambry.errors import AccessDenied as AccessDenied
    from ambry.errors import AccountNotFound as AccountNotFound
    from ambry.errors import AlreadyExists as AlreadyExists
    from ambry.errors import AmbryError as AmbryError
    from ambry.errors import AnswerDamaged as AnswerDamaged
    from ambry.errors import BlobDeleted as BlobDeleted
    from ambry.errors import BlobExpired as BlobExpired
    from ambry.errors import BlobGone as BlobGone
    from ambry.errors import BlobNotFound as BlobNotFound
    from ambry.errors import ChecksumMismatch as ChecksumMismatch
    from ambry.errors import ConfigInvalid as ConfigInvalid
    from ambry.errors import ContainerNotFound as ContainerNotFound
    from ambry.errors import DataCorrupt as DataCorrupt
    from ambry.errors import DeadlineExceeded as DeadlineExceeded
    from ambry.errors import EncryptionKeyDeleted as EncryptionKeyDeleted
    from ambry.errors import ExpectationFailed as ExpectationFailed
    from ambry.errors import HeadersTooLarge as HeadersTooLarge
    from ambry.errors import HttpVersionNotSupported as HttpVersionNotSupported
    from ambry.errors import InsufficientStorage as InsufficientStorage
    from ambry.errors import InternalError as InternalError
    from ambry.errors import InvalidBlobId as InvalidBlobId
    from ambry.errors import InvalidRequest as InvalidRequest
    from ambry.errors import KeyMismatch as KeyMismatch
    from ambry.errors import KeyNotFound as KeyNotFound
    from ambry.errors import KeysUnavailable as KeysUnavailable
    from ambry.errors import MediaTypeUnsupported as MediaTypeUnsupported
    from ambry.errors import MetadataUnavailable as MetadataUnavailable
    from ambry.errors import MethodNotAllowed as MethodNotAllowed
    from ambry.errors import MisdirectedRequest as MisdirectedRequest
    from ambry.errors import NameDeleted as NameDeleted
    from ambry.errors import NameNotFound as NameNotFound
    from ambry.errors import NotDeleted as NotDeleted
    from ambry.errors import NotSupported as NotSupported
    from ambry.errors import Offline as Offline
    from ambry.errors import Overloaded as Overloaded
    from ambry.errors import PeerConnectionLost as PeerConnectionLost
    from ambry.errors import PreconditionFailed as PreconditionFailed
    from ambry.errors import ProtocolViolation as ProtocolViolation
    from ambry.errors import QuorumNotReached as QuorumNotReached
    from ambry.errors import QuotaExceeded as QuotaExceeded
    from ambry.errors import RangeNotSatisfiable as RangeNotSatisfiable
    from ambry.errors import RateLimited as RateLimited
    from ambry.errors import RequestTimeout as RequestTimeout
    from ambry.errors import RetentionLocked as RetentionLocked
    from ambry.errors import TooLarge as TooLarge
    from ambry.errors import Unauthenticated as Unauthenticated
    from ambry.errors import Unavailable as Unavailable
    from ambry.errors import UpdateConflict as UpdateConflict
    from ambry.errors import UploadGone as UploadGone
    from ambry.errors import UploadNotFound as UploadNotFound
    from ambry.errors import UriTooLong as UriTooLong
    from ambry.ids import BlobId as BlobId
    from ambry.rest.access import Grant as Grant

__version__ = "0.1.0"

_EXPORTS: dict[str, str] = {
    "AccountInfo": "ambry.client.accounts",
    "AliasInfo": "ambry.client.datasets",
    "AmbryClient": "ambry.client.sync.client",
    "AsyncAmbryClient": "ambry.client.aio.client",
    "AsyncBlobFile": "ambry.client.aio.files",
    "AsyncBlobReader": "ambry.client.aio.reader",
    "AsyncBlobWriter": "ambry.client.aio.writing",
    "AsyncChangesFeed": "ambry.client.aio.changes",
    "AsyncPager": "ambry.client.aio.pager",
    "AsyncUpload": "ambry.client.aio.upload_session",
    **dict.fromkeys(("Auth", "KeyFile"), "ambry.client.credentials"),
    "BlobId": "ambry.ids",
    "BlobFile": "ambry.client.sync.files",
    "BlobReader": "ambry.client.sync.reader",
    "BlobWriter": "ambry.client.sync.writing",
    "ToldChange": "ambry.client.changes",
    "ChangesFeed": "ambry.client.sync.changes",
    "ContainerInfo": "ambry.client.accounts",
    "DatasetInfo": "ambry.client.datasets",
    "Durability": "ambry.durability",
    "FreshKey": "ambry.client.keys",
    "Grant": "ambry.rest.access",
    **dict.fromkeys(("AttemptOutcome", "Hooks", "RequestAttempt"), "ambry.client.hooks"),
    "KeyInfo": "ambry.client.keys",
    "KeyLimits": "ambry.client.keys",
    **dict.fromkeys(("NameChange", "NameEntry", "Page"), "ambry.client.names"),
    **dict.fromkeys(("NameRef", "Ref", "VersionRef"), "ambry.client.refs"),
    "Pager": "ambry.client.sync.pager",
    "Proxies": "ambry.client.proxies",
    "Upload": "ambry.client.sync.upload_session",
    "VersionEntry": "ambry.client.datasets",
    **dict.fromkeys(
        (
            "BatchResult",
            "BlobInfo",
            "BlobSource",
            "ByteRange",
            "CacheConfig",
            "ClusterHealth",
            "EndpointHealth",
            "Metadata",
            "Progress",
            "RetryPolicy",
            "TLSConfig",
            "Timeout",
            "TransferConfig",
            "UploadedPart",
        ),
        "ambry.client.model",
    ),
    **dict.fromkeys(
        (
            "AccessDenied",
            "AccountNotFound",
            "AlreadyExists",
            "AmbryError",
            "AnswerDamaged",
            "BlobDeleted",
            "BlobExpired",
            "BlobGone",
            "BlobNotFound",
            "ChecksumMismatch",
            "ConfigInvalid",
            "ContainerNotFound",
            "DataCorrupt",
            "DeadlineExceeded",
            "ExpectationFailed",
            "HeadersTooLarge",
            "HttpVersionNotSupported",
            "Unauthenticated",
            "RateLimited",
            "KeyMismatch",
            "KeysUnavailable",
            "EncryptionKeyDeleted",
            "KeyNotFound",
            "InsufficientStorage",
            "InternalError",
            "InvalidBlobId",
            "InvalidRequest",
            "MediaTypeUnsupported",
            "MetadataUnavailable",
            "MethodNotAllowed",
            "MisdirectedRequest",
            "NameDeleted",
            "NameNotFound",
            "NotDeleted",
            "NotSupported",
            "Offline",
            "Overloaded",
            "PeerConnectionLost",
            "PreconditionFailed",
            "ProtocolViolation",
            "QuorumNotReached",
            "QuotaExceeded",
            "RangeNotSatisfiable",
            "RequestTimeout",
            "RetentionLocked",
            "TooLarge",
            "Unavailable",
            "UpdateConflict",
            "UploadGone",
            "UploadNotFound",
            "UriTooLong",
        ),
        "ambry.errors",
    ),
}


# For `from ambry import *` in a notebook; type checkers have the names above.
__all__ = [*_EXPORTS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'ambry' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*_EXPORTS, "__doc__", "__version__"})
