"""The counting of tests/support/trace.py, and one real put through it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from tests.support import trace
from tests.support.trace import Call, Recorder, tally


def call(file: str, function: str) -> Call:
    return Call(file=file, function=function)


def test_changes_are_counted_within_a_thread_and_entries_with_the_first() -> None:
    loop = [call("a.py", "A.run"), call("a.py", "A.step"), call("b.py", "write"), call("a.py", "A.step")]
    disk = [call("b.py", "write")]
    counted = tally([loop, disk])
    assert (counted.calls, counted.changes) == (5, 2)
    assert counted.entries == {"a.py": 2, "b.py": 2}
    assert counted.functions == {"run": 1, "step": 2, "write": 2}


def test_nothing_adds_up_to_nothing() -> None:
    assert tally([]).changes == 0


def test_only_new_frames_of_the_wanted_owner_count(tmp_path: Path) -> None:
    """A generator that goes on and a comprehension are no calls; a thread belongs to the one that started it."""
    (tmp_path / "ambry").mkdir()
    source = "def count():\n    yield 1\n    yield 2\n\ndef run():\n    return [x for x in count()]\n"
    names: dict[str, object] = {}
    exec(compile(source, str(tmp_path / "ambry" / "counted.py"), "exec"), names)
    run = names["run"]
    assert callable(run)
    recorder = Recorder(tmp_path)

    def outer() -> None:
        inner = threading.Thread(target=run)
        inner.start()
        inner.join()

    with recorder.installed():
        recorder.begin(["wanted"])
        for name in ("wanted", "other"):
            thread = threading.Thread(target=outer, name=name)
            thread.start()
            thread.join()
        assert recorder.end() == [[call("ambry/counted.py", "run"), call("ambry/counted.py", "count")]]


def test_the_tool_follows_a_put_from_http_to_the_store() -> None:
    """In a process of its own, as it sets up two servers."""
    root = Path(trace.__file__).parents[2]
    command = [sys.executable, "-m", "tests.support.trace", "put", "--calls"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=True)
    assert "frontend/http/" in done.stdout, done.stdout
    assert "BlobStore.publish" in done.stdout, done.stdout
