"""Definitions as one file: a zip that is the same, byte for byte, for the same definitions.

    <namespace>/features.conf       as writing.py writes it
    <namespace>/<file>.csv          each vocabulary

Members are stored (not compressed), in the order of their names, with the earliest time that a zip can say. So the SHA-256 of
the file names what is defined, however the tree is cut into files, and any tool can unpack it into a tree again.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from urllib.parse import quote, unquote

from ambry.errors import MALFORMED, InvalidRequest
from ambry.ml.features.definitions import Definitions
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions, with_vocabularies
from ambry.ml.features.vocabulary import format_vocabulary
from ambry.ml.features.writing import format_definitions
from ambry.ml.stable_zip import member_of, stored_zip

DEFINITIONS_FILE = "features.conf"
CONTENT_TYPE = "application/zip"
PACKAGE_SIZE_MAX = 256 << 20
"""Bytes of all members, unpacked; the whole is in memory when it is read."""
MEMBERS_MAX = 20_000
VOCABULARY_ROWS_MAX = 5_000_000
"""Of all vocabularies of a package, each counted wherever it is named."""
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def pack(metadata: FeatureMetadata) -> bytes:
    """The zip."""
    files: dict[str, str] = {}
    for namespace, definitions in metadata.namespaces.items():
        place = quote(namespace, safe="")
        files[f"{place}/{DEFINITIONS_FILE}"] = format_definitions(definitions)
        for name, vocabulary in definitions.vocabularies.items():
            files[f"{place}/{name}"] = format_vocabulary(vocabulary)
    return stored_zip({name: files[name].encode() for name in sorted(files)})


def digest(metadata: FeatureMetadata) -> str:
    """SHA-256 of the package, in hexadecimal: what these definitions are called whatever version they were published as."""
    return hashlib.sha256(pack(metadata)).hexdigest()


def unpack(packed: bytes) -> FeatureMetadata:
    """Raises InvalidRequest for what is no package."""
    texts = _texts(packed)
    found: list[Definitions] = []
    rows = 0

    def vocabulary(path: str) -> str | None:
        nonlocal rows
        text = texts.get(path)
        rows += 0 if text is None else text.count("\n") + 1
        if rows > VOCABULARY_ROWS_MAX:
            raise InvalidRequest(f"{path}: vocabularies with more than {VOCABULARY_ROWS_MAX} rows in all are not read")
        return text

    for name in sorted(texts):
        place, _, file = name.partition("/")
        if file != DEFINITIONS_FILE:
            continue
        definitions = parse_definitions(texts[name], unquote(place), name)
        found.append(with_vocabularies(definitions, lambda file, place=place: vocabulary(f"{place}/{file}")))  # type: ignore[misc]
    if not found:
        raise InvalidRequest("this zip has no definitions of features in it")
    return FeatureMetadata.of(found)


def _texts(packed: bytes) -> dict[str, str]:
    """Raises InvalidRequest."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > MEMBERS_MAX:
                raise ValueError(f"it has {len(members)} files, and one has at most {MEMBERS_MAX}")
            if strange := next((each for each in members if each.compress_type not in _PACKINGS), None):
                raise ValueError(f"{strange.filename[:80]!r} is packed in a way that is not read; store or deflate it")
            size = sum(member.file_size for member in members)
            texts = (
                {}
                if size > PACKAGE_SIZE_MAX
                else {each.filename: member_of(archive, each).decode() for each in members}
            )
    except (zipfile.BadZipFile, struct.error, zlib.error, RuntimeError, EOFError, OSError, *MALFORMED) as error:
        raise InvalidRequest(f"this is no package of definitions: {error}") from error
    if size > PACKAGE_SIZE_MAX:
        raise InvalidRequest(f"definitions of more than {PACKAGE_SIZE_MAX} bytes are not read")
    return texts
