"""What a process prints is followed until it ends, and not until those end that it started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ambry.ml.training.launchers.printed import LINE_CHARACTERS_MAX, lines_of, printed
from ambry.ml.training.launchers.spark_task import _followed

LEAVES_ONE = (
    "import subprocess, sys; print('before', flush=True);"
    "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True)"
)


def test_who_inherited_the_pipe_is_not_waited_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", LEAVES_ONE], stdout=subprocess.PIPE)
    began = time.monotonic()
    said, left = list(lines_of(printed(process)))
    assert said == "before" and process.wait() == 0 and time.monotonic() - began < 300
    os.kill(int(left), 9)


def test_a_task_of_spark_ends_with_its_worker(tmp_path: Path) -> None:
    """It waited for whoever its worker left behind, for ever for a daemon."""
    (tmp_path / "ambry-node.pyz").write_text(LEAVES_ONE)
    began = time.monotonic()
    # Nobody listens at that port.
    said = _followed(tmp_path, dict(os.environ), 0, ("127.0.0.1", 1), "token")
    assert said.splitlines()[0] == "before" and time.monotonic() - began < 300
    with suppress(ProcessLookupError):
        os.kill(int(said.splitlines()[1]), 9)


def test_lines_end_in_three_ways_and_long_ones_come_in_pieces() -> None:
    assert list(lines_of([b"a\nb", b"\r", b"\nc\rd", b"\n\nlast"])) == ["a", "b", "c", "d", "", "last"]
    assert list(lines_of([b"x" * (2 * LINE_CHARACTERS_MAX + 1), b"\n"])) == [
        "x" * LINE_CHARACTERS_MAX,
        "x" * LINE_CHARACTERS_MAX,
        "x",
    ]
    assert list(lines_of(["é".encode()[:1], "é".encode()[1:] + b"\xff\n"])) == ["é\ufffd"]


@pytest.mark.parametrize("chunk", [100, 16_384, 1_000_000])
def test_all_pieces_of_a_long_line_tell_whose_they_are(chunk: int) -> None:
    """Of a line of a worker the first piece alone was shown."""
    long = "".join(f"{number:07}" for number in range(10_000))
    sent = f"worker 3: {long}\nnobody's {long}\nworker 12: {long}".encode()
    found = list(
        lines_of((sent[first : first + chunk] for first in range(0, len(sent), chunk)), re.compile(r"worker \d{1,9}: "))
    )
    assert max(map(len, found)) == LINE_CHARACTERS_MAX
    for head in ("worker 3: ", "worker 12: "):
        assert "".join(each.removeprefix(head) for each in found if each.startswith(head)) == long
    others = [each for each in found if not each.startswith("worker ")]
    assert "".join(others) == f"nobody's {long}" and others[0].startswith("nobody's 0")
