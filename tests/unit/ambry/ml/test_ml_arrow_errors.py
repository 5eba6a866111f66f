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

from ambry.errors import AmbryError, DataCorrupt, InvalidRequest
from ambry.ml.arrow_errors import arrow_told, reads_fixed_lists
from tests.support.fixed_lists import LACKS_FIXED_LISTS
from tests.support.mutated_files import FILES, write_valid

ROOT = Path(__file__).parents[4]
COUNT = 25
"""Of each kind of file: what is found by thousands is kept as tests of its own."""


@pytest.mark.parametrize("what", FILES)
def test_a_changed_file_is_a_value_or_a_sentence(tmp_path: Path, what: str) -> None:
    if what == "ONNX":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    if "Parquet" in what and not reads_fixed_lists():
        pytest.skip(LACKS_FIXED_LISTS)
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


@pytest.mark.parametrize(
    "words",
    ["Expected all lists to be of size=7 but index 2 had size=0", "Lists with non-zero length null components ..."],
)
def test_a_file_is_not_blamed_for_what_an_older_pyarrow_does_not_read(
    monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """It was told as one that cannot be read, and "write the file again"."""

    def told(version: str) -> str:
        monkeypatch.setattr(pa, "__version__", version)
        with pytest.raises(AmbryError) as caught, arrow_told(lambda error: DataCorrupt(f"x: {error}")):
            raise pa.ArrowInvalid(words)
        assert isinstance(caught.value, InvalidRequest if version < "26" else DataCorrupt)
        return str(caught.value)

    assert "pyarrow 25.0.1 cannot read those from Parquet; install pyarrow 26 or later" in told("25.0.1")
    assert told("26.0.1") == f"x: {words}"
