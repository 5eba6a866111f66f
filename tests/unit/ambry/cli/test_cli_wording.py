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
    "out exists; pass overwrite=True (--overwrite) to replace it": (
        "ambry/client/part_file.py",
        "exists; pass overwrite=True (--overwrite) to replace it",
    ),
    "overwrite=True (--overwrite) lets it point to this blob": (
        "ambry/client/aio/names.py",
        "overwrite=True (--overwrite) lets it point to this blob",
    ),
    "without if_absent (--if-absent) it would point": (
        "ambry/client/aio/blobs.py",
        "without if_absent (--if-absent) it would point",
    ),
    "name it otherwise (filename=, --filename)": ("ambry/client/wire/blobs.py", "(filename=, --filename)"),
    "which no file may replace; stream the blob (get, ambry cat)": (
        "ambry/client/part_file.py",
        "stream the blob (get, ambry cat)",
    ),
    "give 1 to 9 seconds, or None for ever": ("ambry/client/wire/blobs.py", "seconds, or None for ever"),
    "5 bytes are kept in out.part; the same call goes on from there": (
        "ambry/client/beside.py",
        "the same call goes on from there",
    ),
    "a pickle runs code when it is read; say trust=True if you trust who made it": (
        "ambry/ml/models/reading.py",
        "say trust=True if you trust who made it",
    ),
    "or say newest=True": ("ambry/ml/models/lifecycle.py", "or say newest=True"),
    "leave out newest=True": ("ambry/ml/models/lifecycle.py", "leave out newest=True"),
    "or say kind='pickle'": ("ambry/ml/models/saving.py", "kind='pickle', which"),
    "which nobody loads without trust=True": ("ambry/ml/models/saving.py", "which nobody loads without trust=True"),
    "or allow it (allow_empty=True, --allow-empty)": (
        "ambry/ml/snapshots/writing.py",
        "(allow_empty=True, --allow-empty)",
    ),
    "check the endpoint, or pass verify='if-present'": ("ambry/client/transfer.py", "or pass verify='if-present'"),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_what_the_api_calls_otherwise_is_said_by_its_option(message: str) -> None:
    """`ambry account create` of one that exists said "say its accountId 7 to change it"."""
    file, said = MESSAGES[message]
    assert said in Path(ambry.__file__).parents[1].joinpath(file).read_text(encoding="utf-8")
    told = in_options(message)
    assert any(word in told for word in ("ambry ", "--", "AMBRY_", "at version 3", "or forever", "same command"))
    foreign = (
        "x-ambry",
        "accountId",
        "containerId",
        "snapshotVersion",
        "AmbryClient",
        "verify=",
        "=True",
        "=False",
        "filename=",
        "None",
        "(--",
    )
    assert not any(word in told for word in foreign) or told == "name it otherwise (--filename)"


def test_all_of_them_are_tried() -> None:
    assert len(MESSAGES) == len(IN_OPTIONS)


def test_an_error_says_the_command_and_what_it_quotes_stays() -> None:
    error = AlreadyExists("there is an account 'namedBlobMode is DISABLED'; say its accountId 7 to change it")
    assert describe(error) == "there is an account 'namedBlobMode is DISABLED'; `ambry account set` changes it"
    assert in_options("the dataset's namedBlobMode is DISABLED") == "the dataset's --names is DISABLED"
