# Generated from ambry/client/aio/names.py by `make sync-client`; change that file, not this one.
"""Names of blobs: which there are, what they point to, and every change of that."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ambry.client import wire
from ambry.client.model import BlobInfo, Timeout
from ambry.client.refs import NameRef, Ref
from ambry.client.sync.lifecycles import SyncLifecycles
from ambry.client.sync.pager import Pager
from ambry.errors import AlreadyExists, BlobNotFound, UpdateConflict
from ambry.ids import BlobId

if TYPE_CHECKING:
    from ambry.client.names import NameChange, NameEntry


class SyncNames(SyncLifecycles):
    """The calls on names. One that is only text is in the account and the container of the client."""

    def resolve(self, name: Ref, *, timeout: Timeout | None = None) -> BlobId:
        """The blob that a name points to now. Raises BlobNotFound, BlobGone where the name or its blob is over.

        >>> info = client.put(b"weights", name="models/resolved")
        >>> client.resolve("models/resolved") == info.id
        True
        """
        return self._identify(name, timeout)

    def bind(
        self, name: str | NameRef, blob: Ref, *, if_absent: bool = True, timeout: Timeout | None = None
    ) -> BlobInfo:
        """Let a name point to a blob of its container; a delete of the name leaves that blob.

        Raises AlreadyExists for a name that exists, unless `if_absent` is false; BlobNotFound.

        >>> bound = client.bind("greetings/bound", blob)
        >>> bound.id == blob
        True
        """
        timeout = self._whole(timeout)
        place = self._name(name)
        bound = self._identify(blob, timeout)
        try:
            self._ask(
                *wire.names.bind_request(place, bound, overwrite=not if_absent), wire.names.parse_changed, timeout
            )
        except AlreadyExists as error:
            # A repetition finds what its first try did.
            if not error.repeated or self._identify(place, timeout) != bound:
                wire.names.reword(error, place, "if_absent=False (--overwrite) lets it point to this blob")
                raise
        return self.head(place, timeout=timeout)

    def rename(
        self, src: str | NameRef, dst: str | NameRef, *, overwrite: bool = False, timeout: Timeout | None = None
    ) -> BlobInfo:
        """Move what the name `src` points to to the name `dst` of the same container, in one moment; nothing is copied.

        Raises AlreadyExists for a `dst` that exists, unless `overwrite`; BlobNotFound for a `src` that does not.

        >>> draft = client.put(b"text", name="drafts/one")
        >>> moved = client.rename("drafts/one", "texts/one")
        >>> moved.id == draft.id
        True
        """
        timeout = self._whole(timeout)
        old, new = self._name(src), self._name(dst)
        try:
            request = wire.names.rename_request(old, new, overwrite=overwrite)
            self._ask(*request, wire.names.parse_changed, timeout)
        except (AlreadyExists, BlobNotFound, UpdateConflict) as error:
            if not error.repeated or not self._was_renamed(old, new, timeout):
                if isinstance(error, AlreadyExists):
                    wire.names.reword(error, new, "overwrite=True (--overwrite) lets it point to this blob")
                raise
        return self.head(new, timeout=timeout)

    def _was_renamed(self, old: NameRef, new: NameRef, timeout: Timeout | None) -> bool:
        """Whether what the one pointed to before it was deleted is what the other points to since that moment."""
        try:
            gone = self._ask(wire.names.history_request(old, None), None, wire.names.parse_history, timeout)
            come = self._ask(wire.names.history_request(new, None), None, wire.names.parse_history, timeout)
        except BlobNotFound:
            return False
        if len(gone.entries) < 2:
            return False
        deleted, before = gone.entries[:2]
        return deleted.deleted and any(
            each.id == before.id and each.modified == deleted.modified for each in come.entries
        )

    def list(
        self,
        prefix: str = "",
        *,
        delimiter: str | None = None,
        start_after: str | None = None,
        page_size: int = 1_000,
        timeout: Timeout | None = None,
    ) -> Pager[NameEntry]:
        """The names that begin with `prefix`, which may be an ambry://, by the order of their bytes.

        With `delimiter` those that have it beyond the prefix are told as one. Whatever others write meanwhile, a name that
        is there all the time comes exactly once. `start_after` is a name, as it is, behind which the list begins.

        >>> for day in ("monday", "tuesday"):
        ...     logged = client.put(b"a line", name=f"logs/{day}")
        >>> [entry.ref.name for entry in client.list("logs/")]
        ['logs/monday', 'logs/tuesday']
        """
        within = self._prefix(prefix)
        wire.names.list_request(
            within, delimiter, start_after, page_size, None
        )  # Raises now, and not at the first entry.
        request = partial(wire.names.list_request, within, delimiter, start_after, page_size)
        return Pager(self, request, partial(wire.names.parse_list, within), timeout)

    def history(self, name: str | NameRef, *, timeout: Timeout | None = None) -> Pager[NameChange]:
        """What a name pointed to, the newest first.

        >>> for text in (b"one", b"two"):
        ...     said = client.put(text, name="texts/changing")
        >>> [change.size for change in client.history("texts/changing")]
        [3, 3]
        """
        return Pager(self, partial(wire.names.history_request, self._name(name)), wire.names.parse_history, timeout)
