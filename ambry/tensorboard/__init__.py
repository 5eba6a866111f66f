"""TensorBoard with its runs in the store, where TensorFlow is installed too (`pip install 'ambry[fsspec]' tensorboard`).

TensorBoard opens files by TensorFlow where that is, and by fsspec where it is not. TensorFlow refuses `ambry://`, which is no
scheme of its own. TensorBoard has a switch for its builds without TensorFlow, the module `tensorboard.compat.notf`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

_SWITCH = "tensorboard.compat.notf"


def open_by_fsspec() -> None:
    """Let TensorBoard open files by fsspec in this process, as where TensorFlow is not installed.

    For `SummaryWriter("ambry://...")` and `EventAccumulator("ambry://...")` in a program of one's own; the `tensorboard`
    program and `training.current().logs` do it by themselves. Whoever uses TensorFlow goes on with it; what of TensorBoard
    needs TensorFlow itself (`tensorboard.summary.v2`, `hparams.api`) fails then. Nothing is done where TensorBoard or
    TensorFlow is not installed.
    """
    if find_spec("tensorboard") is None or find_spec("tensorflow") is None:
        return
    sys.modules.setdefault(_SWITCH, ModuleType(_SWITCH))
    compat = import_module("tensorboard.compat")
    if "__version__" in vars(compat.tf):  # It has been looked for already, and everybody has this very module.
        vars(compat.tf).update(vars(import_module("tensorboard.compat.tensorflow_stub")))
