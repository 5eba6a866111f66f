"""With which name a blob goes, and who may let another one have it. Keys for a prefix had blobs that were moved out of it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ambry.ids import BlobId
from ambry.rest.access import Grant, KeyText
from frontend.metadata.spaces import LocalSpace
from tests.support.access import bearer
from tests.unit.frontend.rest.test_access_table import MODELS, Ground, ground

PLACE = {"account": "ml", "container": "models"}
OWN = ("read", "write", "name", "delete")
HERE = "/named/ml/models"
UPSERT = {"x-ambry-named-upsert": "true"}


class Somebody:
    """With a key: what they do to names, each as the status of its answer."""

    def __init__(self, here: Ground, key: KeyText) -> None:
        self._call = here.frontend.call
        self.headers = bearer(key)

    async def put(self, name: str, body: bytes) -> str:
        answer = await self._call("PUT", f"{HERE}/{name}", {**self.headers, **UPSERT}, body)
        assert answer.status == 201, answer.body
        return str(answer.json()["id"])

    async def act(self, name: str, headers: dict[str, str] | None = None, **action: object) -> int:
        given = {**self.headers, "Content-Type": "application/json", **(headers or {})}
        return (await self._call("POST", f"{HERE}/{name}", given, msgspec.json.encode(action))).status

    async def rename(self, source: str, target: str) -> int:
        return await self.act(target, None, op="rename", **{"from": source})

    async def delete(self, name: str) -> int:
        return (await self._call("DELETE", f"{HERE}/{name}", self.headers)).status

    async def read(self, name: str) -> bytes | int:
        answer = await self._call("GET", f"{HERE}/{name}", self.headers)
        return answer.body if answer.status == 200 else answer.status

    async def extend(self, name: str) -> int:
        return (await self._call("PUT", "/updateTtl", {**self.headers, "x-ambry-blob-id": f"{HERE}/{name}"})).status

    async def undelete(self, name: str, **headers: str) -> int:
        given = {**self.headers, "x-ambry-blob-id": f"{HERE}/{name}", **headers}
        return (await self._call("PUT", "/undelete", given)).status

    async def uploaded(self, name: str | None, body: bytes) -> tuple[str, str]:
        """A whole upload in parts: its session, and the blob that it made."""
        given = {**self.headers, **MODELS} | ({} if name is None else {"x-ambry-upload-name": name})
        begun = (await self._call("POST", "/uploads", given)).json()
        path = f"/uploads/{begun['upload']}"
        assert (await self._call("PUT", f"{path}/1", self.headers, body)).status == 200
        assert (await self._call("POST", f"{path}/complete", self.headers, b"")).status == 201
        return begun["upload"], begun["id"]

    async def bind(self, name: str, made: tuple[str, str], headers: dict[str, str] | None = None) -> int:
        return await self.act(name, headers, op="bind", owned=True, upload=made[0], id=made[1])


def team(here: Ground, *roles: str, prefix: str = "x/") -> Somebody:
    return Somebody(here, here.key(Grant(roles=roles, prefix=prefix, **PLACE)))


@pytest.mark.parametrize("roles", [OWN, ("write", "name")])
async def test_an_upload_gives_its_blob_to_a_name_once(tmp_path: Path, roles: tuple[str, ...]) -> None:
    """For seven days a key bound what it had uploaded again, wherever that was by then, and deleted it there."""
    async with ground(tmp_path) as here:
        key, root = team(here, *roles), Somebody(here, here.root)
        made = await key.uploaded("x/n", b"ours")
        assert await key.bind("x/n", made) == await key.bind("x/n", made) == 200, "once, and again is the same"
        assert await root.rename("x/n", "archive/n") == 200
        assert await key.bind("x/n", made) == await key.bind("x/n", made, UPSERT) == 403
        assert await key.extend("x/n") == 410
        await root.put("x/n", b"another")
        assert await key.bind("x/n", made, UPSERT) == 403
        await key.delete("x/n")
        assert await root.read("archive/n") == b"ours"
        assert await root.rename("archive/n", "x/back") == 200
        assert await key.bind("x/n", made, UPSERT) == 403


async def test_an_upload_gives_its_blob_to_no_second_name(tmp_path: Path) -> None:
    """Whoever might read, write and name in the whole container, and delete nothing, had two names take it with them."""
    async with ground(tmp_path) as here:
        key = team(here, "read", "write", "name", prefix="")
        root = Somebody(here, here.root)
        made = await key.uploaded(None, b"ours")
        assert await key.bind("a", made) == 200
        assert await key.bind("b", made) == 403
        assert await key.rename("a", "c") == 200
        assert await key.bind("a", made) == 403
        assert await root.bind("b", made) == 200, "who may read and delete in the container binds any blob of it"
        assert await root.delete("c") == 202
        assert await root.read("b") == b"ours", "it went with this one by then"


async def test_an_upload_gives_nothing_where_others_have_given_its_blob_to_a_name(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        key, root = team(here, *OWN), Somebody(here, here.root)
        made = await key.uploaded("x/n", b"ours")
        assert await root.act("archive/n", op="bind", owned=True, id=made[1]) == 200
        assert await key.bind("x/n", made) == 403
        assert await root.read("archive/n") == b"ours"


async def test_of_two_who_give_a_blob_to_a_name_at_once_one_does(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        assert here.frontend.services is not None
        names = here.frontend.services.names
        root = Somebody(here, here.root)
        made = await root.uploaded("x/n", b"ours")
        blob = BlobId.parse(made[1])
        scope = blob.account << 32 | blob.container
        seen = await names.owner(scope, blob)
        assert seen.name is None
        asked = names.owner

        async def early(scope: int, of: BlobId) -> object:
            names.owner = asked  # type: ignore[method-assign]
            assert await root.bind("x/first", made) == 200
            return seen

        names.owner = early  # type: ignore[method-assign, assignment]
        assert await root.bind("x/n", made) == 409
        assert (await names.owner(scope, blob)).name == b"x/first"
        assert await root.read("x/n") == 404
        assert await names._store.locals(LocalSpace.INTENT) == []


async def test_a_name_that_only_shows_a_blob_is_made_to_have_it(tmp_path: Path) -> None:
    """A bind with `owned` said 200 of it and changed nothing, so that the blob stayed when the name was deleted."""
    async with ground(tmp_path) as here:
        root = Somebody(here, here.root)
        made = await root.uploaded("x/n", b"ours")
        assert await root.act("x/n", op="bind", id=made[1]) == 200
        assert await root.bind("x/n", made) == 409, "the name exists"
        assert await root.bind("x/n", made, UPSERT) == await root.bind("x/n", made) == 200
        assert await root.delete("x/n") == 202
        assert (await here.frontend.call("GET", f"/{made[1]}", root.headers)).status == 410


@pytest.mark.parametrize("by_post", [True, False])
async def test_an_undelete_takes_read_for_a_blob_that_moved_to_another_name(tmp_path: Path, by_post: bool) -> None:
    """A key that was made afterwards undeleted the name that the blob had had once, and read it."""
    async with ground(tmp_path) as here:
        key, root = team(here, "read", "name", "delete"), Somebody(here, here.root)
        reader = Somebody(
            here, here.key(Grant(roles=("read",), **PLACE), Grant(roles=("name", "delete"), prefix="x/", **PLACE))
        )

        async def undelete(who: Somebody) -> int:
            return await (who.act("x/y", op="undelete") if by_post else who.undelete("x/y"))

        assert await root.rename("x/y", "archive/y") == 200
        assert await undelete(key) == 403
        assert await key.read("x/y") == 410
        assert await undelete(reader) == 200
        assert await reader.read("x/y") == b"hello"
        assert await reader.delete("x/y") == 202
        assert await root.read("archive/y") == b"hello", "it was bound there, and stays"


async def test_what_a_name_lost_is_not_compared_either(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        key, root = team(here, "read", "name", "delete"), Somebody(here, here.root)
        assert await root.rename("x/y", "archive/y") == 200
        for tag in ('"guess"', "*"):
            assert await key.undelete("x/y", **{"if-match": tag}) == 403


async def test_a_blob_comes_back_with_the_name_that_it_had_last(tmp_path: Path) -> None:
    """The name that it had before brought it back too, for whoever had something for that."""
    async with ground(tmp_path) as here:
        key, root = team(here, *OWN), Somebody(here, here.root)
        assert await root.rename("x/y", "archive/y") == 200
        assert await root.delete("archive/y") == 202
        assert await key.act("x/y", op="undelete") == await key.undelete("x/y") == 403
        assert await root.undelete("x/y") == 410, "that of the other name first"
        assert await root.undelete("archive/y") == 200
        assert await root.read("archive/y") == b"hello"
        assert await root.rename("archive/y", "x/y") == 200
        assert await key.delete("x/y") == 202
        assert await key.undelete("x/y") == 200, "it is theirs again"
        assert await key.read("x/y") == b"hello"


async def test_whoever_has_a_prefix_brings_back_what_they_put_there(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        key = team(here, *OWN)
        made = await key.uploaded("x/n", b"in parts")
        assert await key.bind("x/n", made) == 200
        await key.put("x/p", b"put")
        assert await key.rename("x/p", "x/q") == 200
        for name, body in (("x/n", b"in parts"), ("x/q", b"put"), ("x/y", b"hello")):
            for undelete in (key.undelete(name), key.act(name, op="undelete")):
                assert await key.delete(name) == 202
                assert await key.read(name) == 410
                assert await undelete == 200, name
                assert await key.read(name) == body


async def test_what_somebody_brought_back_by_its_id_is_as_any_blob_to_the_name_that_it_had(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        assert here.frontend.services is not None
        key, root = team(here, *OWN), Somebody(here, here.root)
        blob = await key.put("x/n", b"ours")
        assert await key.delete("x/n") == 202
        back = await here.frontend.call("PUT", "/undelete", {**root.headers, "x-ambry-blob-id": blob})
        assert back.status == 200
        assert await key.undelete("x/n") == await key.act("x/n", op="undelete") == 403
        assert (await here.frontend.call("GET", f"/{blob}", root.headers)).body == b"ours", "and nothing took it away"
        assert await here.frontend.services.names._store.locals(LocalSpace.INTENT) == []
        assert await root.undelete("x/n") == 200


async def test_a_name_that_lost_its_blob_shows_it_and_no_more(tmp_path: Path) -> None:
    """Somebody who might gave the blob to another name: the one before still deleted it, and had it live for ever."""
    async with ground(tmp_path) as here:
        key, root = team(here, *OWN), Somebody(here, here.root)
        blob = await key.put("x/n", b"ours")
        assert await root.act("archive/n", op="bind", owned=True, id=blob) == 200
        assert await key.extend("x/n") == 403
        assert await key.rename("x/n", "x/m") == 200
        assert await root.extend("archive/n") == 200, "that it was moved took nothing back"
        assert await key.delete("x/m") == 202
        assert await root.read("archive/n") == b"ours"
        assert await root.delete("archive/n") == 202
        assert (await here.frontend.call("GET", f"/{blob}", root.headers)).status == 410
