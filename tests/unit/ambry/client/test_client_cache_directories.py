"""The directories of the cache of this machine, where they cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.os_errors import text_of
from tests.support.blob_cache import cache_of, new_id


def test_a_cache_that_cannot_be_made_says_what_names_another_one(tmp_path: Path) -> None:
    """It was told as a file that is not there, of which the user had said nothing."""
    (tmp_path / "file").write_text("")
    for place, why in ((Path("/proc/x"), "No such file or directory"), (tmp_path / "file/x", "Not a directory")):
        with pytest.raises(OSError, match="cannot be made") as raised:
            cache_of(place).claim(new_id())
        assert text_of(raised.value) == (
            f"{place}: the cache of this machine cannot be made there ({why}); name another directory (AMBRY_CACHE_DIR)"
        )
