"""Libraries that are not always there: imported when they are needed, with a sentence that says what to install."""

from __future__ import annotations

import warnings
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


def needed(module: str) -> Any:
    """A library that is not always there. Raises ModuleNotFoundError with what to install.

    What it warns its authors of while it is imported is shown to nobody, whatever filters it sets.
    """
    shown = warnings.showwarning

    def unshown(*_: object, **__: object) -> None:
        """In place of the standard error."""

    warnings.showwarning = unshown
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        library = (missing.name or module).partition(".")[0]
        raise ModuleNotFoundError(
            f"this needs {library}: pip install {to_install(library)}", name=missing.name
        ) from None
    finally:
        if warnings.showwarning is unshown:
            warnings.showwarning = shown


def to_install(library: str) -> str:
    """What `pip install` is to be given for it."""
    extra = EXTRA_OF.get(library)
    return library if extra is None else f"'ambry[{extra}]'"
