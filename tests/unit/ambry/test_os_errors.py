"""What the system refused is told alike by every command: what it is about, and no number."""

from __future__ import annotations

import errno
import os

import pytest

from ambry.errors import InvalidRequest
from ambry.os_errors import text_of


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/f"), "/f: No such file or directory"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/f"),
            "/f: No space left on device; make room there, or name another place",
        ),
        (OSError(errno.ENOSPC, "full after 3 bytes", "/f"), "/f: full after 3 bytes"),
        (
            FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), "/f"),
            "/f: File exists; move it away, or name another place",
        ),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "/f"), "/f: Read-only file system; name another place"),
        (OSError("no number"), "no number"),
        (InvalidRequest("what is asked"), "what is asked"),
        (ValueError(), "ValueError"),
    ],
)
def test_it_is_told_with_its_file_and_what_to_do(error: Exception, text: str) -> None:
    assert text_of(error) == text
