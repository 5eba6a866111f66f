"""What a model says made it: a commit, where git or pip knows one."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import Distribution
from pathlib import Path

import ambry
from ambry.ml.provenance import code_of_ambry, code_text, commit_in, commit_of


def git(root: Path, *words: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(root), *identity, *words], check=True)


def test_what_is_not_known_is_not_said() -> None:
    assert code_text(sources="a", environment="", git="b") == "sources:a git:b"
    assert code_of_ambry().split(" ")[0] == f"ambry:{ambry.__version__}"


def test_git_names_the_commit_and_says_where_files_differ(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == ""
    (tmp_path / "train.py").write_text("one")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "one")):
        git(tmp_path, *words)
    commit = commit_of(tmp_path)
    assert len(commit) == 40 and set(commit) <= set("0123456789abcdef")
    (tmp_path / "train.py").write_text("two")
    assert commit_of(tmp_path) == f"{commit}-dirty"


def test_a_library_in_somebody_elses_checkout_has_not_its_commit(tmp_path: Path) -> None:
    """An environment within a project: the commit is the project's."""
    package = tmp_path / "env" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (tmp_path / "mine.py").touch()
    for words in (("init", "-q"), ("add", "mine.py"), ("commit", "-qm", "one")):
        git(tmp_path, *words)
    assert commit_of(package) and commit_of(package, holding="__init__.py") == ""
    git(tmp_path, "add", ".")
    assert commit_of(package, holding="__init__.py") == f"{commit_of(package)}"


def test_what_pip_installed_from_git_has_its_commit_where_that_is_what_runs(tmp_path: Path) -> None:
    about = tmp_path / "package-1.0.dist-info"
    about.mkdir()
    installed = Distribution.at(about)
    assert commit_in(installed, tmp_path / "package") == ""
    said = {"url": "https://host/x.git", "vcs_info": {"vcs": "git", "commit_id": "4f2a91c"}}
    (about / "direct_url.json").write_text(json.dumps(said))
    assert commit_in(installed, tmp_path / "package") == "4f2a91c"
    assert commit_in(installed, tmp_path / "elsewhere" / "package") == ""
    (about / "direct_url.json").write_text(json.dumps({"url": "file:///x", "dir_info": {}}))
    assert commit_in(installed, tmp_path / "package") == ""
