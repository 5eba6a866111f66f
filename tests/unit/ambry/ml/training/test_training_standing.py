"""What a run replaces is what stood there when it had the job."""

from __future__ import annotations

from typing import Any

import pytest

from ambry import AmbryClient, NameRef, UpdateConflict
from ambry.errors import AlreadyExists
from ambry.ml.training.standing import delete_standing, replace_standing, standing


@pytest.fixture
def ref(name: str) -> NameRef:
    return NameRef(name, "default", "default")


def test_what_stood_there_is_replaced_and_nothing_else(client: AmbryClient, ref: NameRef) -> None:
    assert standing(client, ref) is None
    replace_standing(client, ref, None, b"1")
    first = standing(client, ref)
    assert first is not None and client.get_bytes(first) == b"1"
    with pytest.raises(UpdateConflict, match="was changed by a later submission of the job: this one ends"):
        replace_standing(client, ref, None, b"2")
    replace_standing(client, ref, first, b"2")
    with pytest.raises(UpdateConflict):
        replace_standing(client, ref, first, b"3")
    with pytest.raises(UpdateConflict):
        delete_standing(client, first)
    second = standing(client, ref)
    assert client.get_bytes(ref) == b"2"
    delete_standing(client, second)
    delete_standing(client, second)
    with pytest.raises(UpdateConflict):
        replace_standing(client, ref, second, b"3")
    assert standing(client, ref) is None


def test_a_put_that_overlaps_or_whose_answer_was_lost_is_its_own(
    client: AmbryClient, ref: NameRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, how = client.put, iter(("overlaps", "unheard"))

    def disturbed(*args: Any, **named: Any) -> Any:
        if next(how) == "overlaps":
            raise UpdateConflict("another put of this name is on its way")
        put(*args, **named)
        raise AlreadyExists("it is there")

    monkeypatch.setattr(client, "put", disturbed)
    etag = replace_standing(client, ref, None, b"1")
    found = standing(client, ref)
    assert found is not None and found.etag == etag and next(how, None) is None
