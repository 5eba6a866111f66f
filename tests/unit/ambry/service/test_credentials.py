"""Whose rights a file with a secret may show: its owner's, and in systemd's directory of credentials what systemd makes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ambry.service.credentials import of_others


def test_others_may_use_no_secret_and_the_mask_of_a_credential_is_none_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert 0o440 & of_others(tmp_path / "secret") and not 0o600 & of_others(tmp_path / "secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert not 0o440 & of_others(tmp_path / "secret")
    for wider in (stat.S_IWGRP, stat.S_IXGRP, stat.S_IROTH):
        assert wider & of_others(tmp_path / "secret")
    assert 0o440 & of_others(tmp_path / "elsewhere" / "secret")
