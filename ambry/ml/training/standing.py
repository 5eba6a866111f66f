"""Blobs of a job that its newest run replaces: a run that stood still, and goes on after a later one, replaces none of them."""

from __future__ import annotations

from ambry.client.refs import NameRef, PinnedName, found_entry
from ambry.client.sync.client import AmbryClient
from ambry.errors import AmbryError, BlobGone, BlobNotFound, PreconditionFailed, UpdateConflict
from ambry.ml.training.gangs import OVERTAKEN, looks


def standing(client: AmbryClient, name: NameRef) -> PinnedName | None:
    """What stands there now. Raises AmbryError."""
    try:
        info = client.head(name)
    except (BlobNotFound, BlobGone):
        return None
    return found_entry(name, info.id, info.etag)


def check_standing(client: AmbryClient, name: NameRef, etag: str) -> None:
    """Raises UpdateConflict where something else stands there by now, and AmbryError."""
    now = standing(client, name)
    if now is None or now.etag != etag:
        raise _overtaken(name)


def delete_standing(client: AmbryClient, before: PinnedName | None) -> None:
    """Delete what stood there, if anything did. Raises UpdateConflict where something else does by now, and AmbryError."""
    if before is None:
        return
    try:
        client.delete(before)
    except (BlobNotFound, BlobGone):
        return
    except PreconditionFailed:
        raise _overtaken(NameRef(before.name, before.account, before.container)) from None


def replace_standing(client: AmbryClient, name: NameRef, before: PinnedName | str | None, data: bytes) -> str:
    """Put JSON in the place of what stood there, or of what has that ETag; its ETag. Durable on return.

    Raises UpdateConflict where something else stands there by now, and AmbryError.
    """
    for _ in looks(str(name)):
        try:
            if before is None:
                return client.put(data, name=name, content_type="application/json", if_absent=True).etag
            etag = before if isinstance(before, str) else before.etag
            return client.put(data, name=name, content_type="application/json", if_match=etag).etag
        except UpdateConflict:
            continue  # Another put is on its way: it is looked at again whether it was one of another run.
        except OVERTAKEN:
            try:
                now = standing(client, name)
                if now is not None and client.get_bytes(now) == data:  # The answer of an earlier try was lost.
                    return now.etag
            except AmbryError as error:
                raise _overtaken(name) from error
            raise _overtaken(name) from None
    raise _overtaken(name)


def _overtaken(name: NameRef) -> UpdateConflict:
    return UpdateConflict(f"{name} was changed by a later submission of the job: this one ends, and changes nothing")
