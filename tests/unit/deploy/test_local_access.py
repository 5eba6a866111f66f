from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from ambry.clock import SystemClock
from ambry.rest.access import Role
from deploy.local_access import LocalAccess
from deploy.local_layout import LocalClusterError
from frontend.access.verified import Access
from tests.support.access import bearer


def test_the_key_that_is_made_is_the_one_that_frontends_are_told(tmp_path: Path) -> None:
    made = LocalAccess(tmp_path)
    made.prepare()
    before = made.key()
    made.prepare()
    assert made.key() == before
    told = tomllib.loads("\n".join(made.lines()))
    access = Access(clock=SystemClock(), root_keys=told["root_keys"])
    assert access.of(bearer(before)["Authorization"]).everywhere(Role.ADMIN)
    assert before.split("_", 2)[-1] not in "\n".join(made.lines())
    for path in (made.key_file, made.secret_file):
        assert path.stat().st_mode & 0o777 == 0o600
    assert Path(told["secret_file"]) == made.secret_file and len(made.secret_file.read_text().strip()) == 64


def test_a_file_without_a_key_is_told(tmp_path: Path) -> None:
    made = LocalAccess(tmp_path)
    made.key_file.write_text("nothing\n")
    with pytest.raises(LocalClusterError, match="holds no key"):
        made.lines()
