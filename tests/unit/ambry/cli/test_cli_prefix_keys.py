"""What a key for a name prefix reads: its names, by every call and command that gives bytes, and no blob by its id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import save

from ambry import AccessDenied, AmbryClient, Grant, NameRef, PreconditionFailed, TransferConfig, tensors
from ambry.cli.main import cli
from ambry.client.copying import copy_blob
from ambry.client.refs import found_as, found_entry
from ambry.clock import SystemClock
from ambry.fs import AmbryFileSystem
from ambry.rest.access import key_text
from tests.support.access import access_with, fresh_key
from tests.support.named_frontend import LosingLink, named_frontend
from tests.support.twins import Twins

MIB = 1 << 20
LARGE = bytes(range(251)) * (5 * MIB // 251)
SECTIONS = TransferConfig(threshold=MIB, part_size=MIB, chunk_size=256 << 10, max_concurrency=1)
TOP = "ambry://default/default/runs/"


class Team:
    """A frontend that asks for keys: the administrator's, and one for the names that begin with runs/."""

    def __init__(self, url: str, root: str) -> None:
        self.url = url
        self.admin = AmbryClient(url, key=root)
        roles = ("read", "write", "name", "delete")
        grant = Grant(roles=roles, account="default", container="default", prefix="runs/")
        self.key = self.admin.keys.create("trainer", grant).text

    def client(self, url: str = "") -> AmbryClient:
        return AmbryClient(url or self.url, key=self.key)

    def run(self, *arguments: str) -> Result:
        env = {"AMBRY_ENDPOINTS": self.url, "AMBRY_KEY": self.key}
        return CliRunner().invoke(cli, arguments, prog_name="ambry", env=env)

    def works(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return done.stdout


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = fresh_key()
    with named_frontend(tmp_path / "m", access=access_with(root, SystemClock())) as url:
        made = Team(url, key_text(root))
        with made.client() as client:
            client.put(b"small", name="runs/a", ttl=3600)
            client.put(LARGE, name="runs/deep/large")
        yield made
        made.admin.close()


@pytest.fixture(params=["sync", "async"])
def twins(request: pytest.FixtureRequest) -> Iterator[Twins]:
    made = Twins(request.param)
    yield made
    made.close()


def test_it_reads_no_blob_by_its_id(team: Team) -> None:
    with team.client() as client, pytest.raises(AccessDenied):
        client.get_bytes(client.head("runs/a").id)


def test_calls_of_both_clients_read_its_names(team: Team, twins: Twins, tmp_path: Path) -> None:
    client = twins.connect(team.url, key=team.key, transfer=SECTIONS)
    assert client.get_file("runs/deep/large", tmp_path / "whole").size == len(LARGE)
    assert (tmp_path / "whole").read_bytes() == LARGE
    spans = [(0, 5), (4 * MIB, 4 * MIB + 3), (0, len(LARGE))]
    assert client.get_ranges("runs/deep/large", spans) == [LARGE[start:stop] for start, stop in spans]
    assert client.cached_path("runs/a").read_bytes() == b"small"
    with client.open("runs/deep/large", block_size=64 << 10) as file:
        assert file.read(10) == LARGE[:10]
        memory = bytearray(MIB)
        assert file.readinto(memory) == MIB and memory == LARGE[10 : MIB + 10]
        assert file.read(MIB) == LARGE[MIB + 10 : 2 * MIB + 10]
    before = client.head("runs/a").expires
    assert client.update_ttl("runs/a", 7200).expires > before
    assert client.update_ttl("runs/a", None).expires is None


def test_commands_read_its_names(team: Team, tmp_path: Path) -> None:
    team.works("get", TOP + "deep/large", "-o", "got")
    assert Path("got").read_bytes() == LARGE
    team.works("get", TOP + "a", "-o", "part", "--range", "1-2")
    assert Path("part").read_bytes() == b"ma"
    Path("many").mkdir()
    team.works("get", TOP + "a", TOP + "deep/large", "--output-dir", "many")
    assert sorted(each.stat().st_size for each in Path("many").iterdir()) == [5, len(LARGE)]
    team.works("cp", TOP + "a", "copied")
    assert Path("copied").read_bytes() == b"small"
    team.works("cp", "-r", TOP, "dl/")
    team.works("sync", TOP, "synced/")
    assert Path("synced/deep/large").read_bytes() == LARGE
    assert sum(each.stat().st_size for each in Path("dl").rglob("large")) == len(LARGE)
    team.works("verify", "--read", "synced/", TOP)
    team.works("cp", TOP + "a", TOP + "b")
    assert team.works("cat", TOP + "b") == "small"
    assert "small" in team.works("open", TOP + "b")
    kept = team.works("cache", "get", TOP + "b").strip()
    assert Path(kept).read_bytes() == b"small"
    assert json.loads(team.works("ttl", TOP + "a", "2d", "--output", "json"))["id"]
    team.works("mv", TOP + "b", "moved")
    assert Path("moved").read_bytes() == b"small"
    assert team.run("stat", TOP + "b").exit_code != 0


def test_a_file_system_reads_its_names(team: Team, tmp_path: Path) -> None:
    files = AmbryFileSystem(endpoints=[team.url], key=team.key, skip_instance_cache=True)
    files.get("default/default/runs/", str(tmp_path / "fs") + "/", recursive=True)
    assert (tmp_path / "fs" / "deep" / "large").read_bytes() == LARGE
    files.cp_file("default/default/runs/deep/large", "default/default/runs/again")
    with files.open("default/default/runs/again") as file:
        assert file.read(5) == LARGE[:5] and file.read() == LARGE[5:]
    at = "default/default/runs/again"
    assert files.cat_file(at, start=-3) == LARGE[-3:] and files.cat_file(at, 2, -1) == LARGE[2:-1]
    assert files.cat_ranges([at, at], [0, -4], [3, len(LARGE)]) == [LARGE[:3], LARGE[-4:]]


def test_tensors_of_its_names_are_read(team: Team) -> None:
    """They were asked for by the id of the blob, after its header had come by the name."""
    made = {"bias": numpy.arange(3), "weight": numpy.arange(9)}
    with team.client() as client:
        client.put(save(made), name="runs/model.safetensors")
        with tensors.open("runs/model.safetensors", client=client) as model:
            assert model.get("bias").tolist() == [0, 1, 2] and model.get_slice("weight")[7:].tolist() == [7, 8]
            assert {name: len(each) for name, each in model.load().items()} == {"bias": 3, "weight": 9}
        there = {name: numpy.zeros_like(each) for name, each in made.items()}
        tensors.load_into("runs/model.safetensors", there, client=client)
        assert there["weight"].tolist() == list(range(9))


def test_what_began_as_one_blob_stays_that_blob_where_the_name_moves_on(team: Team, tmp_path: Path) -> None:
    """By sections, by ranges and as a file: who may read ids gets the blob that was found first, others are told."""
    other = LARGE[::-1]
    moved: list[int] = []

    def move(done: int, total: int | None) -> None:
        if not moved and done:
            moved.append(done)
            team.admin.bind("runs/moving", second.id, if_absent=False)

    first = team.admin.put(LARGE, name="runs/moving")
    second = team.admin.put(other)
    with AmbryClient(team.url, key=team.admin.keys.create("all", Grant(roles=("read",))).text) as free:
        target = tmp_path / "one"
        with free.open("runs/moving", block_size=64 << 10) as file:
            assert file.read(5) == LARGE[:5]
            info = free.get_file("runs/moving", target, transfer=SECTIONS, progress=move)
            assert moved and moved[0] < len(LARGE)
            assert info.id == first.id and target.read_bytes() == LARGE
            assert file.read() == LARGE[5:]
        found = found_as(info)
        assert free.head(found).id == first.id
        assert free.get_bytes(found, range=(0, 9)) == LARGE[:9]
        assert free.get_ranges(found, [(0, 3), (0, len(LARGE))]) == [LARGE[:3], LARGE]
        assert free.get_bytes("runs/moving") == other
    with team.client() as client:
        for read in (
            lambda: client.head(found),
            lambda: client.get_bytes(found),
            lambda: client.get_ranges(found, [(0, 3)]),
        ):
            with pytest.raises(PreconditionFailed, match="runs/moving points to another blob since"):
                read()
        assert client.get_bytes("runs/moving") == other


def test_a_name_of_a_list_that_points_to_a_smaller_blob_by_now_still_gives_the_listed_one(
    team: Team, tmp_path: Path
) -> None:
    first = team.admin.put(LARGE, name="runs/shrinking")
    (entry,) = team.admin.list("runs/shrinking")
    listed = found_entry(entry.ref, first.id)
    team.admin.put(b"less", name="runs/shrinking")
    team.admin.bind("runs/kept", first.id)
    spans = [(MIB, MIB + 3), (0, len(LARGE))]
    assert team.admin.get_bytes(listed, range=spans[0]) == LARGE[MIB : MIB + 3]
    assert team.admin.get_ranges(listed, spans) == [LARGE[start:stop] for start, stop in spans]
    assert team.admin.get_file(listed, tmp_path / "listed", transfer=SECTIONS).id == first.id
    assert (tmp_path / "listed").read_bytes() == LARGE
    copied = copy_blob(team.admin, team.admin, listed, NameRef("runs/copy", "default", "default"))
    assert (copied.size, copied.checksum) == (first.size, first.checksum)


def test_a_download_that_breaks_goes_on_by_the_name(team: Team, tmp_path: Path) -> None:
    with LosingLink(team.url) as link, team.client(link.url) as client, client.get("runs/deep/large") as reader:
        begun = reader.read(10)
        link.break_all()
        assert begun + reader.read() == LARGE
        assert [line.split()[1] for line in link.seen] == ["/named/default/default/runs/deep/large"] * 2
