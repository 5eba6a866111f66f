"""A frontend at rest held 53 MB and took 0.3 s of processor time to import, of which 3 MB and 0.04 s were of a client's TLS.

What it imports is looked at in a process of its own, as one starts: this one has everything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ambry

ROOT = Path(ambry.__file__).parents[1]

LOOK = """
import json, os, sys
import frontend.__main__
from aiohttp import connector
print(json.dumps({
    "modules": sorted(sys.modules),
    "certificates": connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509"],
    "environment": [os.environ.get("SSL_CERT_FILE"), os.environ.get("FROZENLIST_NO_EXTENSIONS")],
    "mapped": open("/proc/self/maps").read(),
}))
"""

NOT_IMPORTED = (
    "asyncpg",
    "sqlite3",
    "lmdb",
    "rich",
    "click",
    "logging.config",
    "zoneinfo",
    "tests",
    "datanode",
    "deploy",
)
"""An engine comes with the configuration that names it; the rest is of other programs."""
NOT_OURS = ("ambry.cli", "ambry.client", "frontend.commands", "frontend.supervisor", "frontend.sibling_pages")


def test_a_frontend_process_imports_nothing_that_it_does_not_need_at_rest() -> None:
    # One variable is there before, the other is not: both are as they were.
    before = {**os.environ, "SSL_CERT_FILE": "/somewhere"}
    before.pop("FROZENLIST_NO_EXTENSIONS", None)
    done = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=ROOT, env=before, capture_output=True, text=True, check=True, timeout=60
    )
    found = json.loads(done.stdout)
    assert found["certificates"] == 0
    assert found["environment"] == ["/somewhere", None]
    assert "libstdc++" not in found["mapped"]
    roots = {name.partition(".")[0] for name in found["modules"]}
    assert [name for name in NOT_IMPORTED if name in roots or name in found["modules"]] == []
    assert [name for name in NOT_OURS if name in found["modules"]] == []
