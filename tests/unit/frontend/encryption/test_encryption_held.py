"""Master keys in a file or a variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.clock import system_secret
from frontend.encryption.held import HeldKeys, key_file, key_variable, parse
from frontend.encryption.provider import ProviderFailed

FIRST, SECOND = "1 " + "11" * 32, "2: " + "22" * 32
KEY, ABOUT = b"k" * 32, b"about"


def held(path: Path, *lines: str, mode: int = 0o600) -> HeldKeys:
    path.write_text("# keys\n\n" + "\n".join(lines))
    path.chmod(mode)
    return key_file(str(path), chance=system_secret)


async def test_the_last_version_wraps_and_each_opens_what_it_wrapped(tmp_path: Path) -> None:
    keys = held(tmp_path / "keys", FIRST)
    before = await keys.wrap(KEY, ABOUT)
    held(tmp_path / "keys", FIRST, SECOND)
    after = await keys.wrap(KEY, ABOUT)
    assert (before.version, after.version, await keys.newest()) == ("1", "2", "2")
    assert await keys.unwrap(before, ABOUT) == await keys.unwrap(after, ABOUT) == KEY
    assert KEY not in before.text + after.text


async def test_what_was_wrapped_opens_in_its_place_alone(tmp_path: Path) -> None:
    keys = held(tmp_path / "keys", FIRST)
    wrapped = await keys.wrap(KEY, ABOUT)
    with pytest.raises(ProviderFailed, match="another one"):
        await keys.unwrap(wrapped, b"somewhere else")


async def test_a_version_that_is_gone_and_one_that_is_another_are_said(tmp_path: Path) -> None:
    keys = held(tmp_path / "keys", FIRST)
    wrapped = await keys.wrap(KEY, ABOUT)
    held(tmp_path / "keys", SECOND)
    with pytest.raises(ProviderFailed, match="no version 1 of the master key any more, only 2"):
        await keys.unwrap(wrapped, ABOUT)
    held(tmp_path / "keys", "1 " + "33" * 32)
    with pytest.raises(ProviderFailed, match="another one than what wrapped it"):
        await keys.unwrap(wrapped, ABOUT)


async def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProviderFailed, match=r"others may read .* \(mode 0640\)"):
        await held(tmp_path / "keys", FIRST, mode=0o640).newest()


async def test_a_file_that_is_not_there_or_no_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProviderFailed, match="No such file") as raised:
        await key_file(str(tmp_path / "none"), chance=system_secret).newest()
    assert raised.value.away
    (tmp_path / "keys").write_bytes(b"\xff\xfe")
    (tmp_path / "keys").chmod(0o600)
    with pytest.raises(ProviderFailed, match="no text"):
        await key_file(str(tmp_path / "keys"), chance=system_secret).newest()


@pytest.mark.parametrize("text", ["", "# nothing", "1 " + "1" * 63, "1 " + "zz" * 32, "11" * 32, f"{FIRST}\n{FIRST}"])
def test_what_is_no_key_is_refused_and_not_told(text: str) -> None:
    with pytest.raises(ProviderFailed) as raised:
        parse(text)
    assert "11" * 8 not in str(raised.value) and "zz" not in str(raised.value)


async def test_a_variable_is_taken_out_of_the_environment() -> None:
    environment = {"KEYS": f"{FIRST},{SECOND}"}
    keys = key_variable("KEYS", environment, chance=system_secret)
    assert environment == {}
    assert await keys.newest() == "2"
    with pytest.raises(ProviderFailed, match="the variable KEYS is not set"):
        await key_variable("KEYS", environment, chance=system_secret).newest()
