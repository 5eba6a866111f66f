"""The headers that tell of a blob, and which blobs are shown at all."""

from __future__ import annotations

import pytest

from ambry.blob import NEVER_MS, BlobProperties, BlobState
from ambry.clock import SystemClock
from ambry.errors import BlobDeleted, BlobExpired, BlobGone
from ambry.ids import IdKind
from ambry.rest import names
from frontend.config import AccountEntry
from frontend.containers.resolver import Containers
from frontend.http import access_log
from frontend.rest.blob import ALIVE, ANY, BlobFinder, Visible, ttl_of
from frontend.router.values import BlobHead
from tests.support.captured_log import capture_log
from tests.support.fake_cluster import make_cluster, some_id
from tests.support.http_frontend import ACCOUNTS, http_frontend

NOW = 1_700_000_000_000
PERMANENT = BlobState(0, False, NEVER_MS)
DELETED_ONLY = Visible(deleted=True, expired=False)
EXPIRED_ONLY = Visible(deleted=False, expired=True)


def head(state: BlobState = PERMANENT, **properties: object) -> BlobHead:
    fields: dict[str, object] = {"size": 5, "digest": bytes(range(16)), **properties}
    return BlobHead(
        id=some_id(),
        properties=BlobProperties(**fields),  # type: ignore[arg-type]
        metadata={},
        state=state,
        created_at_ms=NOW,
    )


def finder(containers: Containers | None = None) -> BlobFinder:
    return BlobFinder(
        make_cluster(((3,),), clock=SystemClock()).context, containers or Containers(ACCOUNTS, open=True), SystemClock()
    )


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a b.bin", {"x-ambry-filename": "a b.bin"}),
        ("été", {"x-ambry-enc-filename": "%C3%A9t%C3%A9"}),
        (" a", {"x-ambry-enc-filename": "%20a"}),
        ("a%b", {"x-ambry-filename": "a%b"}),
        ("", {}),
    ],
)
async def test_a_file_name_goes_out_in_the_form_that_every_client_reads(
    filename: str, expected: dict[str, str]
) -> None:
    told = finder().headers(head(filename=filename), cache="x")
    assert {name: value for name, value in told.items() if "filename" in name} == expected


async def test_a_time_to_live_is_told_from_creation_on() -> None:
    assert ttl_of(BlobState(0, False, NOW + 7000), NOW) == "7"
    assert ttl_of(PERMANENT, NOW) == "-1"


async def test_a_container_that_is_not_configured_any_more_shows_its_number() -> None:
    told = finder(Containers({"default": AccountEntry(id=9, containers={"default": 9})})).headers(head(), cache="x")
    assert (told["x-ambry-target-account-name"], told["x-ambry-target-container-name"]) == ("1", "1")


@pytest.mark.parametrize(
    ("content_type", "filename", "expected"),
    [
        ("text/html", "a.html", 'attachment; filename="a.html"'),
        ("image/svg+xml", "", "attachment"),
        ("image/png", "", None),
        ("image/png", "a.png", 'inline; filename="a.png"'),
    ],
)
async def test_what_a_browser_would_run_is_for_saving_and_everything_has_its_guards(
    content_type: str, filename: str, expected: str | None
) -> None:
    told = finder().headers(head(content_type=content_type, filename=filename), cache="x")
    assert told.get("Content-Disposition") == expected
    assert (told["X-Content-Type-Options"], told["Content-Security-Policy"]) == ("nosniff", "sandbox")
    assert told["Content-Type"] == content_type


@pytest.mark.parametrize(
    ("private", "expires_at_ms", "allowed", "expected"),
    [
        (False, NEVER_MS, ALIVE, "public, immutable, max-age=31536000"),
        (True, NEVER_MS, ALIVE, "private, no-cache"),
        (False, NOW + 1, ALIVE, "private, no-cache"),
        (False, NEVER_MS, ANY, "no-store"),
        (False, NEVER_MS, DELETED_ONLY, "no-store"),
        (False, NEVER_MS, EXPIRED_ONLY, "no-store"),
    ],
)
async def test_only_bytes_that_stay_readable_are_immutable(
    private: bool, expires_at_ms: int, allowed: Visible, expected: str
) -> None:
    assert finder().cache(head(BlobState(0, False, expires_at_ms), private=private), allowed) == expected


@pytest.mark.parametrize(
    ("state", "allowed", "refusal"),
    [
        (BlobState(0, False, NEVER_MS), ALIVE, None),
        (BlobState(0, True, NEVER_MS), ALIVE, BlobDeleted),
        (BlobState(0, True, NEVER_MS), DELETED_ONLY, None),
        (BlobState(0, True, NEVER_MS), EXPIRED_ONLY, BlobDeleted),
        (BlobState(0, False, NOW), DELETED_ONLY, BlobExpired),
        (BlobState(0, False, NOW), EXPIRED_ONLY, None),
        (BlobState(0, True, NOW), DELETED_ONLY, BlobExpired),
        (BlobState(0, True, NOW), EXPIRED_ONLY, BlobDeleted),
        (BlobState(0, True, NOW), ANY, None),
    ],
)
def test_the_three_get_options_mean_three_things(
    state: BlobState, allowed: Visible, refusal: type[BlobGone] | None
) -> None:
    if refusal is None:
        allowed.check(head(state), NOW)
    else:
        with pytest.raises(refusal):
            allowed.check(head(state), NOW)


async def test_the_id_of_a_chunk_is_refused_by_every_call() -> None:
    chunk = str(some_id(kind=IdKind.CHUNK))
    below = ("", "/Segment/0", "/BlobInfo", "/UserMetadata", "/Replicas", "/BlobChunkIds")
    calls = [("GET", f"/{chunk}{each}") for each in below]
    calls += [("HEAD", f"/{chunk}"), ("DELETE", f"/{chunk}"), ("PUT", f"/{chunk}")]
    calls += [("PUT", "/updateTtl"), ("PUT", "/undelete")]
    async with http_frontend() as frontend:
        for method, path in calls:
            named = {"x-ambry-blob-id": chunk} if path in ("/updateTtl", "/undelete") else {}
            answer = await frontend.call(method, path, named)
            assert answer.status == 400, (method, path, answer.body)
            said = b"a blob's id" if (method, path) == ("PUT", f"/{chunk}") else b"data chunk"
            assert said in answer.body or method == "HEAD", (method, path, answer.body)
        assert frontend.cluster.pool.journal == []


async def test_every_request_about_a_blob_is_told_with_its_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only uploads knew their container."""
    events = capture_log(monkeypatch, access_log)
    async with http_frontend(access_log=True) as frontend:
        blob = await frontend.put(b"hello", {names.ACCOUNT_NAME: "ml", names.CONTAINER_NAME: "models"})
        for method, path in [("GET", ""), ("HEAD", ""), ("GET", "/BlobInfo"), ("GET", "/Segment/0"), ("DELETE", "")]:
            assert (await frontend.call(method, f"/{blob}{path}")).status < 300
        assert (await frontend.call("PUT", "/undelete", {"x-ambry-blob-id": blob})).status == 200
        assert (await frontend.call("OPTIONS", "/")).status == 204
    told = [(event.get("account"), event.get("container")) for event in events if event["event"] == "request"]
    assert told == [(7, 70)] * 7 + [(None, None)]
