"""What schemathesis cannot know: ids of blobs that are there, and frames. Loaded by its command (SCHEMATHESIS_HOOKS)."""

from __future__ import annotations

import os
from typing import Any

from ambry.rest import frames
from tests.support.fake_cluster import some_id

IDS = "AMBRY_TEST_IDS"
"""Of blobs that are there, with commas between them: an environment variable."""


def as_frames(_context: Any, value: Any) -> bytes:
    """Some frames of whatever was drawn."""
    return frames.encode_frame({}, repr(value).encode()) * 3


def wait_no_longer(_context: Any, query: Any) -> Any:
    """A wait for changes that is allowed, and where none comes, is as good a second long as a minute."""
    wait = query.get("wait") if isinstance(query, dict) else None
    return {**query, "wait": "1"} if isinstance(wait, str) and wait.isdigit() and 1 < int(wait) <= 60 else query


if IDS in os.environ:
    import schemathesis
    from hypothesis import strategies as st

    schemathesis.openapi.format("ambry-blob-id", st.sampled_from([*os.environ[IDS].split(","), str(some_id())]))
    schemathesis.hook("map_query")(wait_no_longer)
    schemathesis.serializer(frames.CONTENT_TYPE)(as_frames)
