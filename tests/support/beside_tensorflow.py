"""A program with TensorBoard, and with as much of TensorFlow as TensorBoard asks for, which refuses every scheme."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TENSORFLOW = """
from types import SimpleNamespace
__version__ = "2.20.0"
def refuse(*_asked):
    raise NotImplementedError("File system scheme 'memory' not implemented")
io = SimpleNamespace(gfile=SimpleNamespace(exists=refuse, makedirs=refuse, GFile=refuse, isdir=refuse, listdir=refuse))
"""
WRITES_AND_READS = """
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
writer = EventFileWriter("memory://runs/a")
for step in range(3):
    writer.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag="loss", simple_value=step)])))
writer.close()
run = EventAccumulator("memory://runs/a")
run.Reload()
print([each.step for each in run.Scalars("loss")])
"""


def runs_beside(directory: Path, code: str, *, tensorflow: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs `code`, and then writes a run and reads it by fsspec's `memory://`, whose steps are printed."""
    if tensorflow:
        (directory / "tensorflow").mkdir()
        (directory / "tensorflow" / "__init__.py").write_text(TENSORFLOW)
    environ = {"PYTHONPATH": f"{directory}:{ROOT}", "PATH": ""}
    return subprocess.run(
        [sys.executable, "-c", code + WRITES_AND_READS], env=environ, capture_output=True, text=True, check=False
    )
