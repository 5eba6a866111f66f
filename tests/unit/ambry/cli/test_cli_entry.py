from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import ambry


def test_an_interrupt_while_the_command_is_imported_shows_no_traceback() -> None:
    """Ctrl-C in the first 0.15 s did."""
    scripts = tomllib.loads(Path(ambry.__file__).parents[1].joinpath("pyproject.toml").read_text())["project"][
        "scripts"
    ]
    module, function = scripts["ambry"].split(":")
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'click': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        f"from {module} import {function}\n{function}()"
    )
    root = Path(ambry.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
