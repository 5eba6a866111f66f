"""Stops disk threads at a call of the fake disk, so that a test can look at the moment in between."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from tests.support.fake_files import FakeFiles

GIVE_UP_S = 30.0


class Gate:
    """While shut, every call of kind `call` on `disk` waits; `arrived` is set when one does. Use with `with`."""

    def __init__(self, disk: FakeFiles, call: str, *, name: str = "") -> None:
        self.arrived = asyncio.Event()
        self._disk = disk
        self._call = call
        self._name = name
        self._open = threading.Event()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Gate:
        self._disk.before = self._wait
        return self

    def __exit__(self, *_: object) -> None:
        self.open()

    def open(self) -> None:
        """Let everything pass, from now on."""
        self._disk.before = lambda _call, _path: None
        self._open.set()

    def _wait(self, call: str, path: Path) -> None:
        if call == self._call and self._name in str(path):
            self._loop.call_soon_threadsafe(self.arrived.set)
            if not self._open.wait(GIVE_UP_S):
                raise TimeoutError("the test never opened the gate")
