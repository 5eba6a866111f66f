"""Datasets, their versions and their aliases: the JSON there and back, with Ambry's names of the fields."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from ambry.client.datasets import AliasInfo, DatasetChange, DatasetInfo, VersionEntry
from ambry.client.model import Metadata, check_type
from ambry.client.names import Page
from ambry.client.refs import NameRef, VersionRef, headers_of, versions_path
from ambry.client.wire.json_answer import UNREADABLE
from ambry.client.wire.json_request import json_request
from ambry.client.wire.message import ApiRequest, Headers, moment, violation
from ambry.client.wire.names import PAGE_MAX, page_limit, query_of
from ambry.errors import InvalidRequest
from ambry.ids import BlobId
from ambry.rest import names

DATASETS = "/accounts/containers/datasets"
ALIASES = f"{DATASETS}/aliases"
COUNTED = "DefaultCounterBasedPolicy"
WITHOUT_END = -1

_object = msgspec.json.Decoder(dict[str, Any]).decode


# --- datasets ---


def save_request(place: VersionRef, schema: str | None, change: DatasetChange) -> tuple[ApiRequest, bytes]:
    """Make one of a schema, or, without, change what holds for it. Raises InvalidRequest, TypeError."""
    fields: dict[str, Any] = _identity(place)
    headers: dict[str, str] = {}
    if schema is None:
        headers[names.DATASET_UPDATE] = "true"
    else:
        check_type("schema", schema, str, "TIMESTAMP, MONOTONIC, SEMANTIC or SEMANTIC_LONG")
        fields["versionSchema"] = schema.upper()
    if unknown := sorted(set(change) - set(DatasetChange.__annotations__)):
        raise InvalidRequest(f"there is no {unknown[0]!r} of a dataset; there are retention_count, retention, tags")
    if "retention_count" in change:
        fields["retentionCount"] = WITHOUT_END if (count := change["retention_count"]) is None else count
        fields["retentionPolicy"] = COUNTED
    if "retention" in change:
        kept = change["retention"]
        seconds = int(kept.total_seconds()) if isinstance(kept, timedelta) else kept
        fields["retentionTimeInSeconds"] = WITHOUT_END if seconds is None else seconds
    if "tags" in change:
        check_type("tags", change["tags"], Mapping, "a mapping of text to text")
        fields["userTags"] = dict(change["tags"])
    return json_request("POST", DATASETS, fields, _subject(place), headers)


def show_request(place: VersionRef) -> ApiRequest:
    return ApiRequest("GET", DATASETS, {**_container(place), names.DATASET_NAME: place.dataset}, _subject(place))


def delete_request(place: VersionRef) -> ApiRequest:
    return ApiRequest("DELETE", DATASETS, {**_container(place), names.DATASET_NAME: place.dataset}, _subject(place))


def list_request(within: NameRef, newest: bool, token: str | None) -> ApiRequest:
    """A page of the datasets of a container."""
    path = DATASETS + query_of({"max-keys": str(PAGE_MAX), "page": token or ""}) + ("&newest" if newest else "")
    return ApiRequest("GET", path, _container(within), f"datasets of {within.account}/{within.container}")


def parse_dataset(headers: Headers, body: bytes) -> DatasetInfo:
    """Raises ProtocolViolation."""
    try:
        return _dataset(_object(body))
    except UNREADABLE as cause:
        raise _unreadable(headers, "tells no dataset", cause) from cause


def parse_datasets(headers: Headers, body: bytes) -> Page[DatasetInfo]:
    """Raises ProtocolViolation."""
    try:
        told = _object(body)
        return Page(entries=tuple(map(_dataset, told["datasets"])), next_token=told["nextPageToken"])
    except UNREADABLE as cause:
        raise _unreadable(headers, "lists no datasets", cause) from cause


# --- versions ---


def versions_request(place: VersionRef, page_size: int, token: str | None) -> ApiRequest:
    query = query_of({"max-keys": page_limit(page_size), "page": token or ""})
    return ApiRequest("GET", versions_path(place) + query, headers_of(place), _subject(place))


def parse_versions(place: VersionRef, headers: Headers, body: bytes) -> Page[VersionEntry]:
    """Raises ProtocolViolation."""
    try:
        told = _object(body)
        entries = tuple(_version_entry(place, each) for each in told["versions"])
        return Page(entries=entries, next_token=told["nextPageToken"])
    except UNREADABLE as cause:
        raise _unreadable(headers, "lists no versions", cause) from cause


# --- aliases ---


def move_request(place: VersionRef, asked: AliasInfo, expected: str | None) -> tuple[ApiRequest, bytes]:
    fields = {
        **_identity(place),
        "alias": asked.alias,
        "version": asked.version,
        "ifVersion": expected,
        "who": asked.who,
        "why": asked.why,
    }
    return json_request("POST", ALIASES, fields, _subject(place))


def aliases_request(
    place: VersionRef, token: str | None = None, *, alias: str = "", history: bool = False
) -> ApiRequest:
    """A page of all of a dataset, one of them, or a page of the moves of one."""
    query = query_of({"alias": alias, "page": token or ""})
    headers = {**_container(place), names.DATASET_NAME: place.dataset}
    subject = f"alias {alias} of {_subject(place)}" if alias else f"aliases of {_subject(place)}"
    return ApiRequest("GET", f"{ALIASES}{query}{'&history' if history else ''}", headers, subject)


def parse_alias(place: VersionRef, headers: Headers, body: bytes) -> AliasInfo:
    """Raises ProtocolViolation."""
    try:
        return _move(place, _object(body))
    except UNREADABLE as cause:
        raise _unreadable(headers, "tells no alias", cause) from cause


def parse_aliases(place: VersionRef, headers: Headers, body: bytes) -> Page[AliasInfo]:
    """Raises ProtocolViolation."""
    try:
        told = _object(body)
        entries = tuple(_move(place, each) for each in told["aliases"])
        return Page(entries=entries, next_token=told["nextPageToken"])
    except UNREADABLE as cause:
        raise _unreadable(headers, "lists no aliases", cause) from cause


def parse_moves(place: VersionRef, alias: str, headers: Headers, body: bytes) -> Page[AliasInfo]:
    """Raises ProtocolViolation."""
    try:
        told = _object(body)
        entries = tuple(_move(place, {"alias": alias, **each}) for each in told["moves"])
        return Page(entries=entries, next_token=told["nextPageToken"])
    except UNREADABLE as cause:
        raise _unreadable(headers, "tells no moves of an alias", cause) from cause


# --- pieces ---


def _unreadable(headers: Headers, what: str, cause: Exception) -> Exception:
    return violation(headers, f"the answer {what} ({type(cause).__name__}: {cause})")


def _container(place: VersionRef | NameRef) -> dict[str, str]:
    return {names.ACCOUNT_NAME: place.account, names.CONTAINER_NAME: place.container}


def _identity(place: VersionRef) -> dict[str, Any]:
    return {"accountName": place.account, "containerName": place.container, "datasetName": place.dataset}


def _subject(place: VersionRef) -> str:
    return f"dataset {place.dataset}"


def _dataset(told: Mapping[str, Any]) -> DatasetInfo:
    count, seconds = told.get("retentionCount"), told.get("retentionTimeInSeconds")
    place = VersionRef(str(told["datasetName"]), account=str(told["accountName"]), container=str(told["containerName"]))
    return DatasetInfo(
        name=place.dataset,
        account=place.account,
        container=place.container,
        schema=str(told["versionSchema"]),
        retention_count=None if count is None else int(count),
        retention=None if seconds is None else timedelta(seconds=int(seconds)),
        tags=Metadata(told.get("userTags")),
        newest=None if (newest := told.get("newest")) is None else _version_entry(place, newest),
    )


def _version_entry(place: VersionRef, told: Mapping[str, Any]) -> VersionEntry:
    return VersionEntry(
        ref=VersionRef(place.dataset, str(told["version"]), place.account, place.container),
        id=BlobId.parse(told["blobId"]),
        size=int(told["blobSize"]),
        modified=moment(told["modifiedTimeMs"]),
    )


def _move(place: VersionRef, told: Mapping[str, Any]) -> AliasInfo:
    return AliasInfo(
        dataset=place.dataset,
        alias=str(told["alias"]),
        version=told["version"],
        who=str(told.get("who", "")),
        why=str(told.get("why", "")),
        modified=moment(told["modifiedTimeMs"]),
        datacenter=int(told["datacenter"]),
    )
