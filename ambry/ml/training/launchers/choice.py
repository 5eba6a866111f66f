"""Which launcher an engine is, with what somebody says of it. Modules of engines are imported when they are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ambry.errors import InvalidRequest
from ambry.ml.training.launchers.launch import Launcher


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherSettings:
    """What is said of engines; each takes what is its own."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """Names and values of the engine's own configuration."""


ENGINES = ("torchrun",)


def launcher_of(engine: str, said: LauncherSettings | None = None) -> Launcher:
    """Raises InvalidRequest for an engine that there is not, and for settings that it does not have."""
    said = said or LauncherSettings()
    if engine == "torchrun":
        from ambry.ml.training.launchers.torchrun import TorchrunLauncher

        if said.settings:
            raise InvalidRequest(f"torchrun has no setting {next(iter(said.settings))}")
        return TorchrunLauncher()
    raise InvalidRequest(f"{engine!r} is no engine; there are {', '.join(ENGINES)}")
