"""`ambry meta`: files, exit codes, and what is said."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from frontend.commands import meta
from frontend.metadata.dump import DumpEnd, DumpHeader, read_dump
from frontend.metadata.store import Put, Space
from tests.support.metadata_stores import opened, sqlite_store


@pytest.fixture
def config(tmp_path: Path) -> Path:
    layout = {
        "cluster": "test",
        "version": 1,
        "datacenters": [{"name": "dc1", "id": 1, "nodes": [{"name": "n1", "host": "127.0.0.1", "port": 1}]}],
        "partitions": [{"id": 0, "replicas": ["n1"]}],
    }
    (tmp_path / "layout.json").write_text(json.dumps(layout))
    path = tmp_path / "frontend.toml"
    path.write_text(f'[frontend]\nname = "f"\ndatacenter = "dc1"\nlayout = "{tmp_path}/layout.json"\n')
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "metadata-dc1.sqlite"

    async def fill() -> None:
        async with opened(sqlite_store(path)) as store:
            await store.write([Put(Space.NAME, 1, b"a", b"v"), Put(Space.NAME, 1, b"b", b"v")])

    asyncio.run(fill())
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(meta, [str(argument) for argument in arguments])


def test_a_store_is_dumped_loaded_elsewhere_and_checked(config: Path, file: Path, tmp_path: Path) -> None:
    dump, other = tmp_path / "dump", f"metadata.path={tmp_path}/other"
    done = run("dump", "--config", config, dump)
    assert (done.exit_code, done.output) == (0, "2 versions and 0 local rows written\n")
    assert [path.name for path in tmp_path.glob("dump*")] == ["dump"]
    done = run("load", "--config", config, "--set", other, dump)
    assert (done.exit_code, done.output) == (0, "2 versions and 0 local rows loaded\n")
    done = run("check", "--config", config, "--set", other)
    assert (done.exit_code, done.output) == (0, f"{tmp_path}/other: 2 versions, every one right\n")


def test_a_dump_to_standard_output_is_nothing_but_the_dump(config: Path, tmp_path: Path) -> None:
    """The store is made by the very command, which says so in its log."""
    command = [sys.executable, "-c", "from frontend.commands import meta; meta()", "dump", "--config", str(config), "-"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert done.stdout.startswith(b"AMBRMETA")
    assert [type(block) for block in read_dump(io.BytesIO(done.stdout).read)] == [DumpHeader, DumpEnd]


def test_a_store_that_holds_something_is_joined_only_when_asked(config: Path, file: Path, tmp_path: Path) -> None:
    run("dump", "--config", config, tmp_path / "dump")
    done = run("load", "--config", config, tmp_path / "dump")
    assert done.exit_code == 1
    assert "--join joins the dump to it" in done.output
    done = run("load", "--join", "--config", config, tmp_path / "dump")
    assert (done.exit_code, done.output) == (0, "0 versions and 0 local rows loaded\n")


def test_a_dump_that_is_not_whole_loads_nothing(config: Path, file: Path, tmp_path: Path) -> None:
    run("dump", "--config", config, tmp_path / "dump")
    raw = (tmp_path / "dump").read_bytes()
    (tmp_path / "dump").write_bytes(raw[:-1])
    other = f"metadata.path={tmp_path}/other"
    done = run("load", "--config", config, "--set", other, tmp_path / "dump")
    assert done.exit_code == 1
    assert "it is not whole" in done.output
    assert run("check", "--config", config, "--set", other).output == f"{tmp_path}/other: 0 versions, every one right\n"


def test_what_is_wrong_is_named_and_the_exit_code_says_so(config: Path, file: Path) -> None:
    with closing(sqlite3.connect(file)) as sql, sql:
        sql.execute("UPDATE register SET value = x'00' WHERE key = x'61'")
    done = run("check", "--config", config)
    assert done.exit_code == 1
    assert "version 1 of b'a' in the metadata is damaged" in done.output


def test_a_file_that_is_no_store_is_told(config: Path, file: Path) -> None:
    file.write_bytes(b"no database " * 1000)
    done = run("check", "--config", config)
    assert done.exit_code == 1
    assert "is damaged: file is not a database" in done.output


def test_a_configuration_that_cannot_work_is_a_mistake_of_usage(config: Path) -> None:
    done = run("check", "--config", config, "--set", "metadata.engine=postgresql")
    assert done.exit_code == 2
    assert "metadata.url names the database" in done.output
