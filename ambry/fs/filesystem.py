"""The file system that fsspec knows as `ambry`: reading and writing by name."""

from __future__ import annotations

import errno
import warnings
from collections import defaultdict
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO

from fsspec.callbacks import DEFAULT_CALLBACK, Callback
from fsspec.core import has_magic
from fsspec.utils import isfilelike

from ambry.client.beside import LEFT_OUT, is_ours
from ambry.client.copying import copy_blob, delete_copied
from ambry.client.credentials import KeyFile
from ambry.client.model import ClientOptions, StrPath
from ambry.client.refs import NameRef, PinnedName, found_entry
from ambry.client.sync.client import AmbryClient
from ambry.errors import AlreadyExists, AmbryError, RangeNotSatisfiable
from ambry.fs.directories import MadeDirectories
from ambry.fs.entries import Info, progress_of
from ambry.fs.file import AmbryFile
from ambry.fs.listing import Listing
from ambry.fs.paths import url_of, where_of
from ambry.ids import BlobId

_OPTIONS = frozenset(ClientOptions.__annotations__)
_OF_FSSPEC = frozenset(
    (
        *("asynchronous", "loop", "batch_size", "use_listings_cache", "listings_expiry_time", "max_paths"),
        *("block_size", "cache_type", "cache_options", "auto_mkdir", "add_docs", "add_aliases"),
    )
)
"""What fsspec itself, and who passes what is meant for files, says to every file system."""
_OF_TEXT = ("encoding", "errors", "newline")
"""What callers such as TensorBoard pass for bytes too, where it means nothing."""


class AmbryFileSystem(Listing):
    """Blobs by their names, and by their ids.

    Storage options are the arguments of `AmbryClient.from_env`: `profile`, `endpoints`, `key`, ..., and `key_file`, whose path
    is all that goes to other processes. Without any it is the cluster that the command line speaks to. What is none of them is
    refused: another cluster would be read and written. Usable by threads; a process that was forked makes one of its own.

    A file that is written over is another blob: the name points to it from then on, and whoever reads the one before goes on in
    it. Nothing is ever changed in place.
    """

    protocol = ("ambry", "ambry+id")
    root_marker = ""

    def __init__(self, profile: str | None = None, *, key_file: StrPath | None = None, **options: Any) -> None:
        """Raises TypeError for what is no storage option, ConfigInvalid."""
        own = {name: options.pop(name) for name in list(options) if name in _OPTIONS}
        for name in options.keys() - _OF_FSSPEC:
            known = sorted(_OPTIONS | {"profile", "key_file"})
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise TypeError(f"ambry:// has no storage option {name!r}: {hint}")
        if key_file is not None:
            if own.get("key") is not None or own.get("auth") is not None:
                raise TypeError("key, key_file and auth each say what opens the cluster: say one of them")
            own["auth"] = KeyFile(key_file)
        super().__init__(profile=profile, **options)
        self.client = AmbryClient.from_env(profile, **own)
        self._made = MadeDirectories()

    # --- reading ---

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        details: Info | None = None,
        **said: Any,
    ) -> AmbryFile:
        """With `details`, what `info` said before, that blob is read, whatever the name points to now."""
        for text in _OF_TEXT:
            said.pop(text, None)
        details = (details or self._file(path)) if mode == "rb" else None
        if mode == "xb" and self.exists(path):
            raise FileExistsError(errno.EEXIST, "the name exists", url_of(self._strip_protocol(path)))
        return AmbryFile(
            self,
            path,
            mode,
            details=details,
            block_size=block_size,
            autocommit=autocommit,
            cache_options=cache_options,
            **said,
        )

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Bytes `start` to `end` (exclusive); negative ones count from the end."""
        ref = self._where(path).ref
        if not start and end is None:
            return self.client.get_bytes(ref)
        try:
            if (start or 0) >= 0 and (end is None or end >= 0):
                return self.client.get_bytes(ref, range=(start or 0, end)) if end is None or end > (start or 0) else b""
            info = self._file(path)
            first, stop, _step = slice(start, end).indices(info["size"])
            return self.client.get_bytes(self.found(info), range=(first, stop)) if first < stop else b""
        except RangeNotSatisfiable:
            return b""

    def cat_ranges(
        self,
        paths: list[str],
        starts: int | list[int | None] | None,
        ends: int | list[int | None] | None,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Many ranges: those of one file go in few requests. `max_gap` changes nothing: they cost no round trip each."""
        firsts = starts if isinstance(starts, list) else [starts] * len(paths)
        stops = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(paths) == len(firsts) == len(stops):
            raise ValueError("as many starts and ends as there are paths, or one of each")
        by_path: dict[str, list[int]] = defaultdict(list)
        for index, path in enumerate(paths):
            by_path[path].append(index)
        found: list[Any] = [None] * len(paths)
        for path, indices in by_path.items():
            spans = [(firsts[index], stops[index]) for index in indices]
            for index, piece in zip(indices, self._pieces(path, spans, on_error), strict=True):
                found[index] = piece
        return found

    def _pieces(self, path: str, spans: list[tuple[int | None, int | None]], on_error: str) -> list[Any]:
        plain = [(first, stop) for first, stop in spans if first is not None and stop is not None and 0 <= first < stop]
        if len(plain) == len(spans) > 1:
            try:
                return list(self.client.get_ranges(self._where(path).ref, plain))
            except AmbryError:
                pass  # One of them; each is asked for by itself.
        firsts, stops = map(list, zip(*spans, strict=True))
        found: list[Any] = super().cat_ranges([path] * len(spans), firsts, stops, on_error=on_error)
        return found

    def get_file(
        self,
        rpath: str,
        lpath: str | None,
        callback: Callback = DEFAULT_CALLBACK,
        outfile: BinaryIO | None = None,
        **kwargs: Any,
    ) -> None:
        """Download a file; a local file appears whole and verified, or not at all."""
        if outfile is not None or isfilelike(lpath):
            super().get_file(rpath, lpath, callback=callback, outfile=outfile, **kwargs)
            return
        info = self.info(rpath)
        here = Path(lpath or "")
        if info["type"] == "directory":
            here.mkdir(parents=True, exist_ok=True)
            return
        here.parent.mkdir(parents=True, exist_ok=True)
        self.client.get_file(self.found(info), here, overwrite=True, progress=progress_of(callback))

    # --- writing ---

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **said: Any) -> None:
        self.client.put(value, name=self.name_of(path), if_absent=mode == "create", **said)

    def put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Callback = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **how: Any,
    ) -> None:
        """Store files, or with `recursive` folders, without what downloads and uploads keep there to go on from."""
        super().put(lpath, rpath, recursive, callback, maxdepth, of_folder=recursive, **how)

    def put_file(
        self,
        lpath: str,
        rpath: str,
        callback: Callback = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        *,
        of_folder: bool = False,
        **said: Any,
    ) -> None:
        if Path(lpath).is_dir():
            return
        if of_folder and is_ours(Path(lpath).name):
            warnings.warn(f"{lpath}: {LEFT_OUT}", stacklevel=3)
            return
        self.client.put_file(
            lpath, name=self.name_of(rpath), if_absent=mode == "create", progress=progress_of(callback), **said
        )

    def touch(self, path: str, truncate: bool = True, **said: Any) -> None:
        """Make an empty file; one that is there is replaced by one, or stays as it is with `truncate` false."""
        try:
            self.client.put(b"", name=self.name_of(path), if_absent=not truncate, **said)
        except AlreadyExists:
            return

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy one, with what is said of it: another blob, so that neither goes with the other."""
        info = self.info(path1)
        if info["type"] == "directory":
            return
        self._copy(self.found(info), path2)

    def found(self, info: Mapping[str, Any]) -> BlobId | PinnedName:
        """As the blob is read that a file was when it was looked at."""
        blob: BlobId = info["id"]
        ref = self._where(info["name"]).ref
        return found_entry(ref, blob, info.get("ETag", "")) if isinstance(ref, NameRef) else blob

    def _copy(self, blob: BlobId | PinnedName, path: str) -> None:
        copy_blob(self.client, self.client, blob, self.name_of(path))

    def mv(self, path1: str, path2: str, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:
        """Move one file, or with `recursive` a directory, file by file.

        Within a container nothing is copied: a file has its new name in one moment, and the id that it had.
        """
        source, target = self._where(path1), self._where(path2)
        if source.path == target.path:
            return
        one = self.info(source.path)["type"] == "file"
        if not one and not recursive:
            raise IsADirectoryError(errno.EISDIR, "it is a directory; pass recursive=True", url_of(source.path))
        base = target.path
        if (str(path2).endswith("/") or self.isdir(base)) and not (not one and str(path1).endswith("/")):
            base = f"{base}/{source.path.rpartition('/')[2]}"
        for path in self.find(source.path) if recursive else [source.path]:
            self._move(path, base + path.removeprefix(source.path))
        if self._made.forget(source.path):
            self._made.add(base)

    def _move(self, path1: str, path2: str) -> None:
        old, new = self.name_of(path1), self.name_of(path2)
        if (old.account, old.container) == (new.account, new.container):
            self.client.rename(old, new, overwrite=True)
            return
        found = found_entry(old, self.client.resolve(old))
        self._copy(found, path2)
        delete_copied(self.client, found)

    def rm_file(self, path: str) -> None:
        """Delete one, with its blob. Raises FileNotFoundError."""
        self.client.delete(self._where(path).ref, missing_ok=False)

    _rm = rm_file

    def rm(self, path: str | list[str], recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete files, and with `recursive` all that is beneath directories; many in few requests.

        Raises FileNotFoundError where there is none, IsADirectoryError; what the first that is left was refused with.
        """
        files: dict[str, None] = {}
        for each in path if isinstance(path, list) else [path]:
            files.update(dict.fromkeys(self._going(each, recursive, maxdepth)))
        for result in self.client.delete_many(where_of(each).ref for each in files):
            if result.error is not None:
                raise result.error
        if recursive:
            for each in path if isinstance(path, list) else [path]:
                self._made.forget(self._where(each).path)

    def _going(self, path: str, recursive: bool, maxdepth: int | None) -> list[str]:
        """The files that a path of `rm` means."""
        where = self._where(path)
        if recursive and where.blob is None and not where.container:
            raise PermissionError(errno.EPERM, "this would delete all that an account has; name a container", path)
        found: list[Info] = list(self.glob(path, detail=True).values()) if has_magic(path) else [self.info(path)]
        files: list[str] = []
        for each in found:
            if each["type"] == "file":
                files.append(each["name"])
            if recursive and (each["type"] == "directory" or not has_magic(path)):  # A name may be both.
                files += self.find(each["name"], maxdepth=maxdepth)
            elif each["type"] == "directory" and not has_magic(path):
                raise IsADirectoryError(errno.EISDIR, "it is a directory; pass recursive=True", url_of(each["name"]))
        if not found:
            raise FileNotFoundError(errno.ENOENT, "nothing is called so", path)
        return files

    def mkdir(self, path: str, create_parents: bool = True, **settings: Any) -> None:
        """Make a container; a directory in it is there for this object alone until something is in it.

        Raises FileExistsError for a container.
        """
        where = self._where(path)
        if where.name:
            self._made.add(where.path)
        elif where.container:
            self.client.create_container(where.account, where.container, **settings)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """As `mkdir`, but that with `exist_ok` no container is made: whoever opens a file to write to it has this called with
        where it is to go (pandas, `fsspec.open`), and a container that was misspelt would be there then.

        Raises FileNotFoundError for a container that is not there.
        """
        where = self._where(path)
        if exist_ok and where.container and not where.name:
            self._check_container(where)
        else:
            self.mkdir(path)

    def rmdir(self, path: str) -> None:
        """Forget a directory that was made. Raises OSError for one that is not empty, and for a container."""
        where = self._where(path)
        if not where.name:
            raise PermissionError(errno.EPERM, "containers are not deleted as directories are", url_of(where.path))
        if self._has_names(where):
            raise OSError(errno.ENOTEMPTY, "the directory is not empty", url_of(where.path))
        self._made.forget(where.path)

    def name_of(self, path: str) -> NameRef:
        """What is written to. Raises FileNotFoundError for a directory above all names, PermissionError for an id."""
        ref = self._where(path).ref
        if not isinstance(ref, NameRef):
            raise PermissionError(errno.EPERM, "a blob never changes; write to a name", url_of(str(ref)))
        return ref
