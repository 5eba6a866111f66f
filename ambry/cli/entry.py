"""The console script: an interrupt while the command is still being imported ends it as a later one does.

`ambry --version` is answered here, without the libraries of the command: scripts ask for it, and shells at their start.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run `ambry` and exit."""
    try:
        if sys.argv[1:] == ["--version"] and sys.stdout is not None:
            from ambry import __version__

            try:
                print(f"ambry, version {__version__}", flush=True)
                return
            except OSError:
                pass  # The command says what is wrong with its output.
        from ambry.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)  # EXIT_INTERRUPTED, of a module that may not be there yet
