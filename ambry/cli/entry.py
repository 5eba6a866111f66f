"""The console script: an interrupt while the command is still being imported ends it as a later one does."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `ambry` and exit."""
    try:
        from ambry.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)  # EXIT_INTERRUPTED, of a module that may not be there yet
