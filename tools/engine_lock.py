"""Write the lock of an engine anew: `python -m tools.engine_lock NAME [GROUP:ARTIFACT:VERSION ...]`, of its own coordinates."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from deploy.engines.jars import LOCKS, EngineError, JarLock, copy_jars, digests_of, encode_lock, read_lock


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools.engine_lock", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("direct", nargs="*")
    said = parser.parse_args()
    direct = tuple(said.direct) or read_lock(said.name).direct
    with tempfile.TemporaryDirectory() as made:
        jars = Path(made) / "jars"
        try:
            copy_jars(direct, jars, tell=print)
        except EngineError as error:
            print(error, file=sys.stderr)
            return 1
        lock = JarLock(direct, digests_of(jars))
    (LOCKS / f"{said.name}.lock").write_text(encode_lock(lock), "utf-8")
    print(f"{said.name}: {len(lock.digests)} jars")
    return 0


if __name__ == "__main__":
    sys.exit(main())
