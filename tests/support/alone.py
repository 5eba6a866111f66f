"""An interpreter that finds the libraries that are installed, and not us: who reads what we wrote, and writes what we read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

LIBRARIES = str(Path(np.__file__).parents[1])
_FIRST = """\
import importlib.util, sys
sys.path.append(sys.argv.pop(1))
assert importlib.util.find_spec("ambry") is None
"""


def run_alone(code: str, *words: str | Path) -> str:
    """What `code` prints, with `words` in sys.argv[1:]; without site, so that no .pth of an editable install leads to us."""
    command = [sys.executable, "-I", "-S", "-c", _FIRST + code, LIBRARIES, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
