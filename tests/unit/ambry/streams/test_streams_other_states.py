"""States of other publishers are left out, and of ordinary changes one at most is asked about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry import AmbryClient, BlobId
from ambry.client.changes import ToldChange
from ambry.client.refs import NameRef
from ambry.ids import IdKind
from ambry.streams.other_states import LOOKS_MAX, OtherStates, is_state
from ambry.streams.state import SIZE_MAX, PublisherState, StateBlob
from tests.support.named_frontend import named_frontend


def blob(number: int) -> BlobId:
    return BlobId.make(
        kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=0, uuid=number.to_bytes(16, "big")
    )


STATES = [blob(number) for number in range(4)]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[AmbryClient]:
    with named_frontend(tmp_path / "meta.sqlite") as url, AmbryClient(url) as made:
        yield made


class Asked:
    def __init__(self) -> None:
        self.of: list[BlobId] = []
        self.states = OtherStates(self._is_state)

    def _is_state(self, blob: BlobId) -> bool:
        self.of.append(blob)
        return blob in STATES


def put(blob: BlobId, size: int = 300) -> ToldChange:
    return ToldChange(type="blob.put", id=blob, size=size)


def named(blob: BlobId, name: str) -> ToldChange:
    return ToldChange(type="name.put", name=name, id=blob, size=300)


def test_whatever_publishers_there_are_their_tokens_are_left_out() -> None:
    asked = Asked()
    assert asked.states.without([put(STATES[0]), put(STATES[1]), named(STATES[0], "a"), named(STATES[2], "b")]) == []
    assert asked.of == STATES[:3], "each once"
    assert asked.states.without([ToldChange(type="blob.delete", id=each) for each in STATES[:3]]) == []
    gone = ToldChange(type="blob.delete", id=STATES[3])
    assert asked.states.without([gone]) == [gone] and len(asked.of) == 3


@pytest.mark.parametrize(
    "beside",
    [
        ToldChange(type="version.put", dataset="d", version="1", id=blob(100), size=3),
        ToldChange(type="alias.put", dataset="d", alias="a", version="1"),
        put(blob(101), SIZE_MAX + 1),
    ],
)
def test_beside_what_cannot_be_a_state_nobody_is_asked(beside: ToldChange) -> None:
    asked, page = Asked(), [put(STATES[0]), beside]
    assert asked.states.without(page) == page and asked.of == []


def test_of_ordinary_changes_one_is_asked_about_and_of_many_none() -> None:
    asked = Asked()
    page = [put(blob(200 + number)) for number in range(LOOKS_MAX)]
    assert asked.states.without(page) == page and asked.of == [page[0].id]
    page.append(put(STATES[0]))
    assert asked.states.without(page) == page and len(asked.of) == 1


def test_a_state_is_known_by_its_content_type(client: AmbryClient) -> None:
    here = (client.default_account, client.default_container)
    StateBlob(client, NameRef("anywhere", *here), here).store(PublisherState(cluster="c", topic="t", token="x"))
    assert is_state(client, client.head("anywhere").id)
    ordinary = client.put(b"{}", content_type="application/json")
    assert not is_state(client, ordinary.id)
    client.delete(ordinary.id)
    assert not is_state(client, ordinary.id)
