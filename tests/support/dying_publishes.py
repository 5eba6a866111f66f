"""`ambry photon train` again and again, each time killed at another request of what it publishes: before it, or answered.

    python -m tests.support.dying_publishes NAME SEED COUNT WORDS...

WORDS are those of the command without `--publish`, which gets NAME-whole, NAME-0 and on. Prints at which moments it was killed,
after how many there are.
"""

from __future__ import annotations

import importlib
import itertools
import os
import random
import signal
import sys
from typing import Any

from ambry.cli.main import main as command
from ambry.client.sync.connection import KeptConnection
from ambry.ml import models

IMPORTED = (
    "glum",
    "tabmat",
    "fastavro",
    "scipy.special",
    "scipy.optimize",
    "pyarrow",
    "ambry.ml.photon.glmix",
    "ambry.cli.photon",
)
"""Once, and not by each."""


def die_at(moment: int, told: int) -> None:
    """At a request that publishing makes: 0 is before the first of them, 1 when it is answered. How many there were is told."""
    publish, send, receive = models.publish, KeptConnection.send_head, KeptConnection.receive_head
    moments = itertools.count()

    def come() -> None:
        if next(moments) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def sent(*words: Any) -> None:
        come()
        send(*words)

    def received(*words: Any) -> Any:
        answer = receive(*words)
        come()
        return answer

    def published(*words: Any, **said: Any) -> Any:
        setattr(KeptConnection, "send_head", sent)  # noqa: B010
        setattr(KeptConnection, "receive_head", received)  # noqa: B010
        made = publish(*words, **said)
        os.write(told, str(next(moments)).encode())
        return made

    setattr(models, "publish", published)  # noqa: B010


def run(name: str, words: list[str], moment: int) -> str:
    """Returns how many moments there were; nothing where it was killed."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        die_at(moment, writes)
        sys.argv[1:] = ["photon", "train", *words, "--publish", name]
        command()
        os._exit(0)
    os.close(writes)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(status)
    with os.fdopen(reads) as told:
        return told.read()


def main(name: str, seed: str, count: str, *words: str) -> None:
    for each in IMPORTED:
        importlib.import_module(each)
    there = int(run(f"{name}-whole", list(words), -1))
    print(there, flush=True)
    # The last answer is that of the version.
    for moment in [*random.Random(int(seed)).sample(range(there - 2), int(count) - 2), there - 2, there - 1]:
        if run(f"{name}-{moment}", list(words), moment):
            raise SystemExit(f"nobody was killed at {moment}")
        print(moment, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
