"""`make audit` says what was not checked, and finds what is planted."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tools.audit import Verdict, conclude, judge_code, judge_releases, look_at_code

CLEAN = {"name": "aiohttp", "version": "3.14.5", "vulns": []}
BAD = {"name": "h11", "version": "0.14.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["0.16.0"], "aliases": []}]}
UNKNOWN = {"name": "xxhash", "skip_reason": "Dependency not found on PyPI and could not be audited: xxhash (4.1.0)"}
OURS = {"name": "ambry", "skip_reason": "distribution marked as editable"}


def report(*packages: object) -> bytes:
    return msgspec.json.encode({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("packages", "verdict", "said"),
    [
        ((CLEAN, OURS), Verdict.CLEAN, "1 checked, 0 of them vulnerable"),
        ((CLEAN, BAD), Verdict.DANGEROUS, "h11 0.14.0 has PYSEC-1; ask for h11>=0.16.0"),
        ((CLEAN, UNKNOWN), Verdict.NOT_CHECKED, "not checked: 1 of 2 (xxhash): Dependency not found"),
        ((BAD, UNKNOWN), Verdict.DANGEROUS, "not checked: 1 of 2 (xxhash)"),
        ((UNKNOWN, OURS), Verdict.NOT_CHECKED, "not checked: 1 of 1"),
        ((), Verdict.NOT_CHECKED, "nothing is installed"),
    ],
)
def test_what_the_service_does_not_know_is_not_called_clean(
    packages: tuple[object, ...], verdict: Verdict, said: str
) -> None:
    judged = judge_releases(report(*packages), "")
    assert judged.verdict is verdict
    assert said in "\n".join(judged.lines)


def test_the_last_line_says_that_something_was_not_checked() -> None:
    """`make audit` ended with 0 and a line among others where nothing at all was looked at."""
    clean, unknown = judge_releases(report(CLEAN), ""), judge_releases(report(UNKNOWN), "")
    bad = judge_releases(report(BAD), "")
    assert conclude([clean]) == (Verdict.CLEAN, "audit: clean: all of it was checked")
    verdict, last = conclude([clean, unknown])
    assert (verdict, last.partition(";")[0]) == (
        Verdict.NOT_CHECKED, "audit: NOT CHECKED: nothing dangerous is known of the rest"
    )  # fmt: skip
    assert conclude([unknown, bad])[0] is Verdict.DANGEROUS


def test_a_service_that_cannot_be_asked_is_told() -> None:
    judged = judge_releases(b"", "ConnectionError: pypi.org is not reached")
    assert judged.verdict is Verdict.NOT_CHECKED
    assert judged.lines == ("releases: not checked: ConnectionError: pypi.org is not reached",)


def test_a_tool_that_does_not_run_is_told() -> None:
    judged = judge_code(1, "", "No module named bandit")
    assert (judged.verdict, judged.lines) == (Verdict.NOT_CHECKED, ("code: not checked: No module named bandit",))


def test_what_is_planted_in_code_is_found(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("import os\n\n\ndef run(what: str) -> None:\n    os.system(what)\n")
    judged = look_at_code([str(tmp_path)])
    assert judged.verdict is Verdict.DANGEROUS
    assert "B605" in "\n".join(judged.lines)
