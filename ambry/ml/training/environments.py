"""Sources and environments of jobs in the store: archives named by their SHA-256, so that the same tree is one blob.

training.trees/sha256/<64 hexadecimal digits>    in the container of the job: no parts of a model that is called training
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from ambry.client.refs import VersionRef
from ambry.client.scratch import scratch_directory
from ambry.client.sync.client import AmbryClient
from ambry.errors import MALFORMED, InvalidRequest
from ambry.ids import BlobId
from ambry.ml.models.parts import STORED, UNUSED, brought_back, contents_of, part_name, renewed, store_part
from ambry.ml.training.jobs import FOLDER, StoredTree
from ambry.ml.training.packing import Kind, pack_sources, pack_venv, pack_wheels, silent
from ambry.ml.training.unpacking import NO_ARCHIVE

TREES = "trees"
_CALLED: dict[Kind, str] = {"sources": "sources", "venv": "an environment", "wheels": "wheels"}
PYTHON_TIMEOUT_S = 60.0
_PACKAGES = """\
import json, sys
from importlib.metadata import distributions
sys.path[:] = [each for each in sys.path if each]
has = [(each.metadata["Name"], each.version) for each in distributions()]
print(json.dumps([sys.version.split()[0], ["%s==%s" % each for each in has if each[0]]]))
"""


def store_tree(
    client: AmbryClient, kind: Kind, root: Path, only: str | None = None, tell: Callable[[str], None] = silent
) -> StoredTree:
    """Pack a directory, or one file of it, and store it, or find it where the same is there; durable on return.

    What may take long is told before it begins.

    Raises InvalidRequest for what is no tree of that kind, OSError.
    """
    with scratch_directory("tree") as made:
        archive = made / "tree.zip"
        tell(f"packs {root / only if only else root} ({_CALLED[kind]})")
        if kind == "venv":
            pack_venv(root, archive, tell)
        elif kind == "wheels":
            pack_wheels(root, archive)
        else:
            pack_sources(root, archive, only, tell)
        tell(f"sends {archive.stat().st_size:,} bytes of {_CALLED[kind]}, unless the store has them")
        part = store_part(client, VersionRef(FOLDER), f"{kind}.zip", archive, folder=TREES)
    return StoredTree(kind=kind, id=str(part.id), sha256=part.sha256, size=part.size)


def stored_tree(client: AmbryClient, blob: str) -> StoredTree:
    """An environment that was stored before, by its id, which has the age of this moment from now on.

    Raises BlobNotFound, and InvalidRequest for what is none.
    """
    info = client.head(BlobId.parse(blob))
    place = VersionRef(FOLDER)
    # Its name is its digest, which the id alone does not tell. A delete that was killed, or goes on, may have set it aside.
    for within in (STORED, UNUSED):
        for entry, sha256 in contents_of(client, place, TREES, within):
            if entry.id != info.id:
                continue
            if within == UNUSED:
                brought_back(client, place, sha256, TREES, info.id)
            if not renewed(client, part_name(place, sha256, TREES), info.id):
                break
            try:
                with client.open(info.id) as file, zipfile.ZipFile(file) as archive:
                    kind: Kind = "venv" if "pyvenv.cfg" in archive.namelist() else "wheels"
            except NO_ARCHIVE as error:
                raise InvalidRequest(
                    f"blob {blob} is no archive of an environment ({error}); send the environment itself, or store it again "
                    "(`ambry train pack`)"
                ) from None
            return StoredTree(kind=kind, id=blob, sha256=sha256, size=info.size)
    raise InvalidRequest(
        f"blob {blob} is no environment of {client.default_account}/{client.default_container}; `ambry train pack` stores one"
    )


def list_packages(client: AmbryClient, python: str = "", tell: Callable[[str], None] = silent) -> StoredTree:
    """Store which Python and which packages workers have whose environment is not sent: those of this process, or of `python`.

    A `python` that this machine cannot ask is written down by its path, as one whose packages are not known, and told.
    """
    if not python:
        version = sys.version.split()[0]
        text = environment_text(
            f"python=={version}", (f"{each.name}=={each.version}" for each in distributions() if each.name)
        )
    else:
        try:
            version, packages = _asked(python)
            text = environment_text(f"python=={version}", packages)
        except (OSError, subprocess.SubprocessError, *MALFORMED):
            unknown = f"packages of {python} are not known: the machine that submitted could not ask it"
            text = environment_text(unknown, ())
            tell(f"the {unknown}")
    part = store_part(client, VersionRef(FOLDER), "packages.txt", text.encode(), folder=TREES)
    return StoredTree(kind="listed", id=str(part.id), sha256=part.sha256, size=part.size)


def _asked(python: str) -> tuple[str, list[str]]:
    """Version and packages of another Python. Raises OSError, SubprocessError, and MALFORMED for an answer that is none."""
    command = [shutil.which(python) or python, "-c", _PACKAGES]
    said: dict[str, Any] = {"capture_output": True, "text": True, "timeout": PYTHON_TIMEOUT_S, "check": True}
    done = subprocess.run(command, **said)  # nosec B603 # the Python of the job, asked what it has
    version, packages = json.loads(done.stdout)
    return str(version), [str(each) for each in packages]


def environment_text(python: str, packages: Iterable[str]) -> str:
    """As pip freezes it: sorted, each once."""
    return "\n".join([f"# {python}", *sorted(set(packages), key=str.lower)]) + "\n"
