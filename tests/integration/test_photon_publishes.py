"""What `ambry photon train` publishes is there whole or not at all, whenever it is killed; begun again, it is right."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry import AmbryClient, BlobNotFound
from ambry.ml import models, photon
from tests.support.clusters import seed_of
from tests.support.photon_models import drawn_rows, told

ROOT = Path(__file__).resolve().parents[2]


def test_a_model_is_whole_or_not_there_when_its_publishing_is_killed_and_right_again(dc1: str, tmp_path: Path) -> None:
    """Before a request or when it is answered, each time a model of its own; two of them are trained again."""
    drawn = drawn_rows(photon.Task.LINEAR, 60, 5)
    photon.write_examples(tmp_path / "rows.avro", drawn)
    words = [str(tmp_path), "--task", "linear", "--random", "per-member=member", "--quiet"]

    def run(module: str, *said: str) -> list[str]:
        environ = {**os.environ, "AMBRY_ENDPOINTS": dc1, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-m", module, *said], env=environ, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    seed = str(seed_of("a model that is published"))
    count, *moments = [
        int(line) for line in run("tests.support.dying_publishes", "killed", seed, "8", *words) if line.isdigit()
    ]
    assert count > 20 and len(moments) == 8
    with AmbryClient([dc1]) as client:
        expected = told(replace(models.open(client, "killed-whole").load(), name=""))

        def there(moment: int) -> list[str]:
            try:
                versions = [each.version for each in client.versions(f"killed-{moment}")]
            except BlobNotFound:
                return []
            for version in versions:
                whole = models.open(client, f"killed-{moment}@{version}").load()
                assert told(replace(whole, name="")) == expected
            return versions

        found = {moment: there(moment) for moment in moments}
        # The last answer of all is that of the version.
        assert found == {moment: ["1.0.0"] if moment == count - 1 else [] for moment in moments}
        for moment in (count - 2, count - 1):
            run("ambry.cli.main", "photon", "train", *words, "--publish", f"killed-{moment}")
            assert there(moment) == [*found[moment], "1.1.0" if found[moment] else "1.0.0"]
