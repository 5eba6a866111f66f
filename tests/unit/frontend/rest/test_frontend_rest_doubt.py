from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from ambry.errors import AccessDenied, MetadataUnavailable, UpdateConflict
from frontend.rest.doubt import told_in_doubt


@dataclass
class Exchange:
    """As much of one as is looked at."""

    noted: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("error", "doubt"),
    [
        (None, False),
        (AccessDenied("no"), False),
        (UpdateConflict("no"), False),
        (MetadataUnavailable("it does not answer"), True),
        (asyncio.CancelledError(), True),
        (TimeoutError(), True),
    ],
)
def test_what_was_asked_for_is_told_where_it_may_have_been_done(error: BaseException | None, doubt: bool) -> None:
    exchange: Any = Exchange()
    try:
        with told_in_doubt(exchange, lambda: iter(["c: isPrivate to false"])):
            if error is not None:
                raise error
    except BaseException as caught:
        assert caught is error
    assert exchange.noted == ({"asked_for": ["c: isPrivate to false"]} if doubt else {})
