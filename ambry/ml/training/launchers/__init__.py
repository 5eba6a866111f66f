"""What starts the workers of a job, and starts them again: torchrun on one machine, TonY on YARN, Spark."""

from __future__ import annotations

from ambry.ml.training.launchers.launch import Launch, Launcher, LaunchFailed

__all__ = ["Launch", "LaunchFailed", "Launcher"]
