"""A user whom the system does not know, as in a container that runs as a number."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from ambry.client.credentials import read_key
from ambry.client.profiles import config_path
from ambry.errors import ConfigInvalid
from ambry.home import expanded, home_of, login_name, user_cache


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME", raising=False)


@pytest.mark.usefixtures("nobody")
def test_a_user_that_is_a_number_has_the_home_of_a_container() -> None:
    """Each of these was a RuntimeError or a KeyError, of whatever a client was made for."""
    assert home_of({}) == Path("/") and login_name() == ""
    assert config_path({}) == Path("/.config/ambry/config.toml") and user_cache({}) == Path("/.cache/ambry")
    assert home_of({"HOME": "/home/me"}) == Path("/home/me")
    assert config_path({"XDG_CONFIG_HOME": "/etc/me"}) == Path("/etc/me/ambry/config.toml")


@pytest.mark.usefixtures("nobody")
def test_a_path_in_a_home_that_there_is_not_is_a_sentence() -> None:
    for path in ("~/key", "~nobody-here/key"):
        with pytest.raises(
            ConfigInvalid, match=f"'{path}' begins with a home that this machine does not know: write the"
        ):
            expanded(path)
        with pytest.raises(ConfigInvalid, match="begins with a home"):
            read_key(path)
        with pytest.raises(ConfigInvalid, match="begins with a home"):
            config_path({"AMBRY_CONFIG": path})
    assert expanded("/a/~b") == Path("/a/~b")


def test_who_is_known() -> None:
    assert home_of({"HOME": "/home/me"}) == Path("/home/me") and home_of({}).is_absolute()
    assert expanded("~/a") == Path.home() / "a" and login_name() == pwd.getpwuid(os.geteuid()).pw_name
