from __future__ import annotations

from pathlib import Path

import pytest

import ambry
from ambry.cli.failures import describe
from ambry.cli.wording import IN_OPTIONS, in_options
from ambry.errors import AlreadyExists
from ambry.rest import names

# As the server and the SDK say them, with the file that does.
MESSAGES = {
    "say its accountId 7 to change it": ("frontend/containers/changes.py", "say its accountId {there.id} to change it"),
    "say its containerId 7 to change it": (
        "frontend/containers/changes.py",
        "say its containerId {twin.id} to change it",
    ),
    "x-ambry-dataset-update: true changes it": (
        "frontend/datasets/datasets.py",
        "x-ambry-dataset-update: true changes it",
    ),
    "; where none is named it is": ("frontend/containers/resolver.py", "; where none is named it is"),
    f"give its seconds to live in {names.TTL}": (
        "frontend/rest/upload_headers.py",
        "give its seconds to live in {names.TTL}",
    ),
    f"{names.DURABILITY}: geo": ("frontend/rest/upload_headers.py", "{names.DURABILITY}: geo"),
    "defaultDurability: geo": ("frontend/containers/changes.py", "defaultDurability: geo"),
    "namedBlobMode is DISABLED": ("frontend/rest/named_rules.py", "namedBlobMode is DISABLED"),
    "at snapshotVersion 3": ("frontend/containers/changes.py", "at snapshotVersion {version}"),
    "accessControlAllowOrigin lists": ("ambry/rest/accounts.py", "accessControlAllowOrigin lists"),
    "AmbryClient(tls=TLSConfig(ca=...)), or AMBRY_CA": (
        "ambry/client/wire/refusals.py",
        "AmbryClient(tls=TLSConfig(ca=...)), or AMBRY_CA",
    ),
    "AmbryClient(key=...), AMBRY_KEY_FILE": ("ambry/client/wire/refusals.py", "AmbryClient(key=...), AMBRY_KEY_FILE"),
    "AmbryClient(endpoints), or AMBRY_ENDPOINTS with AmbryClient.from_env()": (
        "ambry/client/wire/refusals.py",
        "AmbryClient(endpoints), or AMBRY_ENDPOINTS with AmbryClient.from_env()",
    ),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_what_the_api_calls_otherwise_is_said_by_its_option(message: str) -> None:
    """`ambry account create` of one that exists said "say its accountId 7 to change it"."""
    file, said = MESSAGES[message]
    assert said in Path(ambry.__file__).parents[1].joinpath(file).read_text(encoding="utf-8")
    told = in_options(message)
    assert "ambry " in told or "--" in told or told == "at version 3"
    assert not any(word in told for word in ("x-ambry", "accountId", "containerId", "snapshotVersion", "AmbryClient"))


def test_all_of_them_are_tried() -> None:
    assert len(MESSAGES) == len(IN_OPTIONS)


def test_an_error_says_the_command_and_what_it_quotes_stays() -> None:
    error = AlreadyExists("there is an account 'namedBlobMode is DISABLED'; say its accountId 7 to change it")
    assert describe(error) == "there is an account 'namedBlobMode is DISABLED'; `ambry account set` changes it"
    assert in_options("the dataset's namedBlobMode is DISABLED") == "the dataset's --names is DISABLED"
