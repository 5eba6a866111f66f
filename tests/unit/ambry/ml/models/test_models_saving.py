"""What cannot be written is a sentence, whose library it may be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ambry.errors import InvalidRequest
from ambry.ml.models.saving import save

FULL = """
import resource, sys
import numpy as np
from pathlib import Path
from ambry.ml.models.saving import save
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    save({"a": np.zeros(1 << 20)}, Path(sys.argv[1]))
except OSError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_is_the_systems_error(tmp_path: Path) -> None:
    """It was a SafetensorError, which nobody caught."""
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"[Errno 27] File too large: '{tmp_path}/model.safetensors'\n"


def test_tensors_that_safetensors_has_not_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be written as safetensors"):
        save({"a": np.zeros(2, dtype="U3")}, tmp_path)
