"""What there is in the file system. Directories are what names begin with, and those that were made; nothing is kept of
what was listed."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from os import PathLike
from typing import Any

from fsspec.spec import AbstractFileSystem
from fsspec.utils import stringify_path

from ambry.client.names import NameEntry
from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import AccessDenied, AmbryError, InvalidRequest
from ambry.fs.directories import MadeDirectories
from ambry.fs.entries import Info, directory_info, entry_info, file_info
from ambry.fs.paths import Where, path_of, url_of, where_of

PAGE_SIZE = 1_000
"""In names."""


class Listing(AbstractFileSystem):  # type: ignore[misc]
    """The calls that look."""

    client: AmbryClient
    _made: MadeDirectories

    @classmethod
    def _strip_protocol(cls, path: str | PathLike[str] | list[str]) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        return path_of(stringify_path(path))

    def unstrip_protocol(self, name: str) -> str:
        return url_of(self._strip_protocol(name))

    @classmethod
    def _parent(cls, path: str) -> str:
        return path_of(stringify_path(path)).rpartition("/")[0]

    # --- what there is ---

    def info(self, path: str, **_: Any) -> Info:
        """Raises FileNotFoundError."""
        where = self._where(path)
        if where.name or where.blob:
            try:
                return file_info(where.path, self.client.head(where.ref))
            except FileNotFoundError:
                if where.blob is not None:
                    raise
            except AccessDenied:  # A key for what is beneath a directory has no right to a file in its place.
                if where.blob is not None or not self._is_directory(where):
                    raise
                return directory_info(where.path)
            except InvalidRequest:
                self._check_container(where)
                raise
        if not self._is_directory(where):
            raise FileNotFoundError(errno.ENOENT, "no such name, nor any that begins with it", url_of(where.path))
        return directory_info(where.path)

    def infos(self, paths: Sequence[str]) -> list[Info]:
        """What `info` says of files, in one request for a thousand. Raises FileNotFoundError, AccessDenied."""
        places = [self._where(path) for path in paths]
        found = []
        for where, result in zip(places, self.client.head_many([each.ref for each in places]), strict=True):
            if isinstance(result.error, AccessDenied):
                found.append(self.info(where.path))  # Some keys are for one by one.
            elif result.info is None:
                raise result.error or FileNotFoundError(errno.ENOENT, "there is no such name", url_of(where.path))
            else:
                found.append(file_info(where.path, result.info))
        return found

    def exists(self, path: str, **_: Any) -> bool:
        """False is proven: where nobody can tell, it raises."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def isfile(self, path: str) -> bool:
        return self._is(path, "file")

    def isdir(self, path: str) -> bool:
        return self._is(path, "directory")

    def _is(self, path: str, type: str) -> bool:
        try:
            return bool(self.info(path)["type"] == type)
        except FileNotFoundError:
            return False

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What stands in a directory, by name. Raises FileNotFoundError."""
        where = self._where(path)
        found = list(self._entries(where))
        if not found and (where.name or where.blob):
            found = [self.info(where.path)]
            if found[0]["type"] == "directory":
                found = []
        return found if detail else [each["name"] for each in found]

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **kwargs: Any
    ) -> Any:
        """All files beneath a path, in one listing where nothing else is asked for; with the one that the path is itself."""
        where = self._where(path)
        if maxdepth is not None or withdirs or not where.container:
            return super().find(where.path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **kwargs)
        prefix = f"{where.name}/" if where.name else ""
        found = {each["name"]: each for each in self._listed(where, prefix, None)}
        if where.name:
            try:
                found = {where.path: file_info(where.path, self.client.head(where.ref)), **found}
            except FileNotFoundError:
                pass
            except AccessDenied:  # A key for what is beneath has no right to it.
                if not found:
                    raise
        return found if detail else list(found)

    def created(self, path: str) -> datetime:
        return self._time(path, "created")

    def modified(self, path: str) -> datetime:
        """When it was put: what is put in the place of another one is another blob."""
        return self._time(path, "mtime")

    def _time(self, path: str, which: str) -> datetime:
        info = self.info(path)
        if info["type"] != "file":
            raise IsADirectoryError(errno.EISDIR, "a directory has no time", url_of(info["name"]))
        time: datetime = info[which]
        return time

    def ukey(self, path: str) -> str:
        """The id of its blob: never of other bytes."""
        return str(self._file(path)["id"])

    def sign(self, path: str, expiration: int = 100, **_: Any) -> str:
        """A URL that reads it for so many seconds without a key."""
        return self.client.presign("GET", self._where(path).ref, expires=timedelta(seconds=expiration))

    def _where(self, path: str) -> Where:
        return where_of(self._strip_protocol(path))

    def _file(self, path: str) -> Info:
        """Raises FileNotFoundError, IsADirectoryError."""
        info = self.info(path)
        if info["type"] != "file":
            raise IsADirectoryError(errno.EISDIR, "it is a directory", url_of(info["name"]))
        return info

    def _check_container(self, where: Where) -> None:
        """Raises FileNotFoundError for a container that is not there."""
        try:
            self.client.container(where.account, where.container)
        except FileNotFoundError:
            raise FileNotFoundError(
                errno.ENOENT,
                "there is no such container (fs.mkdir and `ambry container create` make one)",
                f"{where.account}/{where.container}",
            ) from None
        except AmbryError:
            return

    def _is_directory(self, where: Where) -> bool:
        if not where.account:
            return True
        if not where.container:
            self.client.account(where.account)
            return True
        return self._has_names(where) or not where.name or where.path in self._made

    def _has_names(self, where: Where) -> bool:
        """Whether any name of a container begins so. Raises FileNotFoundError where there is no such container."""
        return bool(next(self._pages(where, f"{where.name}/" if where.name else "", None, size=1)))

    def _entries(self, where: Where) -> Iterator[Info]:
        if where.blob is not None:
            return
        if not where.account:
            yield from (directory_info(each.name) for each in self.client.accounts())
        elif not where.container:
            account = self.client.account(where.account)
            yield from (directory_info(f"{account.name}/{each.name}") for each in account.containers)
        else:
            made = dict.fromkeys(self._made.within(where.path))
            for entry in self._listed(where, f"{where.name}/" if where.name else "", "/"):
                made.pop(entry["name"], None)
                yield entry
            yield from map(directory_info, made)

    def _listed(self, where: Where, prefix: str, delimiter: str | None) -> Iterator[Info]:
        for page in self._pages(where, prefix, delimiter):
            yield from (entry_info(where, entry) for entry in page if entry.name != prefix)

    def _pages(
        self, where: Where, prefix: str, delimiter: str | None, size: int = PAGE_SIZE
    ) -> Iterator[Sequence[NameEntry]]:
        """At least one. Raises FileNotFoundError where there is no such container."""
        begins = str(NameRef(prefix, where.account, where.container))
        pages = self.client.list(begins, delimiter=delimiter, page_size=size).pages()
        try:
            yield from (page.entries for page in pages)
        except InvalidRequest:
            self._check_container(where)
            raise
