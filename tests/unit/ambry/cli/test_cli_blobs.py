"""The blob commands, in process and as real processes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ambry.cli.main import cli
from ambry.rest.access import KeyText, key_text
from tests.support.content import content
from tests.support.stub_frontend import StubFrontend

DATA = content(1, 500_000)


def run(*args: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, args, input=stdin, prog_name="ambry")


def process(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "ambry.cli.main", *args], input=stdin, capture_output=True, timeout=60)


def test_put_head_get_rm(stub: StubFrontend, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(DATA)
    done = run("put", "model.bin", "--ttl", "7d", "--meta", "run=42", "--meta", "note=a=b", "--content-type", "model/x")
    assert done.exit_code == 0, done.output
    blob = done.stdout.strip()
    assert stub.blobs[blob] == DATA
    shown = json.loads(run("head", blob, "--output", "json").stdout)
    assert shown["metadata"] == {"run": "42", "note": "a=b"}
    assert (shown["size"], shown["filename"], shown["content_type"]) == (len(DATA), "model.bin", "model/x")
    assert "meta run" in run("head", blob).stdout
    assert stub.seen("POST")[0].headers["x-ambry-ttl"] == str(7 * 86400)
    (tmp_path / "model.bin").unlink()
    got = run("get", blob)
    assert got.exit_code == 0 and "model.bin" in got.stderr
    assert (tmp_path / "model.bin").read_bytes() == DATA
    assert run("get", blob).exit_code == 1
    assert run("get", blob, "--overwrite").exit_code == 0
    assert run("rm", blob).exit_code == 0
    assert run("head", blob).exit_code == 4
    assert run("undelete", blob).exit_code == 0
    assert run("ttl", blob, "forever").exit_code == 0
    assert "never" in run("head", blob).stdout


def test_put_prints_one_json_object_per_line_and_goes_on_after_a_failure(stub: StubFrontend, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "c").write_bytes(b"c")
    done = run("put", "a", "missing", "c", "--output", "json")
    assert done.exit_code == 1
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == ["a", "c"]
    assert json.loads(done.stderr)["subject"] == "missing"
    plain = run("put", "a", "missing", "c")
    assert plain.stderr == "ambry: missing: No such file or directory\n", "the name once stood there twice"
    table = run("put", "a", "c", "--output", "table").stdout
    assert all(blob in table for blob in list(stub.blobs)[4:])


@pytest.mark.parametrize(
    ("text", "part"),
    [("0-9", slice(10)), ("10-", slice(10, None)), ("-5", slice(-5, None)), ("499998-600000", slice(499_998, None))],
)
def test_ranges_include_both_ends_as_in_http(stub: StubFrontend, tmp_path: Path, text: str, part: slice) -> None:
    blob = stub.add(DATA)
    assert run("cat", blob, f"--range={text}").stdout_bytes == DATA[part]
    assert run("get", blob, f"--range={text}", "-o", "part").exit_code == 0
    assert (tmp_path / "part").read_bytes() == DATA[part]
    assert [each.name for each in tmp_path.iterdir()] == ["part"]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["nonsense"], 2),
        (["put"], 2),
        (["get", "not-an-id"], 2),
        (["cat", "BLOB", "--range", "9-1"], 2),
        (["cat", "BLOB", "--range", "x"], 2),
        (["ttl", "BLOB", "7x"], 2),
        (["put", "--ttl", "0", "x"], 2),
        (["put", "--meta", "novalue", "x"], 2),
        (["put", "missing-file"], 1),
        (["head", "ABSENT"], 3),
        (["rm", "ABSENT"], 3),
        (["rm", "-f", "ABSENT"], 0),
        (["get", "GONE"], 4),
        (["undelete", "BLOB"], 1),
        (["head", "BLOB", "--endpoint", "http://127.0.0.1:1"], 5),
        (["head", "BLOB", "--endpoint", "ftp://x"], 2),
    ],
)
def test_exit_codes(stub: StubFrontend, args: list[str], code: int) -> None:
    ids = {"BLOB": stub.add(b"x"), "ABSENT": stub.add(b"x"), "GONE": stub.add(b"x")}
    del stub.blobs[ids["ABSENT"]]
    stub.deleted.add(ids["GONE"])
    done = run(*(ids.get(arg, arg) for arg in args))
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    if code > 2:
        assert done.stderr.startswith("ambry: ") and done.stderr.count("\n") == 1


def test_a_checksum_mismatch_has_its_own_exit_code(stub: StubFrontend, tmp_path: Path) -> None:
    blob = stub.add(DATA)
    stub.fail("GET", "corrupt")
    done = run("get", blob, "-o", "out")
    assert done.exit_code == 6
    assert list(tmp_path.iterdir()) == []


def test_rm_checks_all_ids_before_it_deletes_the_first(stub: StubFrontend) -> None:
    blob = stub.add(b"x")
    assert run("rm", blob, blob[:-1]).exit_code == 2
    assert stub.deleted == set()


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("model.bin", "model.bin"),
        ("../../etc/passwd", "passwd"),
        ("a/b\\c.bin", "c.bin"),
        (".bashrc", None),
        ("..", None),
        ("-rf", None),
        ("x" * 300, None),
        ("", None),
        ("nice\u202egnp.exe", "nicegnp.exe"),
    ],
)
def test_a_stored_filename_cannot_leave_the_directory(
    stub: StubFrontend, tmp_path: Path, stored: str, expected: str | None
) -> None:
    blob = stub.add(b"x", x_ambry_filename=stored)
    assert run("get", blob).exit_code == 0
    assert [each.name for each in tmp_path.iterdir()] == [expected or blob]


def test_parts_that_are_too_small_are_refused(stub: StubFrontend, tmp_path: Path) -> None:
    """They became parts of 1 MiB, and nobody heard of it."""
    (tmp_path / "a").write_bytes(DATA)
    refused = run("put", "a", "--part-size", "512K")
    assert refused.exit_code == 2 and "'512K' is too small; parts have 1M and more" in refused.stderr


@pytest.mark.parametrize("directory", [".", "/"])
def test_a_directory_is_no_file_to_download_to(stub: StubFrontend, directory: str) -> None:
    """Was a traceback where the directory has no name."""
    refused = run("get", stub.add(b"x"), "-o", directory)
    assert refused.exit_code == 2
    assert f"{directory} is a folder; --output-dir {directory} writes into it" in refused.stderr


def test_pipes_from_end_to_end(stub: StubFrontend) -> None:
    done = process("put", "-", stdin=DATA)
    assert (done.returncode, done.stderr) == (0, b"")
    blob = done.stdout.decode().strip()
    assert process("cat", blob).stdout == DATA
    assert process("get", blob, "-o", "-").stdout == DATA
    absent = process("cat", "A" * 48)
    assert absent.returncode == 2 and absent.stderr.count(b"\n") == 1


def test_a_reader_that_stops_early_is_no_error_message(stub: StubFrontend) -> None:
    blob = stub.add(content(2, 5_000_000))
    command = subprocess.Popen(
        [sys.executable, "-m", "ambry.cli.main", "cat", blob], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout is not None and command.stderr is not None
    command.stdout.read(10)
    command.stdout.close()
    assert command.stderr.read() == b""
    command.stderr.close()
    assert command.wait(60) == 1


def test_an_interrupted_download_exits_130_and_leaves_no_file(stub: StubFrontend, tmp_path: Path) -> None:
    blob = stub.add(DATA)
    stub.fail("GET", "hold")
    command = subprocess.Popen(
        [sys.executable, "-m", "ambry.cli.main", "get", blob, "-o", "out"], stderr=subprocess.PIPE
    )
    assert stub.arrived.wait(60)
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 130
    assert b"Traceback" not in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_shown_on_a_terminal_only(stub: StubFrontend, quiet: bool) -> None:
    blob = stub.add(DATA)
    master, slave = pty.openpty()
    args = ["get", blob, "-o", "out", *(["--quiet"] if quiet else [])]
    command = subprocess.Popen(
        [sys.executable, "-m", "ambry.cli.main", *args],
        stderr=slave,
        stdout=subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1", "TERM": "xterm"},
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # EIO: the other end is closed.
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    out, _ = command.communicate(timeout=60)
    assert (command.returncode, out) == (0, b"")
    assert (b"MB" in shown or b"kB" in shown) is not quiet
    assert b"\x1b[3" not in shown, "NO_COLOR"


def test_a_table_is_cut_nowhere_on_a_terminal_of_80_columns(
    stub: StubFrontend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size was cut to `90868…`, and the name, and the expiry."""
    monkeypatch.setenv("COLUMNS", "80")
    name = "a model with a rather long name.safetensors"
    (tmp_path / name).write_bytes(DATA)
    (tmp_path / "größe").write_bytes(b"x")
    table = run("put", name, "größe", "--ttl", "7d", "--output", "table").stdout
    assert "…" not in table and table.splitlines()[0].split() == ["ID", "SIZE", "EXPIRES", "FILE"]
    blob, size, expires, file = table.splitlines()[1].split(maxsplit=3)
    assert (blob, size, file.strip()) == (next(iter(stub.blobs)), str(len(DATA)), name)
    assert len(expires) == len("2026-12-03T15:00:00+00:00")


def test_a_download_that_breaks_off_says_what_is_kept_and_how_to_go_on(stub: StubFrontend, tmp_path: Path) -> None:
    body = DATA * 6
    blob = stub.add(body)
    stub.fail("GET", "cut", after=2_500_000)
    for _ in range(20):
        stub.fail("GET", "reset-before")
    done = run("get", blob, "-o", "out")
    assert done.exit_code == 5
    assert f"are kept in out.{blob}.part; the same command goes on from there" in done.stderr
    stub.faults.clear()
    assert run("get", blob, "-o", "out").exit_code == 0
    assert (tmp_path / "out").read_bytes() == body


def test_a_disk_that_is_full_names_the_file_and_how_much_came(stub: StubFrontend, tmp_path: Path) -> None:
    """It was `File too large` alone; and `.part: No such file or directory` where the directory was not there."""
    blob = stub.add(DATA)
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)); "
    limited += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limited += f"from ambry.cli.main import cli; cli.main(['get', '{blob}', '-o', 'out'], prog_name='ambry')"
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"ambry: out.{blob}.part: File too large after 300000 bytes\n" in done.stderr
    assert list(tmp_path.iterdir()) == []  # not one whole piece, to go on from
    assert run("get", blob, "-o", "out").exit_code == 0
    assert (tmp_path / "out").read_bytes() == DATA
    nowhere = run("get", blob, "-o", "not/here/out")
    assert (nowhere.exit_code, nowhere.stderr) == (1, "ambry: not/here: No such directory\n")


@pytest.mark.parametrize("name", ["-dash", ".bashrc", "x" * 200])
def test_a_file_of_another_name_than_the_blob_has_is_told(stub: StubFrontend, tmp_path: Path, name: str) -> None:
    """It appeared under its id, and nobody said why."""
    blob = stub.add(DATA, x_ambry_filename=name)
    done = run("get", blob)
    assert done.exit_code == 0
    assert f"ambry: {name!r} is no name to write to without asking; -o gives another" in done.stderr
    assert not (tmp_path / name).exists() and len(list(tmp_path.iterdir())) == 1
    assert run("get", blob, "-o", "other", "-q").stderr == ""


def test_a_file_name_that_cannot_be_is_refused_with_the_option_that_helps(stub: StubFrontend) -> None:
    done = run("put", "-", "--filename", "a/b", stdin=b"x")
    assert done.exit_code == 2 and "--filename" in done.stderr
    bytes_only = run("put", "-", "--filename", os.fsdecode(b"\xff"), stdin=b"x")
    assert bytes_only.exit_code == 2 and "not UTF-8" in bytes_only.stderr and "-enc-" not in bytes_only.stderr


def test_a_metadata_key_given_twice_is_refused_as_the_server_does(stub: StubFrontend) -> None:
    """The last one once won, silently."""
    done = run("put", "-", "--meta", "a=1", "--meta", "a=2", stdin=b"x")
    assert done.exit_code == 2 and "'a' is given twice" in done.stderr
    assert not stub.blobs


def test_a_closed_standard_input_is_a_sentence(stub: StubFrontend) -> None:
    command = f"exec {sys.executable} -m ambry.cli.main put - <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "the standard input is closed" in done.stderr and "Traceback" not in done.stderr


KEY = key_text(KeyText("a" * 16, "s3cret" + "-" * 37))


def test_a_key_is_read_from_a_file_standard_input_or_the_environment(
    stub: StubFrontend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = stub.add(b"x")
    path = tmp_path / "my.key"
    path.touch(0o600)
    path.write_text(f"{KEY}\n")
    assert run("head", blob, "--key-file", str(path)).exit_code == 0
    assert run("head", blob, "--key-file", "-", stdin=f"{KEY}\n".encode()).exit_code == 0
    monkeypatch.setenv("AMBRY_KEY_FILE", str(path))
    assert run("head", blob).exit_code == 0
    assert [each.headers.get("authorization") for each in stub.requests] == [f"Bearer {KEY}"] * 3
    path.chmod(0o644)
    told = run("head", blob)
    assert told.exit_code == 2 and f"chmod 600 {path}" in told.stderr and "s3cret" not in told.output + told.stderr
    assert run("head", blob, "--key", KEY).exit_code == 2, (
        "a key is no argument, which everybody on the machine may read"
    )


def test_a_profile_is_chosen_by_its_name(stub: StubFrontend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AMBRY_ENDPOINTS")
    monkeypatch.setenv("AMBRY_CONFIG", str(tmp_path / "c.toml"))
    text = f'[profiles.mine]\nendpoints = "{stub.url}"\nkey = "{KEY}"\n[profiles.local]\nendpoints = "http://127.0.0.1:1"\n'
    tmp_path.joinpath("c.toml").write_text(text)
    tmp_path.joinpath("c.toml").chmod(0o600)
    assert run("head", stub.add(b"x"), "--profile", "mine").exit_code == 0
    assert stub.requests[0].headers["authorization"] == f"Bearer {KEY}"
    told = run("head", stub.add(b"x"), "--profile", "min")
    assert told.exit_code == 2 and "it has local, mine" in told.stderr
