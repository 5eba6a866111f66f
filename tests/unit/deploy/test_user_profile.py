"""The profile by which clients find the cluster of this machine: the file is the user's, and so is all else in it."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from ambry.client.profiles import find_options
from ambry.rest.access import KeyText, key_text
from deploy.local_profile import LocalProfile
from deploy.user_profile import UserProfile

KEY = key_text(KeyText("a" * 16, "s" * 43))


def cluster(directory: Path, port: int = 17_100) -> LocalProfile:
    directory.mkdir(exist_ok=True)
    key_file = directory / "admin.key"
    key_file.touch(0o600)
    key_file.write_text(KEY)
    urls = tuple(f"http://127.0.0.1:{each}" for each in (port, port + 100))
    return LocalProfile(endpoints=urls[:1], trusted=urls[1:], key_file=key_file, directory=directory)


def never(_: Path) -> bool:
    return False


def always(_: Path) -> bool:
    return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "ambry" / "config.toml"


def test_it_is_made_where_there_is_none_and_only_its_owner_reads_it(path: Path, tmp_path: Path) -> None:
    assert UserProfile(path).install(cluster(tmp_path / "a b"), never)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    env = {"XDG_CONFIG_HOME": str(path.parents[1])}
    found = find_options(env, None, {}).options
    assert found == {"endpoints": ["http://127.0.0.1:17100"], "key": KEY}
    assert find_options(env, None, {"endpoints": "http://127.0.0.1:17200"}).options["key"] == KEY
    assert "key" not in find_options(env, None, {"endpoints": "http://127.0.0.1:17300"}).options
    before = path.stat().st_mtime_ns
    assert UserProfile(path).install(cluster(tmp_path / "a b"), always)
    assert path.stat().st_mtime_ns == before


MINE = """# my stores
[profiles.store]  # the real one
endpoints = ["https://store:1"]
"""
LATER = """
# and another
[profiles.zoo]
account = "zoo"
"""


def test_what_else_stands_in_the_file_stays_as_it_is(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(MINE)
    path.chmod(0o640)
    assert UserProfile(path).install(cluster(tmp_path / "a"), never)
    assert path.read_text().startswith(MINE) and stat.S_IMODE(path.stat().st_mode) == 0o640
    path.write_text(path.read_text() + LATER)
    assert UserProfile(path).install(cluster(tmp_path / "b", 18_100), never)
    text = path.read_text()
    assert text.startswith(MINE) and LATER.strip() in text and "18100" in text and "17100" not in text
    assert text.count("[profiles.local]") == 1


@pytest.mark.parametrize("gone", [True, False])
def test_it_follows_the_cluster_that_runs(path: Path, tmp_path: Path, gone: bool) -> None:
    """It is another cluster's: of one that is gone or does not run it is taken, of one that runs it is not."""
    assert UserProfile(path).install(cluster(tmp_path / "a"), never)
    before = path.read_text()
    if gone:
        (tmp_path / "a" / "admin.key").unlink()
        (tmp_path / "a").rmdir()
    else:
        assert not UserProfile(path).install(cluster(tmp_path / "b"), always)
        assert path.read_text() == before
    assert UserProfile(path).install(cluster(tmp_path / "b"), always if gone else never)
    assert str(tmp_path / "b") in path.read_text() and str(tmp_path / "a") not in path.read_text()


@pytest.mark.parametrize(
    "text",
    [
        '[profiles.local]\nendpoints = ["http://elsewhere:1"]\n',
        'profiles.local = {endpoints = "http://elsewhere:1"}\n',
        'profiles = {local = {directory = "/gone"}}\n',
        '[profiles]\n[profiles."local"]\ndirectory = "/gone"\n',
        "profiles = 3\n",
    ],
)
def test_a_profile_that_somebody_wrote_is_never_touched(path: Path, tmp_path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert not UserProfile(path).install(cluster(tmp_path / "a"), never)
    assert path.read_text() == text and list(path.parent.iterdir()) == [path]


def test_what_somebody_added_to_it_stays(path: Path, tmp_path: Path) -> None:
    """Each `ambry cluster up` dropped it without a word."""
    assert UserProfile(path).install(cluster(tmp_path / "a"), never)
    path.write_text(f'{path.read_text()}account = "me"\n\n[profiles.zoo]\naccount = "zoo"\n')
    assert UserProfile(path).install(cluster(tmp_path / "b", 18_100), never)
    profiles = tomllib.loads(path.read_text())["profiles"]
    assert profiles["local"]["account"] == "me" and profiles["local"]["directory"] == str(tmp_path / "b")
    assert "17100" not in path.read_text() and profiles["zoo"] == {"account": "zoo"}


@pytest.mark.parametrize("added", ['trusted = [\n  "http://mine:1",\n]\n', "# mine\naccount = 'me'\n"])
def test_one_that_somebody_wrote_in_another_way_stays(path: Path, tmp_path: Path, added: str) -> None:
    assert UserProfile(path).install(cluster(tmp_path / "a"), never)
    lines = path.read_text().splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("trusted")) + added
    path.write_text(text)
    assert not UserProfile(path).install(cluster(tmp_path / "b"), never)
    assert path.read_text() == text


def test_a_file_that_is_no_toml_is_left_alone(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("[profiles")
    with pytest.raises(ValueError, match="Expected"):
        UserProfile(path).install(cluster(tmp_path / "a"), never)
    assert path.read_text() == "[profiles"


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True)
    real = tmp_path / "dotfiles.toml"
    real.write_text(MINE)
    path.symlink_to(real)
    assert UserProfile(path).install(cluster(tmp_path / "a"), never)
    assert path.is_symlink() and "[profiles.local]" in real.read_text()
