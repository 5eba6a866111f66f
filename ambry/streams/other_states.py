"""Changes that are states of other publishers are not published: each token that one keeps would have the others keep theirs.

A change of a blob does not say what is in it, so its content type is asked for, where that matters: on a page all of whose
changes may be of states. Where a page has anything else, the token behind it is kept anyway, and nobody is kept busy.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ambry.client.changes import ToldChange
from ambry.client.sync.client import AmbryClient
from ambry.errors import AmbryError
from ambry.ids import BlobId
from ambry.streams.state import CONTENT_TYPE, HISTORY_MAX, SIZE_MAX

LOOKS_MAX = 30
"""Changes of a page that are looked at: ten publishers that keep a token at once."""
_ASKED_OF = ("blob.put", "name.put")
"""A blob that is deleted says nothing; its put was seen before."""


def is_state(client: AmbryClient, blob: BlobId) -> bool:
    """Whether a publisher keeps, or kept, its state there; False where it cannot be known."""
    with suppress(AmbryError):
        return client.head(blob).content_type == CONTENT_TYPE
    return False


class OtherStates:
    """Of one run. `is_state` is asked once for each blob that may be one."""

    def __init__(self, is_state: Callable[[BlobId], bool]) -> None:
        self._is_state = is_state
        self._known: dict[BlobId, None] = {}

    def without(self, changes: list[ToldChange]) -> list[ToldChange]:
        """These but for those of states that are known, or found now."""
        left = [each for each in changes if each.id not in self._known]
        if len(left) <= LOOKS_MAX and all(map(_may_be_of_one, left)):
            for each in left:
                if each.id is None or each.type not in _ASKED_OF or each.id in self._known:
                    continue
                if not self._is_state(each.id):
                    break
                self._know(each.id)
        return [each for each in left if each.id not in self._known]

    def _know(self, blob: BlobId) -> None:
        self._known[blob] = None
        if len(self._known) > HISTORY_MAX:
            del self._known[next(iter(self._known))]


def _may_be_of_one(change: ToldChange) -> bool:
    return change.id is not None and change.type.startswith(("blob.", "name.")) and (change.size or 0) <= SIZE_MAX
