"""The edges that a shell makes: closed descriptors, locales, names that are no text, pipes and devices to write into."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from ambry.cli.main import cli
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


def test_a_full_device_is_a_sentence(stub: StubFrontend) -> None:
    done = shell(f"ambry cat {stub.add(DATA)} > /dev/full")
    assert done.returncode == 1 and done.stderr == b"ambry: No space left on device\n"


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


def test_a_slow_cluster_is_told_of_and_with_v_every_try(stub: StubFrontend) -> None:
    blob = stub.add(b"x")
    stub.fail("HEAD", "status", retry_after="1")
    slow = shell(f"ambry head {blob}")
    assert slow.returncode == 0 and slow.stderr.startswith(b"ambry: retrying in 1.")
    stub.fail("HEAD", "status", retry_after="1")
    assert shell(f"ambry head {blob} -q").stderr == b""
    stub.fail("HEAD", "status")
    told = shell(f"ambry head {blob} -v").stderr.decode()
    assert f"asking {stub.url} as default/default" in told and "retrying in 0." in told


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


def test_put_says_what_a_file_is_by_the_end_of_its_name(stub: StubFrontend, tmp_path: Path) -> None:
    (tmp_path / "plot.png").write_bytes(b"x")
    for args in ([], ["--content-type", "model/x"], ["--filename", "a.json"]):
        assert CliRunner().invoke(cli, ["put", "plot.png", *args]).exit_code == 0
    kinds = [each.headers["x-ambry-content-type"] for each in stub.seen("POST")]
    assert kinds == ["image/png", "model/x", "application/json"]
