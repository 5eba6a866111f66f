"""Libraries that are not always there: imported when they are needed, with a sentence that says what to install."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def needed(module: str, extra: str) -> Any:
    """A library that is not always there. Raises ModuleNotFoundError with what to install."""
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"this needs {module.partition('.')[0]}: pip install {extra}", name=missing.name
        ) from None
