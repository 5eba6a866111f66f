from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.first_steps import first_steps, with_keys
from deploy.local_cluster import LocalCluster
from deploy.local_directory import LocalDirectory
from deploy.local_layout import Options, new_shape


def made(directory: Path, *, auth: bool = True, port_base: int = 17_000) -> LocalCluster:
    """A cluster that does not run."""
    files = LocalDirectory(directory)
    files.create(lambda: new_shape(Options(auth=auth, port_base=port_base), cluster="c"))
    files.write_files()
    return LocalCluster(directory)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "ambry" / "config.toml"


def test_a_new_cluster_asks_for_keys_and_one_that_is_there_is_what_it_is(tmp_path: Path) -> None:
    assert with_keys(tmp_path / "a") is True
    made(tmp_path / "a", auth=False)
    assert with_keys(tmp_path / "a") is None


def test_it_says_where_the_key_is_and_how_to_stop(tmp_path: Path, home: Path) -> None:
    said = first_steps(made(tmp_path / "a b"), stays=False)
    assert f"{tmp_path}/a b/admin.key" in said and f"find it in {home}, profile local" in said
    assert f"-H @'{tmp_path}/a b/admin.header'" in said and f"ambry cluster down --dir '{tmp_path}/a b'" in said
    assert "export" not in said and "Ctrl-C" in first_steps(LocalCluster(tmp_path / "a b"), stays=True)


def test_a_cluster_without_keys_says_what_that_means(tmp_path: Path) -> None:
    said = first_steps(made(tmp_path / "a", auth=False), stays=False)
    assert "reads and deletes everything" in said and "admin" not in said and "export" not in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[profiles.local]\nendpoints = "http://127.0.0.1:1"\n', "profile local in .* is another one"),
        ('account = "mine"\n', "top level of your configuration"),
        ("[profiles", "cannot be written"),
    ],
)
def test_where_it_is_not_found_it_says_how_it_is(tmp_path: Path, home: Path, text: str, why: str) -> None:
    home.parent.mkdir(parents=True)
    home.write_text(text)
    said = first_steps(made(tmp_path / "a"), stays=False)
    assert f"export AMBRY_CONFIG={tmp_path}/a/profile.toml" in said
    assert re.search(why, said)


def test_with_what_it_says_to_export_it_is_found(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.parent.mkdir(parents=True)
    home.write_text('[profiles.local]\nendpoints = "http://127.0.0.1:1"\n')
    monkeypatch.setenv("AMBRY_CONFIG", str(tmp_path / "a" / "profile.toml"))
    before = made(tmp_path / "a")
    content = (tmp_path / "a" / "profile.toml").read_bytes()
    said = first_steps(before, stays=False)
    assert "export" not in said
    assert (tmp_path / "a" / "profile.toml").read_bytes() == content
