"""Archives that are the same bytes for the same files, and environments that work wherever they are unpacked."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.training import packing
from ambry.ml.training.packing import pack_sources, pack_venv, pack_wheels
from ambry.ml.training.unpacking import unpack

SCRIPT = "#!{python}\nimport made\nprint(made.VALUE)\n"


def environment(root: Path) -> Path:
    """A virtual environment with a package and its console script, as pip installs them."""
    venv.create(root, with_pip=False, symlinks=True)
    site = root / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (site / "made").mkdir()
    (site / "made/__init__.py").write_text("VALUE = 42\n")
    (site / "made/__pycache__").mkdir()
    (site / "made/__pycache__/__init__.cpython-311.pyc").write_bytes(os.urandom(16))
    (site / "made-1.0.dist-info").mkdir()
    (site / "made-1.0.dist-info/direct_url.json").write_text(f'{{"url": "file://{root}"}}')
    script = root / "bin/made"
    script.write_text(SCRIPT.format(python=root / "bin/python"))
    script.chmod(0o755)
    (site / "made-1.0.dist-info/RECORD").write_text(
        "made/__init__.py,sha256=abc,11\n"
        f"../../../bin/made,sha256={root.name},99\n"
        "made/__pycache__/__init__.cpython-311.pyc,,\n"
        "made-1.0.dist-info/direct_url.json,,\n"
    )
    return root


def test_the_same_files_are_the_same_bytes_whenever_and_wherever_they_were_made(tmp_path: Path) -> None:
    made = []
    for name, time in (("one", 1_000_000_000), ("deeper/other", 1_700_000_000)):
        root = tmp_path / name
        (root / "src").mkdir(parents=True)
        for path in ("train.py", "src/model.py", "src/run.sh"):
            (root / path).write_text(path)
            os.utime(root / path, (time, time))
        (root / "src/run.sh").chmod(0o777 if name == "one" else 0o700)
        (root / "src/__pycache__").mkdir()
        (root / "src/__pycache__/model.pyc").write_text(name)
        (root / ".git").mkdir()
        (root / ".git/HEAD").write_text(name)
        (root / "link").symlink_to("train.py")
        assert pack_sources(root, tmp_path / "made.zip") == 4
        made.append((tmp_path / "made.zip").read_bytes())
    assert made[0] == made[1]


def test_one_file_of_many_is_packed_alone(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("pass")
    (tmp_path / "secret").write_text("no")
    assert pack_sources(tmp_path, tmp_path / "made.zip", "train.py") == 1
    assert zipfile.ZipFile(tmp_path / "made.zip").namelist() == ["train.py"]


def test_the_directory_of_a_local_cluster_is_never_sent(tmp_path: Path) -> None:
    """Its keys were in a blob of the default container."""
    root = tmp_path / "work"
    for name in ("train.py", "ambry/shape.json", "ambry/admin.key", "ambry/dn-0/data/0", "m/shape.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    said: list[str] = []
    pack_sources(root, tmp_path / "made.zip", tell=said.append)
    assert zipfile.ZipFile(tmp_path / "made.zip").namelist() == ["m/shape.json", "train.py"]
    assert said == [f"{root / 'ambry'} is the directory of a local cluster, with its keys, and is left out"]
    with pytest.raises(InvalidRequest, match="is never sent"):
        pack_sources(root / "ambry", tmp_path / "made.zip")


def test_sources_that_are_large_are_told(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    said: list[str] = []
    for size in (packing.SOURCES_LARGE, packing.SOURCES_LARGE + 1):
        with (tmp_path / "src/data.bin").open("wb") as file:
            file.truncate(size)
        pack_sources(tmp_path / "src", tmp_path / "made.zip", tell=said.append)
    (told,) = said
    assert "the sources are 52,428,801 bytes in 1 files" in told and "--src" in told


def test_an_environment_made_twice_is_one_and_runs_in_a_third_place(tmp_path: Path) -> None:
    archives = []
    for name in ("first", "a/second"):
        root = environment(tmp_path / name)
        pack_venv(root, tmp_path / f"{root.name}.zip")
        archives.append((tmp_path / f"{root.name}.zip").read_bytes())
    assert archives[0] == archives[1]
    for root in (tmp_path / "first", tmp_path / "a/second"):
        (root / "pyvenv.cfg").unlink()  # Neither is there any more.
    third = tmp_path / "a place with spaces/third"
    unpack(tmp_path / "first.zip", third)
    for command in ([third / "bin/python", "-c", "import made; print(made.VALUE)"], [third / "bin/made"]):
        done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


def test_what_nodes_would_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="is no virtual environment"):
        pack_venv(tmp_path, tmp_path / "made.zip")
    root = environment(tmp_path / "env")
    site = next(root.glob("lib/*/site-packages"))
    (site / "__editable__.ambry-0.1.0.pth").write_text("/somewhere")
    with pytest.raises(InvalidRequest, match="install it without --editable"):
        pack_venv(root, tmp_path / "made.zip")
    with pytest.raises(InvalidRequest, match="has no wheels"):
        pack_wheels(tmp_path, tmp_path / "made.zip")
    os.mkfifo(site / "pipe")
    with pytest.raises(InvalidRequest, match="neither a file nor a link"):
        pack_sources(site, tmp_path / "made.zip")


def test_a_disk_that_is_full_is_named(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/train.py").write_bytes(os.urandom(100_000))
    (tmp_path / "full.zip").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as packed:
        pack_sources(tmp_path / "src", tmp_path / "full.zip")
    assert packed.value.filename == str(tmp_path / "full.zip")
    pack_sources(tmp_path / "src", tmp_path / "sources.zip")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/train.py").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as unpacking:
        unpack(tmp_path / "sources.zip", tmp_path / "tree")
    assert unpacking.value.filename == str(tmp_path / "tree/train.py")
