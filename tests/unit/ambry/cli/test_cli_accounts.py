"""Options of `ambry account` and `ambry container`. Against processes: tests/integration/test_accounts.py."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from ambry.cli.accounts import as_date, said
from ambry.cli.arguments import NO_BOUND, as_quota
from ambry.cli.main import cli

NOBODY: Any = None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("500MiB", 500 << 20),
        ("10 gib", 10 << 30),
        ("2TiB", 2 << 40),
        ("8k", 8 << 10),
        ("none", NO_BOUND),
        (None, None),
    ],
)
def test_a_size_is_bytes_or_has_a_unit(text: str | None, size: object) -> None:
    assert as_quota(NOBODY, NOBODY, text) == size


@pytest.mark.parametrize("text", ["", "-1", "1.5GiB", "x", "9" * 20])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a size"):
        as_quota(NOBODY, NOBODY, text)


def test_a_date_is_of_utc_where_no_zone_is_said() -> None:
    assert as_date(NOBODY, NOBODY, "2026-01-01") == 1_767_225_600_000
    assert as_date(NOBODY, NOBODY, "2026-01-01T01:00:00+01:00") == 1_767_225_600_000
    for text in ("tomorrow", "2026-13-01", ""):
        with pytest.raises(click.BadParameter, match="is no date"):
            as_date(NOBODY, NOBODY, text)


def test_only_what_is_said_is_changed() -> None:
    options = {
        "private": False,
        "names": None,
        "quota_bytes": NO_BOUND,
        "quota_blobs": 5,
        "lock_until": 7,
        "allow_origin": "",
    }
    assert said(options) == {
        "is_private": False,
        "quota_bytes": None,
        "quota_blobs": 5,
        "retention_lock_until": 7,
        "access_control_allow_origin": "",
    }


@pytest.mark.parametrize("group", ["account", "container"])
def test_the_commands_tell_of_themselves(group: str) -> None:
    shown = CliRunner().invoke(cli, [group, "--help"], prog_name="ambry")
    assert shown.exit_code == 0
    assert all(command in shown.output for command in ("ls", "show", "create", "set"))
