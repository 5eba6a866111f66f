"""What messages say to a job of actions: a change of the feed, or what a file adds to a member.

What says neither is refused with a sentence, by the twin in Java (deploy/streams) as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, TypeGuard

from ambry.errors import InvalidBlobId, InvalidRequest
from ambry.ids import BlobId
from ambry.streams.windows import Days, is_days

_MEMBERS = range(-(1 << 63), 1 << 63)
_SHOWN_MAX = 80
"""Characters of a message in a sentence."""


def is_file(change: Any, folder: str) -> bool:
    """Whether a message of the topic of changes is the put of a name below `folder`. Raises InvalidRequest for no change."""
    if not isinstance(change, dict) or not isinstance(change.get("type"), str):
        _refuse("no change", change)
    if change["type"] != "name.put":
        return False
    name = change.get("name")
    if not isinstance(name, str):
        _refuse("no change", change)
    if not name.startswith(folder):
        return False
    if not _is_blob(change.get("id")):
        _refuse("no change", change)
    return True


def part_of(told: Any) -> tuple[int, str, Days]:
    """The member, the file and its days that a message of the topic by member says. Raises InvalidRequest."""
    said: Mapping[str, Any] = told if isinstance(told, dict) else {}
    member, file, days = said.get("member"), said.get("file"), said.get("days")
    if type(member) is not int or member not in _MEMBERS or not _is_blob(file) or not is_days(days):
        _refuse("not what a file adds to a member", told)
    return member, file, days


def _is_blob(id: Any) -> TypeGuard[str]:
    try:
        return isinstance(id, str) and bool(BlobId.parse(id))
    except InvalidBlobId:
        return False


def _refuse(what: str, message: Any) -> NoReturn:
    shown = repr(message)
    shown = shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}..."
    raise InvalidRequest(f"a message is {what}: {shown}; is it another topic?")
