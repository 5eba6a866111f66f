from __future__ import annotations

import tomllib
from pathlib import Path

from deploy.local_layout import Options, members, new_shape
from deploy.local_profile import profile_of


def test_a_profile_has_the_first_datacenter_and_trusts_the_others(tmp_path: Path) -> None:
    everyone = members(new_shape(Options(frontends=2), cluster="c"), tmp_path)
    made = profile_of(everyone, tmp_path, tmp_path / "admin.key")
    assert made.endpoints == ("http://127.0.0.1:17100", "http://127.0.0.1:17101")
    assert made.trusted == ("http://127.0.0.1:17200", "http://127.0.0.1:17201")
    assert tomllib.loads(made.text())["key_file"] == str(tmp_path / "admin.key")
    assert tomllib.loads(made.text(beside=tmp_path))["key_file"] == "admin.key", "it may be moved with the directory"
    assert "key_file" not in tomllib.loads(profile_of(everyone, tmp_path, None).text())
