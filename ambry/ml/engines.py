"""Which engines run training jobs: their names alone, so that a command line can say them without loading any."""

from __future__ import annotations

ENGINES = ("torchrun", "tony", "spark")
"""torchrun on one machine, TonY on YARN, Spark; ambry/ml/training/launchers/choice.py has what they are."""
