"""Zip archives: the same bytes for the same files, wherever they are made; those of a stranger, read within bounds."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Mapping

_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can say."""
_UNIX = 3
"""On whatever it is made: the mode is read by that."""


def stable_member(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    """What an archive says of a file, stored as it is unless who writes it says otherwise."""
    member = zipfile.ZipInfo(name, _EARLIEST)
    member.create_system = _UNIX
    member.external_attr = mode << 16
    return member


def stored_zip(members: Mapping[str, bytes]) -> bytes:
    """A zip of these files, in their order."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(stable_member(name), data)
    return packed.getvalue()


def member_of(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A file of an archive; no more of it is unpacked than it says that it has. Raises what zipfile raises.

    `ZipFile.read` unpacks all there is, and cuts it afterwards.
    """
    with archive.open(member) as file:
        return file.read(member.file_size + 1)
