"""The edges that a shell makes: closed descriptors, locales, names that are no text, pipes and devices to write into."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from ambry.cli.main import cli
from ambry.cli.standard_streams import OutputLost, check_read
from tests.support.content import content
from tests.support.stub_frontend import StubFrontend

DATA = content(9, 300_000)


def shell(line: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """A line of a shell, in which `ambry` is the command."""
    line = line.replace("ambry ", f"{sys.executable} -m ambry.cli.main ")
    return subprocess.run(["sh", "-c", line], capture_output=True, env={**os.environ, **env}, timeout=60)


def test_a_closed_output_is_a_sentence_where_something_was_to_be_written_and_nothing_else_gets_it(
    stub: StubFrontend, tmp_path: Path
) -> None:
    """The socket, or a file, got the number of the closed descriptor."""
    (tmp_path / "f").write_bytes(DATA)
    blob = stub.add(DATA)
    for line in (
        f"ambry cat {blob} >&-",
        f"ambry head {blob} >&-",
        "ambry put f >&-",
        "ambry --version >&-",
        "ambry --help >&-",
    ):
        done = shell(line)
        assert done.returncode == 1, line
        assert done.stderr == b"ambry: the standard output is closed, and there was something to write to it\n", line
    done = shell(f"ambry get {blob} -o g >&-")
    assert (done.returncode, (tmp_path / "g").read_bytes()) == (0, DATA)
    assert DATA in list(stub.blobs.values())[1:], "what was put is there, and is what was sent"


def test_a_closed_error_stream_is_no_error_and_changes_no_exit_code(stub: StubFrontend, tmp_path: Path) -> None:
    blob = stub.add(DATA)
    assert shell(f"ambry cat {blob} 2>&-").stdout == DATA
    assert shell(f"ambry get {blob} -o out 2>&-").returncode == 0
    assert (tmp_path / "out").read_bytes() == DATA, "progress went into no file"
    for line in ("ambry nonsense 2>&-", "ambry get x.y -o /no/where 2>&-"):
        done = shell(line)
        assert done.returncode in (1, 2, 3) and done.stdout == b"", "complaints are no output"
    assert shell(f"ambry get {blob} -o last <&- >&- 2>&-").returncode == 0
    assert (tmp_path / "last").read_bytes() == DATA


def test_an_output_that_takes_nothing_more_is_said_to_be_that_by_whatever_writes_to_it(
    stub: StubFrontend, tmp_path: Path
) -> None:
    """Some said "No space left on device" of nothing, some said it of the blob, and --version was a traceback."""
    (tmp_path / "f").write_bytes(b"x")
    blob = stub.add(DATA)
    told = b"the standard output: No space left on device; what was written before is not all\n"
    for line in (f"cat {blob}", f"cp {blob} -", f"get {blob} -o -", f"stat {blob}", "put f", "--help", "--version"):
        done = shell(f"ambry {line} > /dev/full")
        assert (done.returncode, done.stderr) == (1, b"ambry: " + told), line
    installed = f'{sys.executable} -c "from ambry.cli.entry import main; main()" --version'
    assert shell(f"{installed} > /dev/full").stderr == b"ambry: " + told
    closed = shell(f"ambry cp {blob} - >&-")
    assert b"the standard output is closed" in closed.stderr and closed.returncode == 1
    full = json.loads(shell(f"ambry stat {blob} --json > /dev/full").stderr)
    assert full["error"] == "OutputLost" and full["exit_code"] == 1


def test_whoever_has_read_enough_of_the_output_is_told_nothing(stub: StubFrontend) -> None:
    """`ambry cp ID - | head` said "Broken pipe"."""
    blob = stub.add(content(3, 4 << 20))
    for line in (f"cat {blob}", f"cp {blob} -", f"get {blob} -o -"):
        done = shell(f"ambry {line} | head -c 10")
        assert (len(done.stdout), done.stderr) == (10, b""), line


def test_complaints_that_nobody_can_be_told_change_no_exit_code(stub: StubFrontend, tmp_path: Path) -> None:
    """A file that had come whole was a failure, and what was not there was no longer 3."""
    blob = stub.add(DATA)
    assert shell(f"ambry get {blob} -o out 2> /dev/full").returncode == 0
    assert (tmp_path / "out").read_bytes() == DATA
    stub.blobs.clear()
    assert shell(f"ambry stat {blob} 2> /dev/full").returncode == 3
    assert shell("ambry nonsense 2> /dev/full").returncode == 2


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_names_that_are_no_text_and_locales_that_know_little(stub: StubFrontend, tmp_path: Path, locale: str) -> None:
    bad = tmp_path / os.fsdecode(b"bad\xff")
    bad.mkdir()
    (bad / "größe").write_bytes(DATA)
    done = shell("ambry put bad*/* --output table", LC_ALL=locale)
    assert done.returncode == 0 and "größe".encode() in done.stdout, done.stderr
    (blob,) = stub.blobs
    done = shell(f"ambry get {blob} -o bad*/down/x", LC_ALL=locale)
    assert done.returncode == 1 and b"No such directory" in done.stderr
    done = shell(f"cd bad* && ambry get {blob} --overwrite && ambry get {blob} -o out$(printf '\\377')", LC_ALL=locale)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(os.fsencode(bad))) == ["größe".encode(), b"out\xff"]  # noqa: PTH208
    (tmp_path / os.fsdecode(b"x\xfe")).write_bytes(b"x")
    refused = shell("ambry put x*", LC_ALL=locale)
    assert refused.returncode == 2 and b"not UTF-8" in refused.stderr and b"--filename" in refused.stderr
    assert b"filename=" not in refused.stderr, "that is Python's word"
    assert shell("ambry put x* --filename x", LC_ALL=locale).returncode == 0


def test_a_pipe_or_a_device_is_written_into_and_stays(stub: StubFrontend, tmp_path: Path) -> None:
    """`-o pipe --overwrite` put a file in its place; run as root it did so with /dev/null."""
    blob = stub.add(DATA)
    os.mkfifo("pipe")
    for args in (["--overwrite"], ["--range", "0-99"]):
        got: list[bytes] = []
        reader = threading.Thread(target=lambda got=got: got.append(Path("pipe").read_bytes()))
        reader.start()
        assert CliRunner().invoke(cli, ["get", blob, "-o", "pipe", *args]).exit_code == 0
        reader.join(60)
        assert got == [DATA if args == ["--overwrite"] else DATA[:100]]
    assert Path("pipe").is_fifo() and [each.name for each in tmp_path.iterdir()] == ["pipe"]
    assert CliRunner().invoke(cli, ["get", blob, "-o", "/dev/null", "--overwrite"]).exit_code == 0
    assert Path("/dev/null").is_char_device()
    assert shell(f"ambry get {blob} -o /dev/stdout | cat").stdout == DATA


@pytest.mark.parametrize(
    "line", ["get {} -o {}", "get {} -o {} --overwrite", "cp {} {}", "get {} --range 0-299999 -o {}"]
)
def test_what_is_open_already_is_written_to_as_it_is_open(stub: StubFrontend, tmp_path: Path, line: str) -> None:
    """`-o /dev/stdout --overwrite >> log` put a file in the place of /dev/stdout itself, and wrote nothing to the log."""
    blob = stub.add(DATA)
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    for target in ("/proc/self/fd/1", "stdout"):
        (tmp_path / "log").write_bytes(b"before\n")
        done = shell(f"ambry {line.format(blob, target)} >> log")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "log").read_bytes() == b"before\n" + DATA
        assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "stdout"]
        assert (tmp_path / "stdout").is_symlink()
    done = shell(f"ambry {line.format(blob, '/proc/self/fd/9')} 9> nine")
    assert done.returncode == 0 and (tmp_path / "nine").read_bytes() == DATA


def test_what_fails_while_a_device_is_written_to_names_it(stub: StubFrontend, tmp_path: Path) -> None:
    """It said "No space left on device" and not of which."""
    (tmp_path / "full").symlink_to("/dev/full")
    blob = stub.add(b"x" * 1_000)
    for line in (f"get {blob} -o full", f"cp {blob} full"):
        done = shell(f"ambry {line}")
        assert done.returncode == 1 and b"full: No space left on device" in done.stderr, line


def test_a_slow_cluster_is_told_of_and_with_v_every_try(stub: StubFrontend) -> None:
    blob = stub.add(b"x")
    stub.fail("HEAD", "status", retry_after="1")
    slow = shell(f"ambry head {blob}")
    assert slow.returncode == 0 and slow.stderr.startswith(b"ambry: retrying in 1.")
    stub.fail("HEAD", "status", retry_after="1")
    assert shell(f"ambry head {blob} -q").stderr == b""
    stub.fail("HEAD", "status")
    told = shell(f"ambry head {blob} -v").stderr.decode()
    assert f"asking {stub.url} as default/default" in told and "retrying " in told


def test_how_often_and_how_long_is_said_by_options(stub: StubFrontend) -> None:
    blob = stub.add(b"x")
    stub.fail("HEAD", "status")
    once = shell(f"ambry head {blob} --retries 0")
    assert once.returncode == 5 and len(stub.requests) == 1
    hold = stub.fail("HEAD", "hold")
    done = shell(f"ambry head {blob} --retries 0 --timeout 0.2")
    hold.release.set()
    assert done.returncode == 5 and b"did not answer in time" in done.stderr
    assert shell(f"ambry head {blob} --timeout 0").returncode == 2


def test_what_a_url_or_a_file_name_says_is_the_blob(stub: StubFrontend) -> None:
    blob = stub.add(b"x")
    for text in (f"{blob}.safetensors", f"{stub.url}/{blob}", f"/{blob}"):
        assert CliRunner().invoke(cli, ["cat", text]).stdout == "x", text


def test_a_number_of_seconds_is_a_number(stub: StubFrontend) -> None:
    """`--timeout nan` was taken."""
    for line in (["ls", "--timeout", "nan"], ["bench", "--seconds", "nan"], ["ls", "--timeout", "inf"]):
        assert CliRunner().invoke(cli, line).exit_code == 2, line
    assert stub.requests == []


@pytest.mark.parametrize("file", [".", "/", "", "folder", "folder/.", ".."])
def test_a_folder_is_not_put_as_a_file(stub: StubFrontend, tmp_path: Path, file: str) -> None:
    """`ambry put .` was a traceback."""
    (tmp_path / "folder").mkdir()
    done = shell(f"ambry put '{file}'")
    assert done.returncode == 1 and b"is a directory; put its files one by one" in done.stderr, done.stderr
    assert b"Traceback" not in done.stderr and stub.requests == []


def test_a_large_file_of_the_standard_input_leaves_nothing_beside_it(stub: StubFrontend, tmp_path: Path) -> None:
    """/dev/stdin.ambry-upload was written where the system's devices are."""
    (tmp_path / "big").write_bytes(content(5, 20 << 20))
    (tmp_path / "stdin").symlink_to("/proc/self/fd/0")
    assert shell("ambry put stdin < big").returncode == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["big", "stdin"]
    assert [each.path for each in stub.requests] == ["/"], "in one request"
    assert list(stub.blobs.values()) == [(tmp_path / "big").read_bytes()]


def test_put_says_what_a_file_is_by_the_end_of_its_name(stub: StubFrontend, tmp_path: Path) -> None:
    (tmp_path / "plot.png").write_bytes(b"x")
    for args in ([], ["--content-type", "model/x"], ["--filename", "a.json"]):
        assert CliRunner().invoke(cli, ["put", "plot.png", *args]).exit_code == 0
    kinds = [each.headers["x-ambry-content-type"] for each in stub.seen("POST")]
    assert kinds == ["image/png", "model/x", "application/json"]


def test_a_pipe_that_nobody_reads_is_noticed_without_a_write() -> None:
    read, write = os.pipe()
    check_read(write)
    os.close(read)
    with pytest.raises(OutputLost) as raised:
        check_read(write)
    assert raised.value.is_seen_enough
    os.close(write)


def test_a_file_a_device_and_a_terminal_that_is_gone_end_nobody(tmp_path: Path) -> None:
    master, terminal = os.openpty()
    os.close(master)
    with (tmp_path / "log").open("w") as file, Path(os.devnull).open("w") as device:
        for descriptor in (file.fileno(), device.fileno(), terminal):
            check_read(descriptor)
    os.close(terminal)
