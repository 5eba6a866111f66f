from __future__ import annotations

from typing import Any

import pytest

from ambry.errors import InvalidRequest
from ambry.rest.accounts import account_changes, container_changes, name_of, origins_of


def test_settings_are_taken_by_ambrys_names_and_nothing_else_of_a_container_is() -> None:
    given = {
        "containerId": 70_000,
        "containerName": "models",
        "parentAccountId": 70_001,
        "snapshotVersion": 3,
        "lastModifiedTime": 1_700_000_000_000,
        "status": "INACTIVE",
        "cacheable": False,
        "ttlRequired": True,
        "namedBlobMode": "NO_UPDATE",
        "quotaBytes": 1 << 40,
        "quotaBlobs": None,
        "backupEnabled": False,
        "cacheTtlInSecond": None,
    }
    assert container_changes(given) == {
        "status": "INACTIVE",
        "cacheable": False,
        "ttlRequired": True,
        "namedBlobMode": "NO_UPDATE",
        "quotaBytes": 1 << 40,
        "quotaBlobs": None,
    }
    assert account_changes({"accountName": "ml", "containers": [], "status": "ACTIVE"}) == {"status": "ACTIVE"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"backupEnabled": True}, "backupEnabled is not implemented"),
        ({"securePathRequired": True}, "securePathRequired is not implemented"),
        ({"cacheTtlInSecond": 60}, "cacheTtlInSecond is not implemented"),
        ({"cachable": True}, "there is no field 'cachable' here; there are .*cacheable"),
        ({"status": "DELETE_IN_PROGRESS"}, "status: .*DELETE_IN_PROGRESS"),
        ({"quotaBytes": -1}, "quotaBytes: .*>= 0"),
        ({"quotaBytes": 1 << 53}, "quotaBytes: .*<="),
        ({"quotaBytes": True}, "quotaBytes: .*bool"),
        ({"quotaBlobs": "10"}, "quotaBlobs: .*str"),
        ({"strictReads": 1}, "strictReads: .*int"),
        ({"defaultDurability": "tape"}, "defaultDurability: .*tape"),
        ({"retentionLockUntil": None}, "retentionLockUntil: .*null"),
        ({"description": "a" * 1025}, "description has at most"),
        ({"accessControlAllowOrigin": "example.org"}, "accessControlAllowOrigin lists origins"),
    ],
)
def test_what_would_be_ignored_or_cannot_be_is_refused_by_its_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        container_changes(given)


def test_origins_are_a_list_or_everybody() -> None:
    assert origins_of("") == frozenset()
    assert origins_of(" https://A.example , http://b:8080 ") == {"https://a.example", "http://b:8080"}
    assert origins_of("*") == {"*"}


@pytest.mark.parametrize(
    "text", ["null", "https://", "https://a/b", "https://a b", 'https://"', "https://a?b", "é://a"]
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        origins_of(text)


def test_a_list_of_origins_is_bounded() -> None:
    with pytest.raises(InvalidRequest, match="at most 16"):
        origins_of(",".join(f"https://a{number}" for number in range(17)))


@pytest.mark.parametrize("name", ["", "a" * 65, "é", " a", "a/b", "a\n", 5, None])
def test_a_name_that_headers_and_paths_do_not_carry_is_refused(name: object) -> None:
    assert name_of("accountName", "a" * 64) == "a" * 64
    with pytest.raises(InvalidRequest, match="accountName"):
        name_of("accountName", name)
