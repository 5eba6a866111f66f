import io
from typing import Any, BinaryIO

from fsspec.callbacks import Callback

class AbstractFileSystem:
    protocol: str | tuple[str, ...]
    root_marker: str
    def __init__(self, *args: Any, **storage_options: Any) -> None: ...
    def exists(self, path: str, **kwargs: Any) -> bool: ...
    def isdir(self, path: str) -> bool: ...
    def isfile(self, path: str) -> bool: ...
    def info(self, path: str, **kwargs: Any) -> dict[str, Any]: ...
    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any: ...
    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **kwargs: Any
    ) -> Any: ...
    def cat_ranges(
        self,
        paths: list[str],
        starts: int | list[int | None] | None,
        ends: int | list[int | None] | None,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]: ...
    def get_file(
        self,
        rpath: str,
        lpath: str | None,
        callback: Callback = ...,
        outfile: BinaryIO | None = None,
        **kwargs: Any,
    ) -> None: ...
    def put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Callback = ...,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None: ...

class AbstractBufferedFile(io.IOBase):
    path: str
    mode: str
    size: int | None
    blocksize: int
    offset: int  # None before the first chunk, which nothing here looks at
    autocommit: bool
    buffer: io.BytesIO
    kwargs: dict[str, Any]
    details: dict[str, Any]
    closed: bool  # pyright: ignore[reportIncompatibleMethodOverride]
    def __init__(
        self,
        fs: AbstractFileSystem,
        path: str,
        mode: str = "rb",
        block_size: int | str = "default",
        autocommit: bool = True,
        cache_type: str = "readahead",
        cache_options: dict[str, Any] | None = None,
        size: int | None = None,
        **kwargs: Any,
    ) -> None: ...
    def write(self, data: bytes) -> int: ...
    def _fetch_range(self, start: int, end: int) -> bytes: ...
    def _initiate_upload(self) -> None: ...
    def _upload_chunk(self, final: bool = False) -> bool: ...
