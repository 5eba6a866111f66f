"""What travels to nodes: the same bytes for the same release, and secrets for their owner alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ambry.ml.training.bundle import ARCHIVE, DOCUMENT, write_bundle


def test_a_bundle_has_a_few_modules_and_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert write_bundle(tmp_path / name, b"{}") == tmp_path / name / ARCHIVE
        made.append((tmp_path / name / ARCHIVE).read_bytes())
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [ARCHIVE, DOCUMENT]
    assert made[0] == made[1]
    names = zipfile.ZipFile(tmp_path / "one" / ARCHIVE).namelist()
    assert [name for name in names if not name.endswith("__init__.py")] == [
        "__main__.py",
        "ambry/client/tree_removal.py",
        "ambry/ml/training/node.py",
        "ambry/ml/training/node_trees.py",
        "ambry/ml/training/roles.py",
        "ambry/ml/training/unpacking.py",
    ]


def test_the_key_and_the_authority_are_files_of_their_owner(tmp_path: Path) -> None:
    write_bundle(tmp_path, b"{}", key="ambry_secret", authority="PEM")
    for name, text in (("key", "ambry_secret"), ("authority.crt", "PEM")):
        assert (tmp_path / name).read_text() == text
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
