"""Which launcher an engine is, with what somebody says of it. Modules of engines are imported when they are chosen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ambry.errors import InvalidRequest
from ambry.ml.engines import ENGINES
from ambry.ml.training.launchers.launch import Launcher


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherSettings:
    """What is said of engines; each takes what is its own."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """Names and values of the engine's own configuration."""
    hadoop_conf: Path | None = None
    jars: Path | None = None
    framework: str = "torch"
    master: str = ""


_WHICH_YARN = "nobody said which YARN: name its configuration, --hadoop-conf or HADOOP_CONF_DIR"


def _says_yarn(environ: Mapping[str, str]) -> bool:
    """Whether Spark finds its configuration without being told."""
    return bool(environ.get("HADOOP_CONF_DIR") or environ.get("YARN_CONF_DIR"))


def launcher_of(engine: str, said: LauncherSettings | None = None) -> Launcher:
    """Raises InvalidRequest for an engine that there is not, and for settings that it does not have."""
    said = said or LauncherSettings()
    if engine == "torchrun":
        from ambry.ml.training.launchers.torchrun import TorchrunLauncher

        if said.settings:
            raise InvalidRequest(f"torchrun has no setting {next(iter(said.settings))}")
        return TorchrunLauncher()
    if engine == "tony":
        from ambry.ml.training.launchers.tony import TonyLauncher

        if said.hadoop_conf is None:
            raise InvalidRequest(_WHICH_YARN)
        if said.jars is None:
            raise InvalidRequest("nobody said where TonY is: name the directory of its jars, --jars")
        return TonyLauncher(
            jars=said.jars, hadoop_conf=said.hadoop_conf, framework=said.framework, settings=said.settings
        )
    if engine == "spark":
        from ambry.ml.training.launchers.spark import SparkLauncher

        if said.master == "yarn" and said.hadoop_conf is None and not _says_yarn(os.environ):
            raise InvalidRequest(_WHICH_YARN)
        return SparkLauncher(master=said.master, hadoop_conf=said.hadoop_conf, settings=said.settings)
    raise InvalidRequest(f"{engine!r} is no engine; there are {', '.join(ENGINES)}")
