"""What ends a worker for good, and what another start may help."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ambry.errors import (
    AccessDenied,
    ChecksumMismatch,
    InvalidRequest,
    MisdirectedRequest,
    QuotaExceeded,
    RateLimited,
    RetentionLocked,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UpdateConflict,
)
from ambry.ml.training.refusals import refused_for_good
from ambry.ml.training.unpacking import REFUSED


class CheckpointException(BaseException):
    """As torch's, of workers whose storage failed."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("save")
        self.failures: dict[int, tuple[BaseException, list[str]]] = {0: (error, [])}


@pytest.mark.parametrize(
    "kind", [AccessDenied, InvalidRequest, QuotaExceeded, RetentionLocked, TooLarge, Unauthenticated]
)
def test_refusals_for_good(kind: type[Exception]) -> None:
    error = kind("no")
    assert refused_for_good(error) is error and refused_for_good(CheckpointException(error)) is error
    try:
        raise RuntimeError("the checkpoint was not saved") from error
    except RuntimeError as raised:
        assert refused_for_good(raised) is error
    group = BaseExceptionGroup("of threads", [KeyError("x"), ExceptionGroup("deeper", [ValueError(), error])])
    assert refused_for_good(group) is error
    failed = CheckpointException(KeyError("of another worker"))
    failed.failures[1] = (error, [])
    assert refused_for_good(failed) is error


@pytest.mark.parametrize(
    "kind",
    [ChecksumMismatch, MisdirectedRequest, RateLimited, Unavailable, UpdateConflict, KeyError, CheckpointException],
)
def test_what_may_pass(kind: type[Exception]) -> None:
    assert refused_for_good(kind(KeyError("no"))) is None
    try:
        try:
            raise QuotaExceeded("full")
        except QuotaExceeded:
            raise kind(KeyError("of what was done instead"))  # noqa: B904
    except BaseException as raised:
        assert refused_for_good(raised) is None


def test_an_error_that_is_its_own_cause_is_looked_through() -> None:
    error = ValueError("x")
    error.__cause__ = error
    assert refused_for_good(error) is None


SCRIPT = """\
import sys
from ambry.errors import AccessDenied
from ambry.ml.training.refusals import tell_refusals
before = sys.excepthook
tell_refusals()
tell_refusals()
if sys.argv[1:] == ["caught"]:
    try:
        raise AccessDenied("no")
    except AccessDenied:
        raise SystemExit(3)
raise AccessDenied("this key may not write\\nto models")
"""


def test_it_is_told_once_behind_the_traceback_and_not_of_what_a_script_takes_care_of() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):" and done.returncode == 1
    assert lines[-1] == f"{REFUSED}AccessDenied: this key may not write to models" and done.stderr.count(REFUSED) == 1
    done = subprocess.run([sys.executable, "-c", SCRIPT, "caught"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
