"""The `tensorboard` program itself, as it is installed, on a directory of runs, and what its HTTP API tells of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support.waiting import eventually

BEGINS_S = 180.0
_AT = re.compile(r"TensorBoard \S+ at (http://127\.0\.0\.1:\d+)/")


class TensorBoardProgram:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self._url = url

    def runs(self) -> list[str]:
        return list(self._ask("runs"))

    def scalars(self, run: str, tag: str) -> list[tuple[int, float]]:
        """Steps and values; none of a run or a tag that it has not read yet."""
        if tag not in self._ask("plugin/scalars/tags").get(run, ()):
            return []
        told = self._ask(f"plugin/scalars/scalars?{urlencode({'run': run, 'tag': tag})}")
        return [(int(step), float(value)) for _, step, value in told]

    def _ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self._url}/data/{path}", timeout=20) as answer:
            return json.load(answer)


@contextmanager
def tensorboard(logs: str, log: Path, environ: Mapping[str, str]) -> Iterator[TensorBoardProgram]:
    """`tensorboard --logdir LOGS` on a port of loopback that it takes by itself. `environ` is beside that of this process."""
    command = [
        str(Path(sys.executable).with_name("tensorboard")),
        "--logdir",
        logs,
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*command, "--reload_interval", "1"],
            stdout=sink,
            stderr=sink,
            env={**os.environ, **environ},
            start_new_session=True,
        )
    try:

        def url() -> str:
            assert process.poll() is None, log.read_text("utf-8", "replace")
            found = _AT.search(log.read_text("utf-8", "replace"))
            return found[1] if found else ""

        yield TensorBoardProgram(eventually(url, "TensorBoard serves", timeout_s=BEGINS_S))
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
