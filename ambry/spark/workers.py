"""The processes in which Spark runs Python."""

from __future__ import annotations

import gc
import sys

_settled = False


def settle() -> None:
    """Call at the end of what a worker of Spark was asked for: what it has in memory then is taken to stay.

    PySpark keeps its workers, and collects all garbage after each task and each step of planning (pyspark/daemon.py). That goes
    through everything that was ever imported, 10 to 15 ms each time: a fifth of the processor time of a read. What is frozen is
    not looked through again. Once in a process; of processes that are not Spark's nothing is changed.
    """
    global _settled
    if not _settled and _is_worker():
        _settled = True
        gc.freeze()


def _is_worker() -> bool:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name == "pyspark.daemon"
