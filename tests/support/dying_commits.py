"""The data source `ambry` as `dying`: the process that commits is killed at a call of the client's, before it or after.

Or it stands there for ever, with its number in a file, where the driver is to be killed with it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ambry import AmbryClient
from ambry.spark.source import AmbryDataSource
from ambry.spark.writing import AmbryWriter

MOMENTS = ("before put_version", "after put_version", "before delete", "after delete")


class DyingWriter(AmbryWriter):
    """`dies` is one of MOMENTS; `stands` the file that a process which is not to die by itself has its number in."""

    dies = ""
    stands = ""

    def commit(self, messages: list[Any]) -> None:
        when, name = self.dies.split()
        does = getattr(AmbryClient, name)

        def dying(*words: Any, **said: Any) -> None:
            if when == "after":
                does(*words, **said)
            if self.stands:
                stand(Path(self.stands))
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(AmbryClient, name, dying)
        super().commit(messages)


def stand(mark: Path) -> None:
    beside = mark.with_suffix(".part")
    beside.write_text(str(os.getpid()))
    beside.replace(mark)
    while True:
        signal.pause()


class DyingDataSource(AmbryDataSource):
    """Has the options `dies` and `stands`."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._dies, self._stands = options["dies"], options.get("stands", "")
        super().__init__({name: said for name, said in options.items() if name not in ("dies", "stands")})

    @classmethod
    def name(cls) -> str:
        return "dying"

    def writer(self, schema: Any, overwrite: bool) -> DyingWriter:
        made = super().writer(schema, overwrite)
        made.__class__ = DyingWriter
        made.dies, made.stands = self._dies, self._stands
        return made
