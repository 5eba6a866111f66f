"""What schemathesis makes of the API's own document, sent to a live cluster, with every check that it has."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ambry.rest import frames
from tests.support.rest import call, put
from tests.support.schemathesis_draws import IDS

ROOT = Path(__file__).parents[2]
CASES_MAX = int(os.environ.get("AMBRY_OPENAPI_CASES", "10"))
"""For each operation and phase."""
SEED = os.environ.get("AMBRY_TEST_SEED", "1")
"""The same each time, unless somebody goes looking."""


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed (make venv)"
)
def test_no_request_that_the_document_allows_or_forbids_is_answered_otherwise(dc1: str, tmp_path: Path) -> None:
    """Valid ones, broken ones, chains of them: no answer has a status, a type or a form that is not told, none is a 500."""
    batch = call(dc1, "POST", "/batch/put", frames.encode_frame({}, b"x"), {"Content-Type": frames.CONTENT_TYPE})
    ids = [put(dc1, os.urandom(1000 * number)) for number in range(8)] + [batch.json()["items"][0]["id"]]
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli",
            "--config-file", str(ROOT / "tests" / "support" / "schemathesis.toml"),
            "run", f"{dc1}/openapi.json",
            "--checks", "all", "--max-examples", str(CASES_MAX), "--seed", SEED, "--no-color",
        ],
        env={
            **os.environ,
            IDS: ",".join(ids),
            "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_draws",
            "PYTHONPATH": str(ROOT),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
