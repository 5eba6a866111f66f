"""What `pip install ambry` gives: wheel and sdist are built, and installed into environments that have nothing.

Needs an index of packages: the tools that build, and the four libraries of a client, come from there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ambry import __version__

ROOT = Path(__file__).parents[2]
SOURCES = ("ambry", "datanode", "frontend", "deploy", "docs", "pyproject.toml", "README.md", "LICENSE")
CLIENT = {"ambry", "click", "markdown-it-py", "mdurl", "msgspec", "pip", "pygments", "rich", "setuptools", "xxhash"}
"""All that an installation without extras has; rich brings three of them, venv two."""

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    # Not the PYTHONPATH of this run: what is installed must do.
    env = {"PATH": "/usr/bin:/bin", "HOME": str(cwd or "/nonexistent"), "LC_ALL": "C.UTF-8"}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=cwd, env=env, timeout=600)


def pip(python: Path, *args: str | Path, cwd: Path) -> None:
    """Skips, with the reason, where there is no index of packages to be had."""
    command = [python, "-m", "pip", "--disable-pip-version-check", *args]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=cwd, timeout=600)
    if done.returncode:
        told = done.stdout + done.stderr
        if any(sign in told for sign in ("No matching distribution", "Could not find a version", "NewConnectionError")):
            pytest.skip(f"no index of packages is reached from here: {told.strip().splitlines()[-1]}")
        pytest.fail(told)


def environment(path: Path) -> Path:
    """A new one; its python."""
    assert run(sys.executable, "-m", "venv", path).returncode == 0
    return path / "bin" / "python"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a wheel, and with an sdist from which another wheel was made."""
    tree = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    made = tmp_path_factory.mktemp("built")
    python = environment(tmp_path_factory.mktemp("tools"))
    pip(python, "install", "-q", "build", cwd=tree)
    done = subprocess.run(
        [str(python), "-m", "build", "-o", str(made)], cwd=tree, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return made


def test_wheel_and_sdist_hold_the_packages_and_nothing_of_the_tests(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {
        "ambry",
        "datanode",
        "frontend",
        "deploy",
        f"ambry-{__version__}.data",
        f"ambry-{__version__}.dist-info",
    }
    assert "ambry/py.typed" in names and any(name.endswith("share/man/man1/ambry.1") for name in names)
    with tarfile.open(sdist) as archived:
        assert {"pyproject.toml", "LICENSE", "README.md", "docs/ambry.1"} <= {
            each.name.partition("/")[2] for each in archived.getmembers()
        }


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_without_extras_there_are_client_and_command_and_what_a_cluster_needs_is_named(
    built: Path, kind: str, tmp_path: Path
) -> None:
    python = environment(tmp_path / "env")
    (package,) = built.glob(kind)
    pip(python, "install", "-q", package, cwd=tmp_path)
    listed = run(python, "-m", "pip", "list", "--format=freeze", cwd=tmp_path).stdout
    assert {line.split("=")[0].lower() for line in listed.splitlines()} <= CLIENT
    ambry = python.with_name("ambry")
    assert run(ambry, "--version", cwd=tmp_path).stdout == f"ambry, version {__version__}\n"
    assert "Store files" in run(ambry, "put", "--help", cwd=tmp_path).stdout
    told = run(ambry, "stat", "x", "--retries", "0", cwd=tmp_path)
    assert told.returncode == 5 and "cannot connect to http://127.0.0.1:17100" in told.stderr
    used = run(python, "-c", "import ambry; print(ambry.AmbryClient().endpoints)", cwd=tmp_path)
    assert used.stdout == "('http://127.0.0.1:17100',)\n", used.stderr
    for command in (["cluster", "up", "--dir", "here"], ["store", "inspect", "."]):
        refused = run(ambry, *command, cwd=tmp_path)
        assert refused.returncode == 1 and "pip install 'ambry[server]'" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "here").exists(), "nothing is begun that cannot be finished"
    assert (python.parents[1] / "share/man/man1/ambry.1").is_file()
