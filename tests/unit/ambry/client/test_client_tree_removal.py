"""Trees with directories that may not be written, as a user who is not root removes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ambry
from ambry.client.tree_removal import remove_tree

NOBODY = 65534
WITHOUT_ROOT = """
import os, sys
from pathlib import Path
from ambry.client.scratch import scratch_directory
from ambry.ml.files import written_directory
from ambry.ml.training.node_trees import remove_unused
from ambry.client.tree_removal import remove_tree
# That user may not be able to read the libraries of this one.
if os.geteuid() == 0:
    os.setgroups([]), os.setgid({user}), os.setuid({user})
directory = Path(sys.argv[1])
def locked(mode):
    tree = directory / oct(mode)
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").write_text("x")
    (tree / "a" / "outside").symlink_to(directory / "kept")
    for each in (tree / "a" / "b", tree / "a", tree):
        each.chmod(mode)
    return tree
"""
REMOVED = """
(directory / "kept").mkdir(mode=0o555)
for mode in (0o555, 0o500, 0o300, 0o000):
    remove_tree(locked(mode))
remove_tree(directory / "missing")
print(sorted(os.listdir(directory)), oct((directory / "kept").stat().st_mode & 0o777))
"""
SCRATCH = """
for make in (lambda: scratch_directory("test", directory), lambda: written_directory(directory / "made")):
    try:
        with make() as made:
            (made / "a").mkdir()
            (made / "a" / "file").write_text("x")
            (made / "a").chmod(0o555)
            raise KeyError
    except KeyError:
        pass
print(sorted(os.listdir(directory)))
"""


def as_nobody(script: str, directory: Path) -> str:
    """What it prints, run by a user who is not root, below a directory of that user's."""
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ROOT.format(user=NOBODY) + script, str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(ambry.__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_tree_goes_whatever_its_modes_and_what_its_links_lead_to_stays(open_tmp_path: Path) -> None:
    """It stayed, for ever, but for root."""
    assert as_nobody(REMOVED, open_tmp_path) == "['kept'] 0o555\n"


def test_what_gathers_goes_with_directories_that_may_not_be_written(open_tmp_path: Path) -> None:
    """A scratch directory with up to all bytes of a checkpoint stayed."""
    assert as_nobody(SCRATCH, open_tmp_path) == "[]\n"


@pytest.fixture
def open_tmp_path(tmp_path: Path) -> Path:
    """Which another user may reach: pytest's own are of mode 0700."""
    for each in (tmp_path, *tmp_path.parents):
        if not (mode := each.stat().st_mode) & 0o001:
            each.chmod(mode | 0o011)
    return tmp_path


def test_what_is_no_directory_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "file").touch()
    for each in ("link", "file", "missing"):
        remove_tree(tmp_path / each)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "kept", "link"]


def test_a_tree_that_is_deeper_than_python_goes_replaces_nothing(tmp_path: Path) -> None:
    """What was raised meanwhile was replaced by a RecursionError."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(2 * sys.getrecursionlimit()):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    try:
        remove_tree(tmp_path / "d")
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)
