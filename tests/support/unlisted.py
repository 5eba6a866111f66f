"""Directories that this user may not list, also where tests run as root, whom no mode keeps out."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest


def may_not_list(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Until the test ends."""
    monkeypatch.setattr(os, "scandir", _refused(os.scandir, directory))
    monkeypatch.setattr(os, "listdir", _refused(os.listdir, directory))


def _refused(listed: Any, directory: Path) -> Any:
    def told(path: Any = ".") -> Any:
        if not isinstance(path, int) and os.fspath(path) == str(directory):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory))
        return listed(path)

    return told
