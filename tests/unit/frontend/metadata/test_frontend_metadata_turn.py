"""Processes take turns at writing; whoever dies has had his."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from frontend.metadata.turn import WriteTurn

HOLDER = """
import sys, pathlib
from frontend.metadata.turn import WriteTurn
with WriteTurn(pathlib.Path(sys.argv[1])).taken():
    print("taken", flush=True)
    sys.stdin.read()
"""


def test_one_waits_until_the_other_is_done_or_dead(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"taken\n"
        turn, entered = WriteTurn(path), threading.Event()

        def take() -> None:
            with turn.taken():
                entered.set()

        thread = threading.Thread(target=take)
        thread.start()
        assert not entered.wait(0.05)
        holder.kill()
        thread.join()
        assert entered.is_set()
    with turn.taken():
        pass
    turn.close()
    assert [file.name for file in tmp_path.iterdir()] == ["m.sqlite-turn"]
    assert (tmp_path / "m.sqlite-turn").stat().st_size == 0
