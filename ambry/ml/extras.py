"""Libraries that are not always there: imported when they are needed, with a sentence that says what to install."""

from __future__ import annotations

import sys
import threading
import warnings
from contextlib import nullcontext
from importlib import import_module
from typing import Any

EXTRA_OF = {
    "aiohttp": "serving",
    "alembic": "mlflow",
    "confluent_kafka": "kafka",
    "fastavro": "sources",
    "fsspec": "fsspec",
    "glum": "photon",
    "joblib": "sklearn",
    "lmdb": "sources",
    "mlflow": "mlflow",
    "numpy": "features",
    "prometheus_client": "serving",
    "pyarrow": "features",
    "quixstreams": "streams",
    "pyspark": "spark",
    "safetensors": "tensors",
    "scipy": "experiments",
    "sklearn": "sklearn",
    "skops": "sklearn",
    "sqlalchemy": "sources",
    "statsmodels": "experiments",
    "tabmat": "photon",
    "threadpoolctl": "photon",
    "torch": "torch",
    "yaml": "mlflow",
}
"""What brings a library; one that is not here is installed by its own name."""


WARNS_ITS_AUTHORS = frozenset({"quixstreams"})
"""Libraries that show deprecations of what they use to everybody who imports them, whatever filters there are."""


class _Unshown:
    """Within it, what this thread warns of is shown to nobody; what other threads warn of goes on to who shows warnings."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: list[int] = []
        self._ours = self._show
        self._shown = warnings.showwarning

    def __enter__(self) -> None:
        with self._lock:
            if warnings.showwarning is not self._ours:
                self._shown = warnings.showwarning
                warnings.showwarning = self._ours
            self._threads.append(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads.remove(threading.get_ident())
            if not self._threads and warnings.showwarning is self._ours:
                warnings.showwarning = self._shown

    def _show(self, *args: Any, **named: Any) -> None:
        if threading.get_ident() not in self._threads:
            self._shown(*args, **named)


_unshown = _Unshown()


def needed(module: str) -> Any:
    """A library that is not always there. Raises ModuleNotFoundError with what to install.

    What one of WARNS_ITS_AUTHORS warns of while it is first imported is shown to nobody.
    """
    warns = module not in sys.modules and module.partition(".")[0] in WARNS_ITS_AUTHORS
    try:
        with _unshown if warns else nullcontext():
            return import_module(module)
    except ModuleNotFoundError as missing:
        library = (missing.name or module).partition(".")[0]
        raise ModuleNotFoundError(
            f"this needs {library}: pip install {to_install(library)}", name=missing.name
        ) from None


def to_install(library: str) -> str:
    """What `pip install` is to be given for it."""
    extra = EXTRA_OF.get(library)
    return library if extra is None else f"'ambry[{extra}]'"
