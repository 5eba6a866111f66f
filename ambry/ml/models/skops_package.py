"""Packages of skops, before skops reads them: what is in one is bounded by what it is.

A package is a zip with `schema.json`, which names the files in it that arrays lie in, some of which are zips again (sparse
matrices). skops reads each where it is named, and packs nothing by itself; a stranger may pack a GiB into a MB, and name it a
thousand times.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from ambry.errors import InvalidRequest
from ambry.ml.stable_zip import member_of

SCHEMA = "schema.json"
SCHEMA_SIZE_MAX = 32 << 20
"""Bytes: a forest of 1,000 trees has some 5 MB."""
FILES_MAX = 100_000
UNPACKED_MAX = 256 << 20
UNPACKED_TIMES = 20
"""Files unpack to at most so many bytes, or so many times the package."""
_ZIP = b"PK"


def check_package(path: Path) -> None:
    """Whether a package may be read. Raises InvalidRequest, BadZipFile, OSError, and for a schema that is none MALFORMED."""
    size = path.stat().st_size
    most = max(UNPACKED_MAX, UNPACKED_TIMES * size)
    with ZipFile(path) as package:
        infos = {info.filename: info for info in package.infolist()}
        if len(infos) < len(package.infolist()):
            raise InvalidRequest("the package has two files of one name")
        if len(infos) > FILES_MAX:
            raise InvalidRequest(f"the package has {len(infos)} files, and at most {FILES_MAX} are read")
        schema = infos.get(SCHEMA)
        if schema is None:
            raise InvalidRequest(f"the package has no {SCHEMA}, and so is none of skops")
        if schema.file_size > SCHEMA_SIZE_MAX:
            raise InvalidRequest(
                f"the {SCHEMA} of the package becomes {schema.file_size} bytes, and at most {SCHEMA_SIZE_MAX} are read"
            )
        sizes: dict[str, int] = {}
        unpacked = 0
        for name in _named(json.loads(member_of(package, schema))):
            info = infos.get(name)
            if info is None:
                continue
            if info.file_size > most:
                raise _too_much(info.file_size, size)
            if name not in sizes:
                sizes[name] = info.file_size + _within(package, info)
            unpacked += sizes[name]
            if unpacked > most:
                raise _too_much(unpacked, size)


def _named(schema: Any) -> list[str]:
    """The files that a schema names, each as often as it does."""
    found, waiting = [], [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(node.get("file"), str):
                found.append(node["file"])
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return found


def _within(package: ZipFile, info: ZipInfo) -> int:
    """Bytes that a file becomes which is a package itself."""
    with package.open(info) as file:
        if file.read(len(_ZIP)) != _ZIP:
            return 0
    with package.open(info) as file:
        try:
            with ZipFile(file) as inner:
                return sum(each.file_size for each in inner.infolist())
        except BadZipFile:
            return 0


def _too_much(unpacked: int, size: int) -> InvalidRequest:
    return InvalidRequest(f"the package has {size} bytes, and its files become {unpacked} or more; skops packs nothing")
