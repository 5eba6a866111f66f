"""`ambry meta`: files, exit codes, and what is said."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ambry.service.admin import start_admin
from frontend.commands import meta
from frontend.metadata.dump import DumpEnd, DumpHeader, read_dump
from frontend.metadata.spaces import Space
from frontend.metadata.store import Put
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


LEAD = "write - and lead that there"


def said_last(done: Result) -> str:
    """What click refused."""
    return done.output.splitlines()[-1].removeprefix("Error: Invalid value for 'FILE': ")


def test_a_dump_takes_the_place_of_no_device_and_of_no_link(config: Path, file: Path, tmp_path: Path) -> None:
    """/dev/null became the dump, for all of the machine."""
    pipe, link, device = tmp_path / "pipe", tmp_path / "link", tmp_path / "device"
    os.mkfifo(pipe)
    device.symlink_to("/dev/null")
    for place in (pipe, device):
        done = run("dump", "--config", config, place)
        assert (done.exit_code, said_last(done)) == (
            2,
            f"{place} is a device or a pipe, which no file may replace; {LEAD}",
        )
    assert pipe.is_fifo() and device.is_symlink()
    with (tmp_path / "log").open("ab") as log:
        place = Path(f"/proc/self/fd/{log.fileno()}")  # as /dev/stdout
        done = run("dump", "--config", config, place)
        assert (done.exit_code, said_last(done)) == (
            2,
            f"{place} is a device or a pipe, which no file may replace; {LEAD}",
        )
    done = run("dump", "--config", config, tmp_path)
    assert (done.exit_code, said_last(done)) == (2, f"{tmp_path}: it is a directory; name the file to write")
    done = run("dump", "--config", config, tmp_path / "gone" / "dump")
    assert (done.exit_code, done.output) == (1, f"ambry meta: {tmp_path}/gone/dump.part: No such file or directory\n")
    link.symlink_to("dump")
    assert run("dump", "--config", config, link).exit_code == 0
    assert link.is_symlink() and (tmp_path / "dump").read_bytes().startswith(b"AMBRMETA")


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


LINE = {"here": "dc1", "datacenter": "dc2", "behind_versions": 3, "behind_s": 1.5, "heard_s": 0.1, "error": ""}


async def ask_lag(*pages: list[dict[str, object]], more: tuple[str, ...] = ()) -> Result:
    """What `ambry meta lag` says of frontends whose admin ports say this."""
    admins = [await start_admin("127.0.0.1", 0, ready=list, pages={"/metadata": page.copy}) for page in pages]
    try:
        options = [option for admin in admins for option in ("--admin", f"http://127.0.0.1:{admin.port}")]
        return await asyncio.to_thread(run, "lag", *options, *more)
    finally:
        for admin in admins:
            await admin.close()


async def test_the_lag_of_each_pair_is_told_by_whoever_follows() -> None:
    idle = {**LINE, "follows": False, "behind_versions": None, "behind_s": None, "heard_s": None}
    result = await ask_lag([idle], [{**LINE, "follows": True}], [idle])
    assert result.exit_code == 0
    assert result.output == "dc1 is behind dc2 by 3 versions, 1.5 s\n"
    result = await ask_lag([{**LINE, "follows": True}], more=("--output", "json"))
    (pair,) = json.loads(result.output)["pairs"]
    assert (pair["here"], pair["behind_versions"], pair["behind_s"]) == ("dc1", 3, 1.5)


async def test_a_pair_that_nobody_follows_or_that_cannot_go_on_is_a_failure() -> None:
    result = await ask_lag([{**LINE, "follows": False, "behind_versions": None, "behind_s": None}])
    assert result.exit_code == 1
    assert "nobody in dc1 follows dc2" in result.output
    result = await ask_lag([{**LINE, "follows": True, "error": "no frontend of datacenter dc2 is connected"}])
    assert result.exit_code == 1
    assert "no frontend of datacenter dc2 is connected" in result.output
    result = await ask_lag([], more=("--admin", "http://127.0.0.1:1"))
    assert result.exit_code == 1
    assert "nobody listens there" in result.output


def test_the_lag_of_a_local_cluster_is_asked_of_its_frontends(tmp_path: Path) -> None:
    assert "holds no local cluster" in run("lag", "--dir", tmp_path).output
    described = {"datacenters": [{"frontends": [{"admin_url": "http://127.0.0.1:1"}]}]}
    (tmp_path / "cluster.json").write_text(json.dumps(described))
    assert "127.0.0.1:1" in run("lag", "--dir", tmp_path).output
    assert run("lag").exit_code == 2
