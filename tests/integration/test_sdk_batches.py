"""Batches of both clients against real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ambry import AmbryClient, AsyncAmbryClient
from ambry.client.refs import NameRef, Ref, VersionRef
from ambry.errors import BlobDeleted, BlobNotFound, InvalidBlobId, InvalidRequest, NameNotFound, RangeNotSatisfiable
from tests.support.content import content

BODIES = [content(number, 4096) for number in range(1200)]


def test_many_blobs_go_in_and_come_out(dc1: str) -> None:
    with AmbryClient(endpoints=[dc1]) as client:
        stored = client.put_many(BODIES, ttl=3600, metadata={"run": "17"}, content_type="a/b")
        assert all(result.ok for result in stored) and len(stored) == len(BODIES)
        ids = [result.id for result in stored if result.id is not None]
        assert [result.data for result in client.get_many(ids)] == BODIES
        head = client.head_many(ids[:3])[2].info
        assert head is not None and (head.size, head.content_type, head.metadata["run"]) == (4096, "a/b", "17")
        large = client.put(content(7, 9_000_000))
        assert client.get_many([ids[0], large.id])[1].data == content(7, 9_000_000)
        ranges = [(number, number + 5) for number in range(0, 3000, 3)]
        assert client.get_ranges(large.id, [*ranges, (-4, None)]) == [
            *(content(7, 9_000_000)[first:stop] for first, stop in ranges),
            content(7, 9_000_000)[-4:],
        ]
        assert all(result.ok for result in client.delete_many(ids[:1100]))
        gone, there = client.get_many([ids[0], ids[1150]])
        assert isinstance(gone.error, BlobDeleted) and gone.data == b"" and there.data == BODIES[1150]
        with pytest.raises(BlobDeleted):
            client.get_ranges(ids[0], [(0, 1)])
        with pytest.raises(RangeNotSatisfiable):
            client.get_ranges(ids[1150], [(0, 1), (5000, 5001)])
        with pytest.raises(TypeError, match="not None"):
            client.get_ranges(ids[1150], [None, (0, 1)])  # type: ignore[list-item]
        assert (client.get_many([]), client.put_many([]), client.delete_many([])) == ([], [], [])


def test_one_that_cannot_be_asked_for_keeps_none_of_the_others(dc1: str) -> None:
    """One mistyped id failed the whole batch, and nobody said which."""
    with AmbryClient(endpoints=[dc1]) as client:
        kept, lost, good = client.put_many([b"kept", bytes((1 << 20) + 1), b"good"])
        assert kept.id is not None and good.id is not None and isinstance(lost.error, InvalidRequest)
        bad = str(good.id)[:-1] + ("A" if str(good.id)[-1] != "A" else "B")
        for call in (client.get_many, client.head_many):
            wrong, there, version = call([bad, good.id, VersionRef("fraud", "LATEST")])
            assert isinstance(wrong.error, InvalidBlobId) and bad in wrong.error.message
            assert there.ok and there.info is not None and there.info.size == 4
            assert isinstance(version.error, InvalidRequest) and "resolve" in version.error.message
        assert [each.ok for each in client.delete_many([good.id, bad])] == [True, False]
        assert not client.exists(good.id) and client.exists(kept.id)
        with pytest.raises(TypeError):
            client.get_many([kept.id, None])  # type: ignore[list-item]


async def test_the_awaiting_client_does_the_same(dc1: str) -> None:
    async with AsyncAmbryClient(endpoints=[dc1]) as client:
        stored = await client.put_many(BODIES[:100], durability="memory")
        ids = [result.id for result in stored if result.id is not None]
        assert [result.data for result in await client.get_many(ids)] == BODIES[:100]
        assert await client.get_ranges(ids[3], [(1, 5)]) == [BODIES[3][1:5]]
        assert [result.ok for result in await client.delete_many(ids)] == [True] * 100
        assert {type(result.error) for result in await client.head_many(ids)} == {BlobDeleted}


def test_names_and_ids_are_one_batch(dc1: str, tmp_path: Path) -> None:
    prefix = tmp_path.name
    with AmbryClient(endpoints=[dc1]) as client:
        names = [f"{prefix}/{number} \u00fc?" for number in range(3)]
        made = [client.put(BODIES[number], name=name) for number, name in enumerate(names)]
        refs: list[Ref] = [names[0], made[1].id, NameRef(names[2]), f"ambry://default/default/{prefix}/never"]
        found = client.get_many(refs)
        assert [result.data for result in found] == [*BODIES[:3], b""]
        assert [result.id for result in found] == [*(info.id for info in made), None]
        assert found[0].info is not None and found[0].info.name == names[0]
        assert isinstance(found[3].error, BlobNotFound)
        assert [result.ok for result in client.head_many(refs)] == [True, True, True, False]
        assert [result.ok for result in client.delete_many([*refs[:1], *refs[2:]])] == [True, True, False]
        assert [client.exists(info.id) for info in made] == [False, True, False]
        long = [f"{prefix}/{number}{'x' * 900}" for number in range(1_200)]
        assert {type(result.error) for result in client.head_many(long)} == {NameNotFound}


def command(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    made = subprocess.run(
        [sys.executable, "-m", "ambry.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert made.returncode == code, (made.returncode, made.stdout, made.stderr)
    return made


def test_commands_take_many_each_with_a_status_of_its_own(dc1: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with AmbryClient(endpoints=[dc1]) as client:
        small = client.put_many(BODIES[:30])
        large = client.put(content(5, 300_000), filename="large.bin")
        twins = [client.put(bytes([number]), filename="twin") for number in range(2)]
        named = client.put(b"named", name=f"{tmp_path.name}/model.bin", filename="model.bin")
        gone = client.put(b"gone")
        client.delete(gone.id)
        ids = [str(result.id) for result in small]
        given = [*ids, large.id, twins[0].id, gone.id, f"{tmp_path.name}/model.bin", twins[1].id]
        made = command("get", *given, "--output-dir", out, "--endpoint", dc1, code=4)
        assert str(gone.id) in made.stderr and made.stderr.count(" bytes)") == 34
        assert [(out / each).read_bytes() for each in ids] == BODIES[:30]
        assert (out / "large.bin").read_bytes() == content(5, 300_000)
        assert (out / "model.bin").read_bytes() == b"named"
        assert ((out / "twin").read_bytes(), (out / str(twins[1].id)).read_bytes()) == (b"\0", b"\1")
        again = command("get", ids[0], large.id, "--output-dir", out, "--endpoint", dc1, code=1)
        assert again.stderr.count("exists") == 2
        command("get", ids[0], "--output-dir", out, "--overwrite", "--endpoint", dc1)
        command("get", ids[0], ids[1], "-o", out / "x", "--endpoint", dc1, code=2)
        command("rm", *ids, f"{tmp_path.name}/model.bin", "--endpoint", dc1)
        assert not any(client.exists(each) for each in [*ids, str(named.id)])
        never = "ambry://default/default/never/was"
        told = command("rm", large.id, never, "--endpoint", dc1, code=3)
        assert told.stderr.count("never/was") >= 1 and not client.exists(large.id)
        command("rm", large.id, never, "--force", "--endpoint", dc1)
