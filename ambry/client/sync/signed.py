# Generated from ambry/client/aio/signed.py by `make sync-client`; change that file, not this one.
"""URLs that let somebody without a key make one call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Literal

from ambry.client import wire
from ambry.client.model import Timeout
from ambry.client.refs import NameRef, Ref, VersionRef
from ambry.client.sync.calls import SyncCalls
from ambry.durability import Durability
from ambry.errors import InvalidRequest
from ambry.ids import BlobId

HOUR = timedelta(hours=1)


class SyncSignedUrls(SyncCalls):
    """The call that signs. A URL may do what the key of this client may at the moment when it is used, and dies with that."""

    def presign(
        self,
        method: Literal["GET", "PUT"],
        ref: Ref | None = None,
        *,
        expires: timedelta | int = HOUR,
        max_size: int | None = None,
        content_type: str | None = None,
        once: bool = False,
        ttl: timedelta | int | None = None,
        metadata: Mapping[str, str] | None = None,
        filename: str | None = None,
        durability: Durability | str | None = None,
        if_absent: bool = False,
        timeout: Timeout | None = None,
    ) -> str:
        """A URL that is good for one call for so long (seconds, or a timedelta), a week at most, and never longer than the key.

        "GET" reads what `ref` means. "PUT" takes a blob with what is said of it here: under a name or a version, or, without
        `ref`, one that has none. `max_size` bytes is the most it may have, `once` makes the URL good for one upload.
        Whoever has the URL needs no key and no header: treat it as a password.

        >>> url = client.presign("GET", blob, expires=timedelta(minutes=5))
        >>> url.startswith(client.endpoints[0])
        True
        """
        said = (max_size, content_type, ttl, metadata, filename, durability)
        if method == "GET":
            if ref is None:
                raise InvalidRequest("a URL to read needs the blob that it reads")
            if once or if_absent or any(each is not None for each in said):
                raise InvalidRequest("what is said of a blob is said in the URL of its upload, and not of a read")
            request = wire.signed.read_request(self._place(ref), expires)
        elif method == "PUT":
            place = None if ref is None else self._upload_place(ref)
            request = wire.signed.upload_request(
                place,
                self._target,
                expires,
                max_size=max_size,
                content_type=content_type,
                once=once,
                ttl=ttl,
                metadata=metadata,
                filename=filename,
                durability=durability,
                if_absent=if_absent,
            )
        else:
            raise InvalidRequest(f"method is GET or PUT, not {str(method)[:20]!r}")
        return self._ask(request, None, partial(wire.signed.parse_url, self.endpoints), timeout)

    def _upload_place(self, ref: Ref) -> NameRef | VersionRef:
        place = self._place(ref)
        if isinstance(place, BlobId):
            raise InvalidRequest(
                "a blob never changes, so there is no URL that uploads to an id; leave it out, or name a name"
            )
        return place
