"""A log of bounded size, shown by a process of its own: it points standard error elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ambry.service.log_file import LogFile

SCRIPT = """
import sys
from pathlib import Path
from ambry.service import logs
from ambry.service.log_file import LogFile

logs.configure(format="json", file=LogFile(Path(sys.argv[1]), max_bytes=2_000, keep=3))
for number in range(int(sys.argv[2])):
    logs.get_logger().info("line", number=number)
print("from a library", flush=True)
if len(sys.argv) > 3:
    logs.tell(sys.argv[3])
"""


def run(path: Path, lines: int, *last_word: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(path), str(lines), *last_word]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def test_a_log_grows_to_its_bound_and_the_latest_lines_are_kept(tmp_path: Path) -> None:
    """The log of a process of a local cluster grew until the disk was full."""
    path = tmp_path / "log.jsonl"
    done = run(path, 200)
    assert (done.stdout, done.stderr) == ("", "")
    names = sorted(found.name for found in tmp_path.iterdir())
    assert names == ["log.jsonl", "log.jsonl.1", "log.jsonl.2", "log.jsonl.3"]
    assert all(found.stat().st_size < 2_200 for found in tmp_path.iterdir())
    kept = "".join((tmp_path / name).read_text() for name in reversed(names))
    numbers = [int(line.split('"number":')[1].split(",")[0]) for line in kept.splitlines() if "number" in line]
    assert numbers == list(range(numbers[0], 200)), "no line is lost or out of order"
    assert kept.endswith("from a library\n")


def test_a_process_that_starts_again_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    run(path, 2)
    run(path, 2)
    assert len(path.read_text().splitlines()) == 6
    assert [found.name for found in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_device_is_never_turned_over_and_of_a_link_the_file_is(tmp_path: Path) -> None:
    """/dev/null was renamed, and a file made in its place."""
    device, link = tmp_path / "device", tmp_path / "link"
    device.symlink_to("/dev/null")
    run(device, 200)
    assert [found.name for found in tmp_path.iterdir()] == ["device"] and device.is_char_device()
    (tmp_path / "there").mkdir()
    link.symlink_to("there/log")
    run(link, 200)
    assert link.is_symlink() and sorted(found.name for found in (tmp_path / "there").iterdir()) == [
        *("log", "log.1", "log.2", "log.3")
    ]


def test_the_last_word_reaches_whoever_started_the_process_once(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert run(path, 1, "the directory is in use").stderr == "the directory is in use\n"
    assert path.read_text().count("the directory is in use") == 1
    command = [sys.executable, "-c", SCRIPT, str(path), "1", "in use again"]
    with path.open("ab") as stream:  # as the launcher of a local cluster does it
        subprocess.run(command, stdout=stream, stderr=stream, timeout=60, check=True)
    assert path.read_text().count("in use again") == 1


def test_a_file_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        LogFile(tmp_path / "no" / "log.jsonl", max_bytes=1, keep=1).open()


WITHOUT_DESCRIPTORS = """
import os, resource, sys
from pathlib import Path
from ambry.service.log_file import LogFile

file = LogFile(Path(sys.argv[1]), max_bytes=100, keep=2)
file.open()

def line(number):
    os.write(1, b"%99d\\n" % number)
    try:
        file.wrote(100)
    except OSError:
        os.write(1, b"none left\\n")

line(1)
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
line(2)
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
for number in range(3, 7):
    line(number)
"""


def test_a_log_is_turned_over_again_after_there_was_no_descriptor_for_a_new_file(tmp_path: Path) -> None:
    """It was renamed before, so the next try found nothing to rename: the file grew without a bound from then on."""
    path = tmp_path / "log.jsonl"
    subprocess.run([sys.executable, "-c", WITHOUT_DESCRIPTORS, str(path)], timeout=60, check=True)
    said = {found.name: found.read_text().split() for found in tmp_path.iterdir()}
    assert said == {"log.jsonl": [], "log.jsonl.1": ["6"], "log.jsonl.2": ["5"]}
