"""What containers of YARN print, from the NodeManagers that run them, while they run and for as long as those keep it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ambry.errors import MALFORMED
from ambry.ml.training.launchers.launch import LastWords
from ambry.ml.training.launchers.printed import LineCutter
from ambry.ml.training.launchers.yarn_api import ask

LOOK_S = 1.0
ASKED_AT_ONCE = 8
"""Containers."""
_PAGE = re.compile(r"/node/containerlogs/(container_\w+)(?:/|$)")
_OF_TONY = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (INFO|WARN|DEBUG) +\w+:\d+ - |SLF4J: |bash: .*/bin/hadoop: No such file"
)
"""What its executor prints beside the script; it looks for a hadoop command, and does without."""
_FRAME = re.compile(rb"LogLength:(\d+)\nLogContents:\n(.*)End of LogType:", re.DOTALL)
_ENDED = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO +TaskExecutor:\d+ - Child process exited with exit code (\d{1,3})$"
)
"""The last that TonY's executor says; a signal is told as a shell does."""
STREAMS = ("stdout", "stderr")
_GROWS_MAX = 64 << 10
_AT_ONCE_MAX = 1 << 20
"""Bytes of one stream: of more that came at once the end is shown."""


@dataclass(slots=True)
class _Container:
    id: str
    name: str
    page: str
    seen: dict[str, int]
    cutters: dict[str, LineCutter]
    words: LastWords
    """Of its stderr: what it prints of errors that it handles is of the other one."""
    code: int | None = None
    """With which its script ended, until that was told."""


class ContainerLogs:
    """Shows the lines of containers as they come, each with whose it is. Use it as a context manager around the job."""

    def __init__(self, show: Callable[[str], None], ended: Callable[[str, int, str], None] = lambda *_: None) -> None:
        """`ended` takes which task a script was, with which exit code it ended, and what it raised last."""
        self._show = show
        self._ended = ended
        self._containers: dict[str, _Container] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="ambry-container-logs", daemon=True)

    def __enter__(self) -> ContainerLogs:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.look()
        for each in self._containers.values():
            for stream, cutter in each.cutters.items():
                for line in cutter.end():
                    self._line(each, stream, line)
            self._tell_end(each)

    def add(self, name: str, page: str) -> bool:
        """Follow a container by the address of its page on its NodeManager; whether it is a new one."""
        found = _PAGE.search(page)
        if found is None or found[1] in self._containers:
            return False
        made = _Container(
            found[1], name, page, dict.fromkeys(STREAMS, 0), {each: LineCutter() for each in STREAMS}, LastWords()
        )
        with self._lock:
            self._containers[found[1]] = made
        return True

    def look(self) -> None:
        """Show what came since the last look; nothing of a NodeManager that does not answer. By one thread at a time.

        Several are asked at once, and one that did not answer no more in this look: many containers of a node that is away
        cost as much as one.
        """
        with self._lock:
            containers = list(self._containers.values())
        away: set[str] = set()

        def new_of(each: _Container) -> list[tuple[str, str]]:
            node = urlsplit(each.page).netloc
            if node in away:
                return []
            lines: list[tuple[str, str]] = []
            try:
                self._look_at(each, lines)
            except OSError:
                away.add(node)
            except MALFORMED:
                pass
            return lines

        if containers:
            with ThreadPoolExecutor(min(ASKED_AT_ONCE, len(containers)), "ambry-container-logs") as pool:
                for each, lines in zip(containers, pool.map(new_of, containers), strict=True):
                    had_ended = each.code is not None
                    for stream, line in lines:
                        self._line(each, stream, line)
                    if had_ended:  # A look later: what it raised may have come after the sizes were asked.
                        self._tell_end(each)

    def _follow(self) -> None:
        while not self._over.wait(LOOK_S):
            self.look()

    def _look_at(self, each: _Container, lines: list[tuple[str, str]]) -> None:
        """Add the stream and the text of the whole lines that came. Raises OSError, and what a document raises that is none."""
        address = urlsplit(each.page)
        base = f"{address.scheme}://{address.netloc}/ws/v1/node/containers/{each.id}/logs"
        sizes = sizes_in(json.loads(ask(base)))
        for stream in STREAMS:
            new = sizes.get(stream, 0) - each.seen[stream]
            if new <= 0:
                continue
            # It may have grown since: more than that is asked for, and what was shown is cut off by where it ends.
            found = contents_in(ask(f"{base}/{stream}?size=-{min(new, _AT_ONCE_MAX) + _GROWS_MAX}"))
            if found is None:
                continue
            end, body = found
            new_part = body[max(0, each.seen[stream] - (end - len(body))) :]
            each.seen[stream] = end
            lines += [(stream, line) for line in each.cutters[stream].feed(new_part)]

    def _line(self, each: _Container, stream: str, line: str) -> None:
        if found := _ENDED.match(line):
            each.code = int(found[1])
        elif line.strip() and not _OF_TONY.match(line):
            if stream == "stderr":
                each.words.hear(line)
            self._show(f"{each.name}: {line}")

    def _tell_end(self, each: _Container) -> None:
        if each.code is not None:
            self._ended(each.name, each.code, str(each.words).removeprefix(": "))
            each.code = None


def sizes_in(told: Any) -> dict[str, int]:
    """How long the logs of a container are, in bytes, by their names."""
    infos = told["containerLogsInfo"]
    for info in infos if isinstance(infos, list) else [infos]:
        return {str(file["fileName"]): int(file["fileSize"]) for file in info.get("containerLogInfo") or ()}
    return {}


def contents_in(answer: bytes) -> tuple[int, bytes] | None:
    """Where the part of a log ends that an answer of a NodeManager has, in bytes of the log, and the part."""
    found = _FRAME.search(answer)
    return None if found is None else (int(found[1]), found[2])
