"""Paths that clients of an MLflow server name, and that the server opens. Pure."""

from __future__ import annotations

from urllib.parse import unquote

DECODINGS_MAX = 8
"""More percent signs within each other name nothing that anybody stored."""


def is_beneath(path: str) -> bool:
    """Whether a path leads nowhere but down, however often whoever opens it takes percent signs for other characters."""
    for _ in range(DECODINGS_MAX):
        if ".." in path.replace("\\", "/").split("/") or "\0" in path:
            return False
        decoded = unquote(path)
        if decoded == path:
            return True
        path = decoded
    return False
