"""The directory that all replicas of a node live in, one directory each."""

from __future__ import annotations

from pathlib import Path

from ambry.errors import ConfigInvalid
from datanode.disk import Disk
from datanode.store.files import Files
from datanode.store.trouble import passes


async def make(files: Files, disk: Disk, directory: Path) -> None:
    """Make it where it is not there. Raises ConfigInvalid where it cannot be had, and nothing of the node could be opened."""
    try:
        await disk.submit_patiently(files.make_directory, directory)
    except OSError as error:
        if passes(error):
            return  # out of descriptors, or of room: each replica is tried again, and says so
        reason = "it is a file" if isinstance(error, FileExistsError) else (error.strerror or str(error)).lower()
        raise ConfigInvalid(
            f"node.data_dir: {directory} is no directory that this process can use: {reason}; "
            "correct the path, mend the rights, or mount the disk"
        ) from error
