"""Sources and environments in the store, by what they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ambry import AmbryClient, InvalidRequest
from ambry.ml.training.environments import environment_text, list_packages, store_tree, stored_tree
from tests.unit.ambry.ml.training.test_training_packing import environment


def test_an_environment_is_found_again_by_its_id(client: AmbryClient, tmp_path: Path) -> None:
    said: list[str] = []
    made = store_tree(client, "venv", environment(tmp_path / "env"), tell=said.append)
    assert said == [
        f"packs {tmp_path / 'env'} (an environment)",
        f"sends {made.size:,} bytes of an environment, unless the store has them",
    ]
    assert stored_tree(client, made.id) == made
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/made-1.0-py3-none-any.whl").write_bytes(b"wheel")
    wheels = store_tree(client, "wheels", tmp_path / "wheels")
    assert stored_tree(client, wheels.id).kind == "wheels"
    other = client.put(b"something else").id
    with pytest.raises(InvalidRequest, match="is no environment of default/default; `ambry train pack` stores one"):
        stored_tree(client, str(other))


def test_an_environment_whose_archive_is_damaged_is_told(client: AmbryClient, tmp_path: Path) -> None:
    made = store_tree(client, "venv", environment(tmp_path / "env"))
    whole = client.get_bytes(made.id)
    directory = whole.index(b"PK\x01\x02")
    strange = bytearray(whole)
    strange[directory + 6] = 99  # The version of zip that it takes.
    named = bytearray(whole)
    named[directory + 8 : directory + 10] = (0x800).to_bytes(2, "little")
    named[directory + 46] = 0xFF  # No UTF-8.
    for damaged in (b"", b"no archive", whole[: len(whole) // 2], whole[:-3], bytes(strange), bytes(named)):
        digest = hashlib.sha256(damaged).hexdigest()
        blob = client.put(damaged, name=f"training.trees/sha256/{digest}").id
        with pytest.raises(InvalidRequest, match=f"blob {blob} is no archive of an environment "):
            stored_tree(client, str(blob))


def test_packages_that_are_not_sent_are_listed(client: AmbryClient) -> None:
    made = list_packages(client)
    text = client.get_bytes(made.id).decode()
    assert made.kind == "listed" and text.startswith("# python==3.") and "\npytest==" in text
    assert list_packages(client) == made
    assert environment_text("python==3.11.7", ["b==2", "A==1", "b==2"]) == "# python==3.11.7\nA==1\nb==2\n"
