"""`GET /usage`: what is stored and what was asked for, told to those whom it concerns."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.rest.access import Grant
from tests.support.access import bearer
from tests.unit.frontend.rest.test_access_table import MODELS, ground


@pytest.mark.parametrize("shortcut", [False, True])
async def test_requests_and_bytes_are_told_by_container_and_by_key(tmp_path: Path, shortcut: bool) -> None:
    async with ground(tmp_path, shortcut=shortcut) as here:
        reader = here.key(Grant(roles=("read",), account="ml"), name="reader")
        path, call = f"/{here.values['id']}", here.frontend.call
        for _ in range(3):
            assert (await call("GET", path, bearer(reader))).body == b"hello"
        assert (await call("POST", "/", {**bearer(reader), **MODELS}, b"x" * 100)).status == 403
        assert (await call("GET", path)).status == 401
        told = (await call("GET", "/usage", bearer(here.root))).json()
        [models] = [each for each in told["containers"] if each["container"] == "models"]
        assert models["requests"] >= 5 and models["refused"] == 2 and models["bytesOut"] > 15
        by_id = {each["id"]: each for each in told["keys"]}
        root, read = by_id[here.root.id], by_id[reader.id]
        assert (root["requests"], root["bytesIn"]) == (4, 15), "what the ground was prepared with"
        assert (read["requests"], read["refused"], read["limits"]["requestsPerS"]) == (4, 1, None)
        assert told["withoutKey"]["refused"] == 1
        assert {"account": "ml", "bytes": models["bytes"], "blobs": models["blobs"]} in told["accounts"]


async def test_who_has_something_in_one_container_is_told_of_that_and_of_their_own_key(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        made = await here.frontend.call(
            "POST",
            "/keys",
            {**bearer(here.root), "Content-Type": "application/json"},
            b'{"name": "r", "grants": [{"roles": ["read"], "account": "ml", "container": "models"}]}',
        )
        told = (await here.frontend.call("GET", "/usage", bearer(made.json()["key"]))).json()
        assert [each["container"] for each in told["containers"]] == ["models"]
        assert [each["id"] for each in told["keys"]] == [made.json()["id"]]
        assert told["accounts"] == [] and "withoutKey" not in told
        assert made.json()["key"].rpartition("_")[2] not in str(told)
