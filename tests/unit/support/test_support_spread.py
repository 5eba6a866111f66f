"""What runs in one process when tests are spread over several (tests/support/spread.py)."""

from __future__ import annotations

import pytest

from tests.support.spread import unit_of_work


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("tests/unit/ambry/test_ids.py::test_a", "tests/unit/ambry/test_ids.py"),
        ("tests/unit/ambry/test_ids.py::test_a[x::y/z.py::w]", "tests/unit/ambry/test_ids.py"),
        ("tests/integration/test_processes.py::test_a", "tests/integration"),
        ("tests/integration/test_raw_http.py::test_b[1]", "tests/integration"),
    ],
)
def test_a_file_stays_together_and_so_does_what_shares_a_cluster(nodeid: str, unit: str) -> None:
    assert unit_of_work(nodeid) == unit
