"""What accounts are as JSON, and answers to them that are wrong. Against processes: tests/integration/test_accounts.py."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ambry.client.wire import accounts as wire
from ambry.errors import InvalidRequest, ProtocolViolation
from ambry.rest.accounts import AccountSettings, AccountStatus, ContainerSettings

HEADERS = {"x-ambry-request-id": "r"}
CONTAINER: dict[str, Any] = {
    "containerId": 70,
    "containerName": "models",
    "parentAccountId": 7,
    "ttlRequired": True,
    "quotaBytes": 5,
    "somethingOfALaterRelease": 1,
    "snapshotVersion": 3,
    "lastModifiedTime": 1_700_000_000_000,
}
ACCOUNT: dict[str, Any] = {
    "accountId": 7,
    "accountName": "ml",
    "status": "INACTIVE",
    "snapshotVersion": 0,
    "lastModifiedTime": 0,
    "containers": [CONTAINER],
}


def test_settings_travel_by_ambrys_names() -> None:
    request, body = wire.save_container("ml", {"containerId": 70}, {"quota_bytes": None, "is_private": True})
    assert (request.method, request.path) == ("POST", "/accounts/containers")
    assert request.headers["x-ambry-target-account-name"] == "ml"
    assert request.headers["content-length"] == str(len(body))
    assert msgspec.json.decode(body) == {"containers": [{"containerId": 70, "quotaBytes": None, "isPrivate": True}]}
    _, body = wire.save_account({"accountName": "ml"}, {"status": "INACTIVE"})
    assert msgspec.json.decode(body) == {"accounts": [{"accountName": "ml", "status": "INACTIVE"}]}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quota": 5}, "there is no setting 'quota'"),
        ({"quota_bytes": "5"}, "quotaBytes"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_is_sent(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        wire.save_container("ml", {}, settings)


def test_a_name_that_no_header_carries_is_refused() -> None:
    for make in (wire.accounts_request, lambda name: wire.containers_request("ml", name)):
        with pytest.raises(InvalidRequest):
            make("a\nb")


def test_what_is_told_becomes_values() -> None:
    [account] = wire.parse_accounts(HEADERS, msgspec.json.encode({"accounts": [ACCOUNT]}))
    assert (account.name, account.id, account.modified) == ("ml", 7, None)
    assert account.settings == AccountSettings(status=AccountStatus.INACTIVE)
    [container] = account.containers
    assert (container.name, container.id, container.account_id, container.snapshot_version) == ("models", 70, 7, 3)
    assert container.settings == ContainerSettings(ttl_required=True, quota_bytes=5)
    assert container.modified == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert wire.parse_containers(HEADERS, msgspec.json.encode({"containers": [CONTAINER]})) == [container]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"accounts":5}', b'{"accounts":[{}]}', b'{"accounts":[5]}',
     msgspec.json.encode({"accounts": [{**ACCOUNT, "accountId": "x"}]}),
     msgspec.json.encode({"accounts": [{**ACCOUNT, "status": "GONE"}]}),
     msgspec.json.encode({"accounts": [{**ACCOUNT, "lastModifiedTime": 1 << 60}]})],
)  # fmt: skip
def test_an_answer_that_tells_no_accounts_is_not_ours(body: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="tells no accounts"):
        wire.parse_accounts(HEADERS, body)
