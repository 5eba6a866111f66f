"""Files with keys and options that are none: devices, pipes, and paths that the system cannot be asked for."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ambry import InvalidRequest, KeyFile
from ambry.client import small_file
from ambry.client.credentials import read_key
from ambry.client.small_file import local_path, read_small
from ambry.client.sources import read_toml
from ambry.errors import ConfigInvalid
from tests.support.stub_frontend import StubFrontend
from tests.support.twins import Twins

KEY = "ambry_" + "a" * 16 + "_" + "b" * 43


def test_a_device_that_never_ends_is_no_file() -> None:
    # It was read until there was no memory.
    with pytest.raises(ConfigInvalid, match="more than"):
        read_toml(Path("/dev/zero"))
    with pytest.raises(ConfigInvalid, match="more than"):
        read_key("/dev/zero")


def test_a_pipe_that_nobody_writes_into_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_file, "WAIT_S", 0.01)
    os.mkfifo(tmp_path / "pipe")
    for read in (read_toml, read_key, KeyFile):
        with pytest.raises(ConfigInvalid, match="nothing came out"):
            read(tmp_path / "pipe")


def test_a_key_comes_out_of_a_pipe_that_somebody_writes_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_file, "WAIT_S", 60.0)
    os.mkfifo(tmp_path / "pipe", 0o600)
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(f"{KEY}\n",))
    writer.start()
    assert read_key(tmp_path / "pipe") == KEY
    writer.join()


def test_files_are_read_whole_up_to_a_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    assert read_small(tmp_path / "file", 10) == b"x" * 10
    with pytest.raises(ConfigInvalid, match="more than 9 bytes"):
        read_small(tmp_path / "file", 9)
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "none", 10)
    assert read_toml(tmp_path / "none") == {}


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b"])
def test_a_path_that_is_none_is_refused_in_words_of_ours(stub: StubFrontend, twins: Twins, path: str) -> None:
    with pytest.raises(InvalidRequest, match="is no path"):
        local_path(path)
    client = twins.connect(stub.url)
    blob = stub.add(b"abc")
    with pytest.raises(InvalidRequest, match="is no path"):
        client.get_file(blob, path)
    with pytest.raises(InvalidRequest, match="is no path"):
        client.put_file(path)
