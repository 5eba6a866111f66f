# Generated from ambry/client/aio/lifecycles.py by `make sync-client`; change that file, not this one.
"""What a blob is, how long it lives, and its end."""

from __future__ import annotations

from datetime import timedelta

from ambry.client import wire
from ambry.client.model import BlobInfo, Timeout
from ambry.client.refs import NameRef, PinnedName, Ref, VersionRef
from ambry.client.sync.calls import SyncCalls
from ambry.client.wire import blobs as blob_wire
from ambry.client.wire.message import Headers
from ambry.errors import (
    AccessDenied,
    AlreadyExists,
    BlobGone,
    BlobNotFound,
    InvalidRequest,
    NameDeleted,
    NotDeleted,
    PreconditionFailed,
    UpdateConflict,
)

AGAIN = 8
"""Attempts to delete a name that others let point elsewhere all the time."""


class SyncLifecycles(SyncCalls):
    """The calls on what is there already."""

    def head(self, ref: Ref, *, timeout: Timeout | None = None) -> BlobInfo:
        """What a blob is, without its bytes. Raises BlobNotFound.

        >>> info = client.head(blob)
        >>> info.size, info.content_type
        (11, 'application/octet-stream')
        """
        return self._head(self._place(ref), timeout)

    def exists(self, ref: Ref, *, timeout: Timeout | None = None) -> bool:
        """Whether the blob can be read. False is proven, doubt is Unavailable.

        >>> client.exists(blob)
        True
        >>> client.exists("no/such/name")
        False
        """
        try:
            self._simple(blob_wire.blob_request("HEAD", self._place(ref)), timeout)
        except BlobNotFound:
            return False
        return True

    def delete(self, ref: Ref, *, missing_ok: bool = True, timeout: Timeout | None = None) -> None:
        """Delete a blob; a name, with the blob that was put under it; or a version, by its number. Again is fine.

        Raises BlobNotFound for one that never was, unless `missing_ok`; UpdateConflict for a version that an alias points to.

        >>> old = client.put(b"old")
        >>> client.delete(old.id)
        >>> client.exists(old.id)
        False
        """
        timeout = self._whole(timeout)
        place = self._place(ref)
        try:
            if isinstance(place, PinnedName):
                self._delete_found(place, timeout)
            elif isinstance(place, NameRef):
                self._delete_name(place, timeout)
            else:
                self._simple(blob_wire.blob_request("DELETE", place), timeout)
        except BlobNotFound:
            if not missing_ok:
                raise

    def _delete_found(self, place: PinnedName, timeout: Timeout | None) -> None:
        """A name while it points to the blob that was found there. Raises PreconditionFailed where it points to another one."""
        (batch,) = wire.batches.list_requests("delete", [place])

        def parse(headers: Headers, body: bytes) -> None:
            (result,) = wire.batches.parse_items("", batch, headers, body, now_ms=self._clock.wall_ms())
            if result.error is not None:
                raise result.error

        try:
            self._ask(batch.request, batch.body, parse, timeout)
        except PreconditionFailed as error:
            if not error.repeated:
                raise
            # An earlier try did it, or it comes right before what others did.

    def _delete_name(self, place: NameRef, timeout: Timeout | None) -> None:
        """Bound to what is there now: a repetition must not delete what somebody put under the name since the first try."""
        for last in range(AGAIN - 1, -1, -1):
            try:
                headers = self._simple(blob_wire.blob_request("HEAD", place), timeout)
                etag = blob_wire.parse_info(place, headers).etag
            except NameDeleted:
                return
            except AccessDenied:
                etag = ""  # Who may not look may delete all the same, whatever is there.
            except BlobGone:
                etag = ""  # Its blob is over, and the name still there.
            try:
                self._simple(blob_wire.blob_request("DELETE", place, etag=etag), timeout)
            except (PreconditionFailed, UpdateConflict) as error:
                if error.repeated:
                    return  # An earlier try did it, or it comes right before what others did.
                if not last:
                    raise
            else:
                return

    def update_ttl(self, ref: Ref, ttl: timedelta | int | None, *, timeout: Timeout | None = None) -> BlobInfo:
        """Let a blob live at least `ttl` longer, or for ever (None); never shortens its life.

        By a name, for which a key needs `write` and `read`, or by its id. Raises BlobNotFound.

        >>> short = client.put(b"short", ttl=60)
        >>> kept = client.update_ttl(short.id, None)
        >>> kept.expires is None
        True
        """
        timeout = self._whole(timeout)
        place = self._place(ref)
        blob = self._identify(place, timeout)
        # A key for some names has its roles by the name alone.
        self._simple(blob_wire.ttl_request(place if isinstance(place, NameRef) else blob, ttl), timeout)
        return self.head(place, timeout=timeout)

    def undelete(self, ref: Ref, *, timeout: Timeout | None = None) -> None:
        """Bring back a blob that was deleted, or a name with it, within the retention window.

        Raises NotDeleted for a blob, AlreadyExists for a name, that is there.

        >>> old = client.put(b"old")
        >>> client.delete(old.id)
        >>> client.undelete(old.id)
        >>> client.get_bytes(old.id)
        b'old'
        """
        place = self._place(ref)
        if isinstance(place, VersionRef):
            raise InvalidRequest(f"{place} cannot be brought back; put its bytes as a new version")
        try:
            if isinstance(place, NameRef):
                self._ask(*wire.names.undelete_request(place), wire.names.parse_changed, timeout)
            else:
                self._simple(blob_wire.undelete_request(place), timeout)
        except (NotDeleted, AlreadyExists) as error:
            if not error.repeated:
                raise
            # An earlier attempt, of unknown outcome, did it.
