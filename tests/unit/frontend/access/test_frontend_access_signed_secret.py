"""The file with the secret of signed URLs: what is no secret is refused, and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.errors import ConfigInvalid
from frontend.access.signed_secret import read_secret


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    file = path / "access.secret"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_a_secret_is_read(tmp_path: Path) -> None:
    assert read_secret(written(tmp_path, "0a" * 32 + "\n")) == b"\n" * 32


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_secret_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    file = written(tmp_path, "0a" * 32, mode)
    with pytest.raises(ConfigInvalid, match=f"chmod 600 {file}"):
        read_secret(file)


@pytest.mark.parametrize("text", ["", "0a" * 31, "0a" * 33, "hush" * 16, "é" * 32])
def test_what_is_no_secret_is_refused_and_not_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigInvalid, match="64 hexadecimal digits") as refused:
        read_secret(written(tmp_path, text))
    assert not text or text not in str(refused.value)


def test_a_file_that_is_not_there_is_told_how_to_make(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="openssl rand -hex 32"):
        read_secret(tmp_path / "none")
