"""What travels to a node that has no ambry: a few modules of it, as one archive that Python runs (PEP 441).

ambry-node.pyz    ambry/ml/training/node.py and what that imports of ambry, which imports the standard library alone
job.json          what is to run, from where
key               what opens the store, where it asks for one; mode 0600
authority.crt     whom to trust, where the store speaks TLS under an authority of its own
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ambry.ml.stable_zip import stored_zip
from ambry.ml.training.unpacking import naming

ARCHIVE = "ambry-node.pyz"
DOCUMENT = "job.json"
FILES = (ARCHIVE, DOCUMENT, "key", "authority.crt")
_MODULES = (
    "client/tree_removal",
    "ml/training/node",
    "ml/training/node_trees",
    "ml/training/roles",
    "ml/training/unpacking",
)
_MAIN = """\
import os
import sys

from ambry.ml.training.node import main

main(sys.argv[1:], os.environ)
"""


def write_bundle(directory: Path, document: bytes, *, key: str = "", authority: str = "") -> Path:
    """Write all of it into a directory; the archive, which is the same bytes for the same release. Raises OSError."""
    here = Path(__file__).parents[2]
    files: dict[str, str] = {"__main__.py": _MAIN}
    for package in ("ambry", "ambry/client", "ambry/ml", "ambry/ml/training"):
        files[f"{package}/__init__.py"] = ""
    files |= {f"ambry/{name}.py": (here / f"{name}.py").read_text("utf-8") for name in _MODULES}
    secrets: Mapping[str, str] = {"key": key, "authority.crt": authority}
    with naming(directory):
        (directory / ARCHIVE).write_bytes(stored_zip({path: text.encode() for path, text in sorted(files.items())}))
        (directory / DOCUMENT).write_bytes(document)
        for name, text in secrets.items():
            if text:
                (directory / name).touch(mode=0o600)
                (directory / name).write_text(text, "utf-8")
    return directory / ARCHIVE
