"""`ambry://` for fsspec (`pip install 'ambry[fsspec]'`): pandas, pyarrow, dask, torch and whatever else opens files by URL.

    ambry://account/container/name/of/it      what a name points to; in a URL, escapes (%20) are decoded
    ambry+id://ID                             a blob, by its id; for reading

fsspec finds it by itself where both are installed.
"""

from __future__ import annotations

try:
    from ambry.fs.filesystem import AmbryFileSystem
except ModuleNotFoundError as missing:  # pragma: no cover
    if missing.name != "fsspec":
        raise
    raise ModuleNotFoundError("ambry:// needs fsspec: pip install 'ambry[fsspec]'", name="fsspec") from None

__all__ = ["AmbryFileSystem"]
