"""Processes of launchers: read to their end, and gone with all that they started."""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ambry import errors
from ambry.ml.training.launchers.launch import LastWords, LauncherEnded, last_words, output_of, refusal_in
from ambry.ml.training.launchers.printed import LINE_CHARACTERS_MAX
from ambry.ml.training.unpacking import REFUSED
from tests.support.waiting import eventually


def run(code: str) -> list[str]:
    return list(output_of([sys.executable, "-c", code], os.environ))


def test_lines_come_as_they_are_printed_on_both_streams() -> None:
    assert run("import sys; print('one', flush=True); print('two', file=sys.stderr)") == ["one", "two"]


def test_how_it_ended_is_told_with_its_last_lines() -> None:
    with pytest.raises(LauncherEnded, match="ended with exit code 3") as found:
        run("print('last words'); raise SystemExit(3)")
    assert (found.value.code, found.value.lines) == (3, ("last words",))
    with pytest.raises(LauncherEnded, match="was ended by SIGKILL"):
        run("import os; os.kill(os.getpid(), 9)")


def test_whoever_stops_to_read_ends_all_that_was_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "deaf = 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)'\n"
        "child = subprocess.Popen([sys.executable, '-c', deaf])\n"
        "print(child.pid, flush=True)\n"
        "signal = __import__('signal'); signal.signal(15, lambda *_: sys.exit(0))\n"
        "time.sleep(600)\n"
    )
    lines = output_of([sys.executable, "-c", code], os.environ)
    child = int(next(lines))
    lines.close()  # type: ignore[attr-defined]

    def gone() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    eventually(gone, "the child of the launcher is gone")


def test_who_forked_and_keeps_the_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\n"
        "print('trained', end='')\n"
    )
    lines: list[str] = []

    def read() -> None:
        lines.extend(run(code))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        reader.join(30)
        assert not reader.is_alive(), "the launcher has ended, and its output is still waited for"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid.read_text()), signal.SIGKILL)
    assert lines == ["trained"]


def test_a_line_without_end_comes_in_pieces() -> None:
    size = 40 * LINE_CHARACTERS_MAX + 17
    pieces = run(f"import sys; sys.stdout.write('\u00e9' * {size} + '\\nend')")
    assert max(map(len, pieces)) == LINE_CHARACTERS_MAX
    assert "".join(pieces[:-1]) == "\u00e9" * size and pieces[-1] == "end"


def test_carriage_returns_end_lines_and_what_is_no_text_is_replaced() -> None:
    code = r"import sys; sys.stdout.buffer.write(b'1%\r2%\r\n\n\xff\n')"
    assert run(code) == ["1%", "2%", "", "\ufffd"]


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    with pytest.raises(LauncherEnded, match=f"was ended by signal {signal.SIGRTMIN + 3}"):
        run(f"import os; os.kill(os.getpid(), {signal.SIGRTMIN + 3})")


def of_worker(rank: int, *lines: str) -> list[str]:
    return [f"worker {rank}: [rank{rank}]: {line}" for line in lines]


FRAMES = ("Traceback (most recent call last):", '  File "train.py", line 3, in <module>', "    step()", "    ~~~~^^")


def test_tasks_that_are_called_otherwise_tell_why_they_ended_too() -> None:
    """TonY has chiefs, evaluators and whatever a job calls them. `chief 0` is not `worker 0`."""
    chief = [f"chief 0: [rank0]: {line}" for line in (*FRAMES, "ValueError: bad shape")]
    assert last_words(chief) == ": ValueError: bad shape"
    mixed = [line for pair in zip(chief, of_worker(0, *FRAMES, "KeyError: 'x'"), strict=True) for line in pair]
    assert last_words(mixed, "0") == ": KeyError: 'x'" and last_words(chief, "0") == ""
    for task in ("worker 3", "chief 0", "evaluator 0", "ps 1", "my_kind 12"):
        assert "full" in refusal_in(f"{task}: {REFUSED}QuotaExceeded: full"), task
    assert refusal_in(f"HTTPError 404: {REFUSED}x") == "", "what a worker prints is no name of a task"


def test_a_reason_is_kept_however_much_others_print_and_ends_somewhere() -> None:
    """Bars of other workers pushed it out of the lines that are kept."""
    heard = LastWords()
    for line in (
        *of_worker(0, *FRAMES, "ValueError: bad shape"),
        *of_worker(1, *(f"{each}%" for each in range(5_000))),
    ):
        heard.hear(line)
    assert str(heard) == ": ValueError: bad shape"
    for _ in range(5_000):
        heard.hear("worker 2: RuntimeError: one:")
        heard.hear("worker 2: two:")
    assert len(str(heard)) < 3_000


def test_what_a_traceback_raised_is_found_whatever_its_class_is_called() -> None:
    """A list of endings had 50 classes of ambry not, such as InvalidRequest, nor ArrowInvalid, nor an assert without words."""
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, errors.AmbryError)]
    said = [f"{each.__module__}.{each.__name__}: no place" for each in classes]
    for raised in (*said, "pyarrow.lib.ArrowInvalid: no int", "AssertionError", "queue.Empty", "KeyError: 'age'"):
        lines = of_worker(1, "step 5", *FRAMES, raised, "loss: 0.5")
        assert last_words(lines, "1") == last_words(lines) == f": {raised}"
        assert last_words([*FRAMES, raised, "", "Epoch: 3"]) == f": {raised}", "where lines do not tell whose they are"


def test_of_several_tracebacks_the_last_one_counts_and_each_worker_has_its_own() -> None:
    chained = [
        *FRAMES,
        "KeyError: 'age'",
        "",
        "During handling of the above exception:",
        "",
        *FRAMES,
        "a.Unavailable: n1",
    ]
    assert last_words(chained) == ": a.Unavailable: n1"
    mixed = [
        line
        for pair in zip(of_worker(0, *FRAMES, "b.Overloaded: n2"), of_worker(1, *FRAMES, "AssertionError"), strict=True)
        for line in pair
    ]
    assert (last_words(mixed, "0"), last_words(mixed, "1")) == (": b.Overloaded: n2", ": AssertionError")


def test_what_is_no_traceback_is_no_reason() -> None:
    """But an error in a line of its own, whose traceback is not among the lines that were kept."""
    assert last_words(["INFO: begins", "Epoch: 3", "ambry.ml.training: step 3"]) == ""
    assert last_words([*FRAMES, "loss: 0.5"]) == "", "what was printed in between is not what was raised"
    assert last_words(["    deep()", "ValueError: no place"]) == ": ValueError: no place"
    report = [
        *FRAMES,
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
        "====",
        "Failures",
        "AssertionError",
    ]
    assert last_words([*of_worker(1, *FRAMES, "AssertionError"), *report], "1") == ": AssertionError", "torchrun's own"
    assert last_words(report) == ""
    assert (
        last_words([*FRAMES, "KeyError: 1", "ambry train: the node has no room"])
        == ": ambry train: the node has no room"
    )


def raised_by(code: str) -> list[str]:
    """What Python prints of it."""
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return made.stderr.splitlines()


MISSING_KEY = [
    *FRAMES,
    "RuntimeError: Error(s) in loading state_dict for Linear:",
    '\tMissing key(s) in state_dict: "bias". ',
    '\tUnexpected key(s) in state_dict: "b". ',
]


def test_what_is_raised_with_a_colon_at_the_end_of_its_line_is_told_with_the_next() -> None:
    """Nothing was told of it, or what an attempt before had raised."""
    told = ': RuntimeError: Error(s) in loading state_dict for Linear: Missing key(s) in state_dict: "bias".'
    before = [*FRAMES, "ConnectionError: a host was away for a moment"]
    assert last_words(MISSING_KEY) == told
    assert last_words([*before, *MISSING_KEY]) == told
    assert last_words([*of_worker(0, *before), *of_worker(0, *MISSING_KEY), *of_worker(1, *FRAMES)], "0") == told
    empty_first = raised_by("raise ImportError('\\n\\nIMPORTANT: PLEASE READ\\nmore')")
    assert last_words(empty_first) == ": ImportError: IMPORTANT: PLEASE READ"
    again = [*FRAMES, "RuntimeError: first:", "", "During handling", "", *FRAMES, "KeyError: 'second'"]
    assert last_words(again) == ": KeyError: 'second'"
    assert last_words([*FRAMES, "KeyError: 'first'", *FRAMES]) == "", "the last one is not told by the one before it"


def test_a_class_within_a_function_and_a_group_say_what_was_raised() -> None:
    within = "def main():\n class Oops(Exception): pass\n raise Oops('x')\nmain()"
    assert last_words(raised_by(within)) == ": main.<locals>.Oops: x"
    inner = "\ndef f(n):\n try: raise ValueError(n)\n except ValueError as e: return e\n"
    group = f"{inner}\nraise ExceptionGroup('all', [ExceptionGroup('some', [f('a'), f('b')]), KeyError('c')])"
    told = ": ExceptionGroup: all (2 sub-exceptions): ExceptionGroup: some (2 sub-exceptions): ValueError: a"
    lines = raised_by(group)
    assert last_words(lines) == last_words(of_worker(1, *lines), "1") == told
    assert last_words([*FRAMES, "KeyError: 1", *lines]) == told
    of_tasks = (
        "import asyncio\nasync def bad(): raise OSError(28, 'full')\nasync def main():\n"
        " async with asyncio.TaskGroup() as g: g.create_task(bad())\nasyncio.run(main())"
    )
    assert last_words(raised_by(of_tasks)) == (
        ": ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception): OSError: [Errno 28] full"
    )


FOLLOWER = """
import os, signal, sys
from ambry.ml.training.launchers.launch import output_of
deaf = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(600)"
for line in output_of([sys.executable, "-c", deaf], os.environ, death=signal.SIGKILL):
    print(line, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_launcher_that_hears_no_request_ends_with_who_followed_it() -> None:
    """torchrun, whose output nobody read any more, waited for its own threads for ever."""
    done = subprocess.run([sys.executable, "-c", FOLLOWER], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    eventually(lambda: not Path(f"/proc/{int(done.stdout)}/cwd").exists(), "it has ended")
