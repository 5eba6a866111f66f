"""TensorBoard beside TensorFlow: runs are opened by fsspec, whoever has been there first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.beside_tensorflow import runs_beside

pytest.importorskip("tensorboard", reason="TensorBoard is not installed; `make venv` does it")

OPENED = "from ambry.tensorboard import open_by_fsspec\nopen_by_fsspec()\n"
LOADED = "from tensorboard.compat import tf\nassert tf.__version__ == '2.20.0'\n"


@pytest.mark.parametrize("before", [OPENED, OPENED + OPENED, LOADED + OPENED], ids=["first", "twice", "behind"])
def test_files_are_opened_by_fsspec(tmp_path: Path, before: str) -> None:
    found = runs_beside(tmp_path, before)
    assert found.stdout == "[0, 1, 2]\n", found.stderr


def test_without_it_tensorflow_opens_them(tmp_path: Path) -> None:
    assert "File system scheme 'memory' not implemented" in runs_beside(tmp_path, "").stderr


@pytest.mark.parametrize("before", ["", OPENED])
def test_where_tensorflow_is_not_installed_nothing_changes(tmp_path: Path, before: str) -> None:
    code = before + "import sys\nassert 'tensorboard.compat.notf' not in sys.modules\n"
    found = runs_beside(tmp_path, code, tensorflow=False)
    assert found.stdout == "[0, 1, 2]\n", found.stderr


WORKER = """
from types import SimpleNamespace
from ambry.ml.training.current import CurrentJob
assert CurrentJob(role=None, job=SimpleNamespace(logs="ambry://job/tensorboard"), environ={}).logs.startswith("ambry:")
"""


def test_a_worker_of_a_job_writes_its_run_by_fsspec_unless_it_uses_tensorflow(tmp_path: Path) -> None:
    for place in ("torch", "tensorflow"):
        (tmp_path / place).mkdir()
    found = runs_beside(tmp_path / "torch", WORKER)
    assert found.stdout == "[0, 1, 2]\n", found.stderr
    # As where the script's `import torch.utils.tensorboard` loaded it.
    (tmp_path / "both").mkdir()
    loaded = "import sys, types\nsys.modules['torch.utils.tensorboard'] = types.ModuleType('x')\nimport tensorflow\n"
    found = runs_beside(tmp_path / "both", loaded + WORKER)
    assert found.stdout == "[0, 1, 2]\n", found.stderr
    found = runs_beside(tmp_path / "tensorflow", f"import tensorflow\n{WORKER}")
    assert "File system scheme 'memory' not implemented" in found.stderr
