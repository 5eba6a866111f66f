"""The data source `ambry` as `dying`: the process that commits is killed at a call of the client's, before it or after."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

from ambry import AmbryClient
from ambry.spark.source import AmbryDataSource
from ambry.spark.writing import AmbryWriter


class DyingWriter(AmbryWriter):
    """`dies` is such as `before put_version`."""

    dies = ""

    def commit(self, messages: list[Any]) -> None:
        when, name = self.dies.split()
        does = getattr(AmbryClient, name)

        def dying(*words: Any, **said: Any) -> None:
            if when == "after":
                does(*words, **said)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(AmbryClient, name, dying)
        super().commit(messages)


class DyingDataSource(AmbryDataSource):
    """Has the option `dies`."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._dies = options["dies"]
        super().__init__({name: said for name, said in options.items() if name != "dies"})

    @classmethod
    def name(cls) -> str:
        return "dying"

    def writer(self, schema: Any, overwrite: bool) -> DyingWriter:
        made = super().writer(schema, overwrite)
        made.__class__ = DyingWriter
        made.dies = self._dies
        return made
