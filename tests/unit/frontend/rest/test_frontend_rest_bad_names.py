"""What is wrong with a request about names, datasets, aliases and accounts is told, with what to do, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from ambry.clock import SystemClock
from frontend.metadata.spaces import LocalSpace
from tests.support.eventually import eventually
from tests.support.fake_cluster import make_cluster
from tests.support.http_frontend import HttpFrontend, http_frontend
from tests.support.metadata_stores import opened, sqlite_store

HERE = "/named/default/default"
DATASETS = "/accounts/containers/datasets"
ALIASES = f"{DATASETS}/aliases"
CONTAINERS = "/accounts/containers"
VERSIONED = {"x-ambry-dataset-version-query-enabled": "true"}
UPSERT = {"x-ambry-named-upsert": "true"}
OF_D = {"x-ambry-target-dataset-name": "d"}
OF_DEFAULT = {"x-ambry-target-account-name": "default"}
MINE = {"accountName": "default", "containerName": "default", "datasetName": "d"}
MOVE = {**MINE, "alias": "champion", "version": "1.1.0", "ifVersion": "1.0.0"}
LONG = "x" * 1025


class Bad(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    status: int
    says: str
    """What stands in the sentence."""


def put(name: str, status: int, says: str, **headers: str) -> Bad:
    return Bad(
        "PUT", f"{HERE}/{name}", {key.replace("_", "-"): value for key, value in headers.items()}, b"x", status, says
    )


def version(number: str, status: int, says: str, method: str = "PUT") -> Bad:
    return Bad(method, f"{HERE}/d/{number}", VERSIONED, b"x" if method == "PUT" else None, status, says)


def numbered(number: str, status: int, says: str) -> Bad:
    """Of a dataset whose versions are numbers."""
    return Bad("PUT", f"{HERE}/m/{number}", VERSIONED, b"x", status, says)


def get(path: str, status: int, says: str, **headers: str) -> Bad:
    return Bad("GET", path, {key.replace("_", "-"): value for key, value in headers.items()}, None, status, says)


def act(name: str, action: Any, status: int, says: str, **headers: str) -> Bad:
    return Bad("POST", f"{HERE}/{name}", headers, action, status, says)


def dataset(status: int, says: str, *, update: bool = False, **more: Any) -> Bad:
    headers = {"x-ambry-dataset-update": "true"} if update else {}
    return Bad(
        "POST", DATASETS, headers, {**MINE, "datasetName": "new", "versionSchema": "SEMANTIC", **more}, status, says
    )


def alias(status: int, says: str, **more: Any) -> Bad:
    return Bad("POST", ALIASES, {}, {**MOVE, **more}, status, says)


def container(status: int, says: str, **settings: Any) -> Bad:
    return Bad("POST", CONTAINERS, OF_DEFAULT, {"containers": [settings]}, status, says)


BAD = [
    # names
    put("", 400, ""),
    put(LONG, 400, "1 to 1024 bytes of UTF-8"),
    put(quote("Ü" * 512 + "x"), 400, "not 1025"),
    put("%ff", 400, "not UTF-8"),
    put("%c3", 400, "not UTF-8"),
    put("%ed%a0%80", 400, "not UTF-8"),
    put("a%zz", 400, "two hexadecimal digits"),
    put("a%", 400, "two hexadecimal digits"),
    put("n", 409, "x-ambry-named-upsert: true"),
    put("n", 400, "x-ambry-named-upsert", x_ambry_named_upsert="perhaps"),
    put("n", 412, "", **{"if-match": '"other"'}),
    put("n", 412, "", **{"if-none-match": "*"}),
    put("new", 412, "", **{"if-match": "*"}),
    put("new", 400, "x-ambry-ttl", x_ambry_ttl="soon"),
    put("new", 400, "x-ambry-ttl", x_ambry_ttl="-2"),
    put("new", 400, "x-ambry-blob-id", x_ambry_blob_id="n"),
    put("new", 400, "", content_md5="AAAA"),
    put("new", 400, "x-ambry-dataset-version-query-enabled", x_ambry_dataset_version_query_enabled="yes"),
    Bad("PUT", "/named/default/nothing/n", {}, b"x", 400, "no container 'nothing'"),
    Bad("PUT", "/named/nobody/default/n", {}, b"x", 400, "no account 'nobody'"),
    Bad("PUT", "/named/default/%ff/n", {}, b"x", 400, "not UTF-8"),
    Bad("PUT", "/named/default/default", {}, b"x", 405, ""),
    get(f"{HERE}/nothing", 404, "no name 'nothing' in the container default/default"),
    get(f"{HERE}/n?page=x", 400, "ask for ?history"),
    get(f"{HERE}/n?max-keys=5", 400, "ask for ?history"),
    get(f"{HERE}/n?history&page=x", 400, "nextPageToken"),
    get(f"{HERE}/n?history=false", 400, "history stands alone"),
    get(f"{HERE}/n?history&max-keys=", 400, "from 1 to 1000"),
    get(f"{HERE}/n?history&max-keys=0", 400, "from 1 to 1000"),
    get(f"{HERE}/n?prefix=x", 400, "prefix"),
    Bad("DELETE", f"{HERE}/nothing", {}, None, 404, "no name 'nothing'"),
    # lists
    get(f"{HERE}?max-keys=0", 400, "from 1 to 1000"),
    get(f"{HERE}?max-keys=", 400, "from 1 to 1000"),
    get(f"{HERE}?max-keys=-1", 400, "from 1 to 1000"),
    get(f"{HERE}?max-keys=99999999999999999999", 400, "from 1 to 1000"),
    get(f"{HERE}?max-keys=1001", 400, "from 1 to 1000"),
    get(f"{HERE}?page=x", 400, "nextPageToken"),
    get(f"{HERE}?page=", 400, "nextPageToken"),
    get(f"{HERE}?prefix=%ff", 400, "UTF-8"),
    get(f"{HERE}?prefix={LONG}", 400, "at most 1024 bytes"),
    get(f"{HERE}?delimiter={'x' * 65}", 400, "at most 64 bytes"),
    get(f"{HERE}?prefix=a&prefix=b", 400, "twice"),
    get(f"{HERE}?other=1", 400, "other"),
    get(f"{HERE}/d?max-keys=0", 400, "from 1 to 1000", **VERSIONED),
    get(f"{HERE}/d?page=x", 400, "nextPageToken", **VERSIONED),
    get(f"{HERE}/d?history", 400, "a version has no history", **VERSIONED),
    get(f"{HERE}/d/1.0.0?max-keys=5", 400, "for their list", **VERSIONED),
    get(f"{DATASETS}?page=x", 400, "nextPageToken"),
    get(f"{DATASETS}?max-keys=0", 400, "from 1 to 1000"),
    get(f"{DATASETS}?max-keys=5", 400, "for the list of datasets", **OF_D),
    get(f"{ALIASES}?page=x", 400, "nextPageToken", **OF_D),
    get(f"{ALIASES}?alias=champion&history&page=x", 400, "nextPageToken", **OF_D),
    get(f"{ALIASES}?alias=champion&max-keys=5", 400, "a list of aliases", **OF_D),
    get(f"{ALIASES}?alias=champion&history=xyz", 400, "history stands alone", **OF_D),
    get(f"{ALIASES}?history", 400, "say which with ?alias=", **OF_D),
    # what changes names alone
    act("n", {"op": "other"}, 400, "the body is"),
    act("n", {"op": "rename"}, 400, "the body is"),
    act("n", [], 400, "JSON"),
    act("n", b"{", 400, "JSON"),
    act("n", b"\xff", 400, "JSON"),
    act("new", {"op": "rename", "from": "nothing"}, 404, "no name 'nothing'"),
    act("new", {"op": "rename", "from": LONG}, 400, "1 to 1024 bytes"),
    act("new", {"op": "rename", "from": ""}, 400, "1 to 1024 bytes"),
    act("n", {"op": "rename", "from": "n"}, 400, "to another one"),
    act("n", {"op": "rename", "from": "gone"}, 409, "x-ambry-named-upsert"),
    act("new", {"op": "rename", "from": "gone"}, 410, "deleted"),
    act("new", {"op": "bind", "id": "x"}, 400, "id"),
    act("n", {"op": "undelete"}, 409, "not deleted"),
    act("nothing", {"op": "undelete"}, 404, "no name 'nothing'"),
    act("d/1.0.0", {"op": "undelete"}, 405, "never changes", **VERSIONED),
    # versions
    version("1.0.0", 409, "@1.0.0 is there, and a version is never written over"),
    version("0.9.0", 409, "given once"),
    version("1.0", 400, "3 numbers"),
    version("1.0.0.0", 400, "3 numbers"),
    version("1.0.1000", 400, "0 to 999"),
    version("1.0.-1", 400, "3 numbers"),
    version("01.0.0", 400, "3 numbers"),
    version("%D9%A1.0.0", 400, "3 numbers"),
    version("REVISION", 400, "has no REVISION"),
    version("NEWEST", 400, "3 numbers"),
    version("@champion", 400, "put and deleted by its number"),
    version("@champion", 400, "put and deleted by its number", method="DELETE"),
    version("", 400, "LATEST"),
    version("1.0.0/x", 400, "3 numbers"),
    version("LATEST", 400, "by its number", "DELETE"),
    version("1.0.0", 409, "champion", "DELETE"),
    version("7.0.0", 404, "", "DELETE"),
    numbered("4", 409, "only rise"),
    numbered("5", 409, "@5 is there, and a version is never written over"),
    numbered("-1", 400, "one number"),
    numbered("1.0.0", 400, "one number"),
    numbered(str(1 << 63), 400, "one number"),
    numbered("MAJOR", 400, "has no MAJOR"),
    numbered("%00", 400, "one number"),
    Bad("PUT", f"{HERE}/nothing/1.0.0", VERSIONED, b"x", 404, "no dataset 'nothing' in the container default/default"),
    Bad("PUT", f"{HERE}/-d/1.0.0", VERSIONED, b"x", 400, "a dataset's name is"),
    get(f"{HERE}/d/9.0.0", 404, "", **VERSIONED),
    get(f"{HERE}/d/@nothing", 404, "no alias 'nothing'", **VERSIONED),
    get(f"{HERE}/d/@a%2Fb", 400, "an alias is", **VERSIONED),
    # datasets
    dataset(409, "already", datasetName="d"),
    dataset(400, "a dataset's name is", datasetName="a/b"),
    dataset(400, "a dataset's name is", datasetName="a\0b"),
    dataset(400, "a dataset's name is", datasetName="x" * 151),
    dataset(400, "versionSchema", versionSchema=None),
    dataset(400, "", versionSchema="ODD"),
    dataset(400, "at least 1, or -1", retentionCount=0),
    dataset(400, "at least 1, or -1", retentionCount=-2),
    dataset(400, "at least 1, or -1", retentionTimeInSeconds=-5),
    dataset(400, "", retentionTimeInSeconds=1 << 70),
    dataset(400, "", retentionCount=1.5),
    dataset(400, "DefaultCounterBasedPolicy", retentionPolicy="Other"),
    dataset(400, "at most 64", userTags={str(each): "" for each in range(65)}),
    dataset(400, "256 characters", userTags={"x" * 257: ""}),
    dataset(400, "256 characters", userTags={"x": "y" * 257}),
    dataset(400, "", userTags={"x": 1}),
    dataset(400, "", other=1),
    dataset(400, "no container", containerName="nothing"),
    dataset(404, "no dataset 'new'", update=True),
    dataset(409, "keeps it", update=True, datasetName="d", versionSchema="MONOTONIC"),
    Bad("DELETE", DATASETS, OF_D, None, 409, "delete them first"),
    Bad("DELETE", DATASETS, {}, None, 400, "x-ambry-target-dataset-name"),
    Bad("POST", DATASETS, {}, b"null", 400, "JSON"),
    Bad("POST", DATASETS, {"Content-Type": "text/plain"}, MINE, 415, "Content-Type: application/json"),
    # aliases
    alias(409, "points to 1.0.0", ifVersion="1.1.0"),
    alias(409, "points to 1.0.0", ifVersion=None),
    alias(409, "is not there", alias="other"),
    alias(404, "", version="9.9.9"),
    alias(410, "", version="0.9.0"),
    alias(400, "by its number", version="LATEST"),
    alias(400, "3 numbers", version="1"),
    alias(400, "an alias is", alias="@x"),
    alias(400, "an alias is", alias=""),
    alias(400, "at most 1024 characters", why="x" * 1025),
    alias(404, "no dataset", datasetName="nothing"),
    alias(400, "", version=5),
    Bad("POST", ALIASES, {}, MINE, 400, "alias"),
    get(f"{ALIASES}?alias=nothing", 404, "no alias 'nothing'", **OF_D),
    get(f"{ALIASES}?alias=nothing&history", 404, "no alias 'nothing'", **OF_D),
    # accounts and containers
    Bad("POST", "/accounts", {}, {"accounts": []}, 400, "1 to 100"),
    Bad("POST", "/accounts", {}, {"accounts": [{"accountName": "default"}]}, 409, "say its accountId 1"),
    Bad("POST", "/accounts", {}, {"accounts": [{"accountName": "a/b"}]}, 400, "without a slash"),
    Bad("POST", "/accounts", {}, {"accounts": [{"accountName": "a\0b"}]}, 400, "printable ASCII"),
    Bad("POST", "/accounts", {}, {"accounts": [{"accountName": "x" * 65}]}, 400, "1 to 64 characters"),
    Bad("POST", "/accounts", {}, {"accounts": [{"accountId": 99}]}, 404, "leave it out"),
    Bad("POST", "/accounts", {}, {"accounts": [{"accountId": -5}]}, 400, "32 bits"),
    Bad("POST", "/accounts", {}, {"accounts": [{"accountId": 1, "status": "ODD"}]}, 400, "status"),
    container(400, "quotaBytes", containerId=1, quotaBytes=-1),
    container(400, "quotaBlobs", containerId=1, quotaBlobs=1.5),
    container(400, "retentionLockUntil", containerId=1, retentionLockUntil=-1),
    container(400, "encrypted", containerId=1, encrypted=True),
    container(400, "no field 'other'", containerId=1, other=1),
    container(400, "stays so", containerId=1, containerName="renamed"),
    container(409, "snapshotVersion", containerId=1, snapshotVersion=77),
    container(409, "say its containerId", containerName="default"),
    container(400, "second datacenter", containerId=1, defaultDurability="geo"),
    Bad("POST", CONTAINERS, {}, {"containers": [{"containerId": 1}]}, 400, "x-ambry-target-account"),
    Bad("GET", "/accounts", {"x-ambry-target-account-id": "x"}, None, 400, "is a number"),
    Bad("GET", "/accounts", {"x-ambry-target-account-name": "nobody"}, None, 404, "no account 'nobody'"),
]  # fmt: skip


@pytest.fixture
async def frontend(tmp_path: Path) -> AsyncIterator[HttpFrontend]:
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(cluster, metadata=store) as made,
    ):
        yield made


async def call(frontend: HttpFrontend, bad: Bad) -> tuple[int, dict[str, Any]]:
    body = bad.body if bad.body is None or isinstance(bad.body, bytes) else json.dumps(bad.body).encode()
    answer = await frontend.call(bad.method, bad.path, bad.headers, body)
    return answer.status, answer.json() if answer.body else {}


async def prepare(frontend: HttpFrontend) -> None:
    for name, schema in (("d", "SEMANTIC"), ("m", "MONOTONIC")):
        await good(frontend, "POST", DATASETS, {}, {**MINE, "datasetName": name, "versionSchema": schema})
    for path in ("d/0.9.0", "d/1.0.0", "d/1.1.0", "m/5"):
        await good(frontend, "PUT", f"{HERE}/{path}", VERSIONED, b"x")
    await good(frontend, "POST", ALIASES, {}, {**MOVE, "version": "1.0.0", "ifVersion": None})
    for path in ("n", "gone"):
        await good(frontend, "PUT", f"{HERE}/{path}", {}, b"x")
    await good(frontend, "DELETE", f"{HERE}/gone", {}, None)
    await good(frontend, "DELETE", f"{HERE}/d/0.9.0", VERSIONED, None)


async def good(frontend: HttpFrontend, method: str, path: str, headers: dict[str, str], body: Any) -> None:
    status, told = await call(frontend, Bad(method, path, headers, body, 200, ""))
    assert status < 300, (path, told)


async def test_what_is_wrong_is_told_and_changes_nothing(frontend: HttpFrontend) -> None:
    await prepare(frontend)
    assert frontend.services is not None
    store, pool = frontend.services.intents._store, frontend.cluster.pool
    before, living = await store.head(), pool.visible()
    wrong = []
    for bad in BAD:
        status, told = await call(frontend, bad)
        detail = str(told.get("detail", ""))
        if status != bad.status or bad.says not in detail or len(detail) < 20:
            wrong.append((bad.method, bad.path[:60], str(bad.headers)[:60], str(bad.body)[:80], status, detail))
    assert not wrong, "\n".join(map(str, wrong))
    assert await store.head() == before
    await eventually(lambda: pool.visible() == living)
    assert not await store.locals(LocalSpace.INTENT), "nothing is left for the janitor"


@pytest.mark.parametrize("sign", ["%0D%0A", "%0A", "%09", "%1B[0m", "%7F", "%C2%85", "%E2%80%AE"])
async def test_no_control_character_is_part_of_a_dataset_a_version_or_an_alias(
    frontend: HttpFrontend, sign: str
) -> None:
    await prepare(frontend)
    paths = (f"d/{sign}", f"d/1.0.0{sign}X:%20y", f"d{sign}/1.0.0", f"d/@{sign}", f"d/@champion{sign}", f"m/2{sign}")
    for path in paths:
        for method in ("GET", "PUT", "DELETE"):
            bad = Bad(method, f"{HERE}/{path}", VERSIONED, b"x" if method == "PUT" else None, 400, "")
            status, told = await call(frontend, bad)
            assert status == 400, (bad, status, told)
            assert len(told["detail"]) > 20
            assert told["detail"].isprintable()
