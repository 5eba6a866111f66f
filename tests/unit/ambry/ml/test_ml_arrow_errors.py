"""Files of strangers, changed at random: what is read of them is a value or a sentence.

The first runs of this found what tables and rows of files let through: OSError of Arrow, whose message is of thrift or LZ4,
ArrowMemoryError for a length of 2^57, and IndexError of zipfile and fastavro.
"""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from ambry.errors import DataCorrupt
from ambry.ml.arrow_errors import arrow_told
from tests.support.mutated_files import FILES, write_valid

ROOT = Path(__file__).parents[4]
COUNT = 25
"""Of each kind of file: what is found by thousands is kept as tests of its own."""


@pytest.mark.parametrize("what", FILES)
def test_a_changed_file_is_a_value_or_a_sentence(tmp_path: Path, what: str) -> None:
    if what == "ONNX":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    reader, path = write_valid(what, tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.mutated", reader, str(path), "0", str(COUNT)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
    )
    *lines, last = run.stdout.splitlines() or [""]
    wrong = [line for line in lines if " " in line]
    assert (run.returncode, wrong) == (0, []), f"{run.stdout[-200:]}\n{run.stderr[-2_000:]}"
    assert last.startswith("values=")
    values, told = (int(each.partition("=")[2]) for each in last.split())
    assert values + told == COUNT
    assert told, "nothing that was changed was noticed"


def test_errors_of_the_system_stay() -> None:
    for error in (FileNotFoundError(errno.ENOENT, "gone"), OSError(errno.ENOSPC, "full"), KeyError("ours")):
        with pytest.raises(type(error)), arrow_told(lambda told: DataCorrupt(f"{told}")):
            raise error
    for strange in (pa.ArrowInvalid("a"), pa.ArrowMemoryError("a"), OSError("a"), EOFError("a"), pa.ArrowKeyError("a")):
        with pytest.raises(DataCorrupt, match="a"), arrow_told(lambda told: DataCorrupt(f"{told}")):
            raise strange
