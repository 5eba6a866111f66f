"""The `tensorboard` program finds us when it starts, and opens runs in the store by fsspec, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.beside_tensorflow import runs_beside

pytest.importorskip("tensorboard", reason="TensorBoard is not installed; `make venv` does it")

LOADED = "from tensorboard.compat import tf\nassert tf.__version__ == '2.20.0'\n"
"""As the program does before it looks for plugins."""
BEGUN = """
from argparse import Namespace
from tensorboard import default
[loader] = [each for each in default.get_dynamic_plugins() if each.__module__ == "ambry.tensorboard.plugin"]
loader().fix_flags(Namespace({flags}))
assert loader().load(None) is None
"""


@pytest.mark.parametrize(
    "flags",
    [
        "logdir='ambry://default/default/runs', logdir_spec=''",
        "logdir=None, logdir_spec='a:/runs,b:ambry://default/default/runs'",
    ],
)
@pytest.mark.parametrize("before", ["", LOADED], ids=["first", "behind"])
def test_runs_in_the_store_are_opened_by_fsspec(tmp_path: Path, before: str, flags: str) -> None:
    found = runs_beside(tmp_path, before + BEGUN.format(flags=flags))
    assert found.stdout == "[0, 1, 2]\n", found.stderr


@pytest.mark.parametrize("flags", ["logdir='gs://bucket/runs', logdir_spec=''", "logdir='', logdir_spec='a:/runs'", ""])
def test_other_runs_are_opened_by_tensorflow_as_before(tmp_path: Path, flags: str) -> None:
    assert "File system scheme 'memory' not implemented" in runs_beside(tmp_path, BEGUN.format(flags=flags)).stderr
