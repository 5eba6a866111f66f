"""`make audit`: what is known to be dangerous, in our own code (bandit) and in the releases that are installed (pip-audit).

The second asks a service of vulnerabilities. Where that cannot be asked, or knows nothing of a package, the package was not
checked, and that is said: pip-audit alone would call it free of known vulnerabilities.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
OURS = ("ambry", "frontend", "datanode", "deploy", "tools")
OWN_PACKAGE = "ambry"
SERVICE_TIMEOUT_S = 600.0
SHOWN_MAX = 10


class Verdict(IntEnum):
    """As an exit code; 2 is that of wrong arguments."""

    CLEAN = 0
    DANGEROUS = 1
    NOT_CHECKED = 3


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    lines: tuple[str, ...]


class _Vulnerability(msgspec.Struct):
    id: str
    fix_versions: list[str] = []


class _Package(msgspec.Struct):
    name: str
    version: str = ""
    vulns: list[_Vulnerability] = []
    skip_reason: str = ""


class _Report(msgspec.Struct):
    dependencies: list[_Package]


def judge_releases(report: bytes, trouble: str) -> Judgement:
    """What a report of pip-audit, as JSON, says; `trouble` is what it complained of, where it made none."""
    try:
        packages = msgspec.json.decode(report, type=_Report).dependencies
    except msgspec.DecodeError:
        return Judgement(
            Verdict.NOT_CHECKED, (f"releases: not checked: {trouble or 'pip-audit said nothing that can be read'}",)
        )
    packages = [each for each in packages if each.name != OWN_PACKAGE]
    skipped = [each for each in packages if each.skip_reason]
    lines = [
        f"releases: {each.name} {each.version} has {found.id}; {_remedy(each.name, found.fix_versions)}"
        for each in packages
        for found in each.vulns
    ]
    verdict = Verdict.DANGEROUS if lines else Verdict.CLEAN
    checked = len(packages) - len(skipped)
    if skipped or not checked:
        some = ", ".join(each.name for each in skipped[:SHOWN_MAX]) + (", ..." if len(skipped) > SHOWN_MAX else "")
        reason = skipped[0].skip_reason if skipped else "nothing is installed"
        lines.append(f"releases: not checked: {len(skipped)} of {len(packages)} ({some}): {reason}")
        verdict = verdict or Verdict.NOT_CHECKED
    if checked:
        lines.append(f"releases: {checked} checked, {sum(bool(each.vulns) for each in packages)} of them vulnerable")
    return Judgement(verdict, tuple(lines))


def judge_code(code: int, report: str, trouble: str) -> Judgement:
    """What a run of bandit says, that ended with `code`."""
    if code == 0:
        return Judgement(Verdict.CLEAN, (f"code: nothing found in {', '.join(OURS)}",))
    if code == 1 and ">> Issue" in report:
        told = report.rstrip()
        return Judgement(
            Verdict.DANGEROUS, (told, "code: mend it, or say at its place why it is none: # nosec B000 # why")
        )
    return Judgement(Verdict.NOT_CHECKED, (f"code: not checked: {trouble or f'bandit ended with {code}'}",))


def look_at_code(paths: Sequence[str] = OURS) -> Judgement:
    """Runs bandit."""
    command = [sys.executable, "-m", "bandit", "--quiet", "-c", str(ROOT / "pyproject.toml"), "-r", *paths]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)  # nosec B603 # our own words
    return judge_code(ran.returncode, ran.stdout, _last_line(ran.stderr))


def look_at_releases() -> Judgement:
    """Runs pip-audit over what this interpreter imports."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable"]
    try:
        ran = subprocess.run(  # nosec B603 # our own words
            command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=SERVICE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return judge_releases(b"", f"the service did not answer within {SERVICE_TIMEOUT_S:.0f} s")
    return judge_releases(ran.stdout.encode(), _last_line(ran.stderr))


def conclude(judged: Sequence[Judgement]) -> tuple[Verdict, str]:
    """The worst of it, and the last line that is said."""
    verdicts = {each.verdict for each in judged}
    if Verdict.DANGEROUS in verdicts:
        return Verdict.DANGEROUS, "audit: DANGEROUS: see above"
    if Verdict.NOT_CHECKED in verdicts:
        return (
            Verdict.NOT_CHECKED,
            "audit: NOT CHECKED: nothing dangerous is known of the rest; see above for what was not looked at",
        )
    return Verdict.CLEAN, "audit: clean: all of it was checked"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description="what is known to be dangerous")
    parser.add_argument("what", nargs="?", choices=("all", "code", "releases"), default="all")
    parser.add_argument("--tolerant", action="store_true", help="exit 0 where something was not checked, and say so")
    asked = parser.parse_args(arguments)
    judged = [
        look() for what, look in (("code", look_at_code), ("releases", look_at_releases)) if asked.what in ("all", what)
    ]
    for each in judged:
        print("\n".join(each.lines))
    worst, last = conclude(judged)
    print(last)
    return Verdict.CLEAN if worst is Verdict.NOT_CHECKED and asked.tolerant else worst


def _remedy(name: str, fixed: Sequence[str]) -> str:
    if not fixed:
        return "no release mends it yet"
    return f"ask for {name}>={fixed[-1]} in pyproject.toml (mended in {', '.join(fixed)})"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
