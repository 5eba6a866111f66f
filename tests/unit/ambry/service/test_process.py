"""The frame of a server process, run as one: signals in, exit codes and one line on standard error out."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ambry.errors import ConfigInvalid, InternalError
from ambry.service.process import fail, parse_arguments

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import asyncio, sys
from ambry.errors import ConfigInvalid, StoreMismatch
from ambry.service.process import run

async def serve(stop, hurry):
    print("ready", flush=True)
    what = sys.argv[1]
    if what == "config":
        raise ConfigInvalid("node.name must be set")
    if what == "mismatch":
        raise StoreMismatch("another cluster's directory")
    if what == "taken":
        raise OSError(98, "Address already in use")
    await stop.wait()
    if what == "slow":
        print("draining", flush=True)
        await hurry.wait()
    print("drained", flush=True)

run("prog", serve, read_again=lambda: print("read again", flush=True))
"""


class Section(msgspec.Struct, frozen=True):
    size: int = 5


class Shape(msgspec.Struct, frozen=True):
    store: Section = msgspec.field(default_factory=Section)


def start(what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_0(number: signal.Signals) -> None:
    with start("wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "drained\n", "")


def test_a_hangup_ends_nothing_and_has_files_read_again() -> None:
    with start("wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline() == "read again\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "drained\n", "")


def test_a_second_signal_makes_haste() -> None:
    with start("slow") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "draining\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "drained\n", "")


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("config", 2, "node.name must be set"),
        ("mismatch", 1, "another cluster"),
        ("taken", 1, "Address already in use"),
    ],
)
def test_what_keeps_a_process_from_running_is_its_exit_code_and_last_line(what: str, code: int, words: str) -> None:
    with start(what) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == code
    last = err.splitlines()[-1]
    assert last.startswith("prog: ")
    assert words in last
    assert "Traceback" not in err


@pytest.mark.parametrize(("before", "after"), [("0o022", "0o027"), ("0o077", "0o077"), ("0", "0o27")])
def test_a_server_leaves_no_core_dump_and_nothing_that_everybody_reads(before: str, after: str) -> None:
    program = (
        f"import os, resource; from ambry.service.process import keep_to_itself; os.umask({before}); keep_to_itself();"
        f"assert os.umask(0) == {after}; print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True) == "0\n"


def test_the_command_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[store]\nsize = 7\n")
    assert parse_arguments("prog", Shape, []) == Shape()
    assert parse_arguments("prog", Shape, ["--config", str(path)]).store.size == 7
    assert parse_arguments("prog", Shape, ["--config", str(path), "--set", "store.size=9"]).store.size == 9


def test_a_mistake_on_the_command_line_is_one_line_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments("prog", Shape, ["--set", "store.sice=9"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines() == ["prog: --set: unknown key store.sice; did you mean store.size?"]


@pytest.mark.parametrize(("error", "code"), [(ConfigInvalid("x"), 2), (InternalError("x"), 1)])
def test_the_exit_code_tells_configuration_from_the_rest(
    error: ConfigInvalid | InternalError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        fail("prog", error)
    assert caught.value.code == code
    assert capsys.readouterr().err == "prog: x\n"


def test_a_server_that_may_not_have_its_descriptors_says_how_many_these_are() -> None:
    program = PROGRAM.replace("serve, read_again", "serve, descriptors=10_000_000_000, read_again")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))\n"
    done = subprocess.run(
        [sys.executable, "-c", limit + program, "wait"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("prog: 10000000000 descriptors are needed, and this process may have 200: ")
