"""The state of a publisher: one run at a time has it, in a blob or in a file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient, BlobNotFound
from ambry.client.refs import NameRef
from ambry.errors import AccessDenied, AmbryError, InvalidRequest, RetentionLocked, Unavailable
from ambry.streams.state import Overtaken, PublisherState, StateBlob, StateFile, begin, decode, encode
from tests.support.named_frontend import named_frontend

KEPT = PublisherState(cluster="c", topic="t", token="abc", sequence=3, epoch=2, run="00ff")
WRITTEN = '{"format":1,"cluster":"c","topic":"t","token":"abc","sequence":3,"epoch":2,"run":"00ff","topic_id":""}'


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AmbryClient]:
    path = tmp_path_factory.mktemp("meta") / "meta.sqlite"
    with named_frontend(path) as url, AmbryClient(url) as made:
        yield made


def new_run() -> str:
    return uuid.uuid4().hex


def named(client: AmbryClient, name: str) -> StateBlob:
    here = (client.default_account, client.default_container)
    return StateBlob(client, NameRef(name, *here), here)


def test_a_state_is_this_text() -> None:
    assert encode(KEPT) == WRITTEN
    assert decode(WRITTEN.encode(), "x") == KEPT


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\xff\xfe" * 40,
        b"[]",
        b"{}",
        b"[" * 50_000,
        WRITTEN[:40].encode(),
        WRITTEN.replace('"format":1', '"format":2').encode(),
        WRITTEN.replace('"sequence":3', '"sequence":-3').encode(),
        WRITTEN.replace('"sequence":3', '"sequence":true').encode(),
        WRITTEN.replace('"sequence":3', '"sequence":9223372036854775808').encode(),
        WRITTEN.replace('"sequence":3', f'"sequence":{"9" * 5_000}').encode(),
        WRITTEN.replace('"abc"', "7").encode(),
        WRITTEN.replace('"run"', '"ran"').encode(),
        b" " * 70_000 + WRITTEN.encode(),
    ],
)
def test_a_state_that_no_publisher_wrote_is_named_with_what_to_do(
    data: bytes, client: AmbryClient, tmp_path: Path
) -> None:
    """Bytes that are no text were a traceback; of the others nobody learned which state it was."""
    path = tmp_path / "state"
    path.write_bytes(data)
    blob = named(client, "states/damaged")
    client.put(data, name="states/damaged", if_absent=False)
    for keeper, said in ((StateFile(path), str(path)), (blob, str(blob))):
        with pytest.raises(
            InvalidRequest, match="is none that a publisher of this release wrote; name another"
        ) as told:
            keeper.load()
        assert said in str(told.value) and "--since" in str(told.value)


def test_the_next_run_goes_on_and_the_one_before_finds_out(client: AmbryClient) -> None:
    first = named(client, "states/next")
    began = begin(first, run=new_run(), cluster="c", topic="t", topic_id="", since="beginning")
    assert (began.epoch, began.token, began.sequence) == (1, "beginning", 0)
    first.store(replace(began, token="t1", sequence=5))
    second = named(client, "states/next")
    went_on = begin(second, run=new_run(), cluster="c", topic="t", topic_id="", since="now")
    assert (went_on.epoch, went_on.token, went_on.sequence) == (2, "t1", 5)
    with pytest.raises(Overtaken, match="another publisher goes on"):
        first.store(replace(began, token="t2", sequence=6))
    second.store(replace(went_on, token="t3", sequence=7))
    loaded = named(client, "states/next").load()
    assert loaded is not None and loaded.token == "t3"


def test_a_run_that_begins_again_begins_once(client: AmbryClient) -> None:
    before = named(client, "states/again")
    before.store(KEPT)
    (of_before,) = before.own
    put, state = client.put, named(client, "states/again")

    def lost(*each: Any, **said: Any) -> None:
        put(*each, **said)
        raise Unavailable("the answer was lost")

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Unavailable):
        patched.setattr(client, "put", lost)
        begin(state, run="mine", cluster="c", topic="t", topic_id="", since="now")
    assert begin(state, run="mine", cluster="c", topic="t", topic_id="", since="now") == replace(
        KEPT, epoch=KEPT.epoch + 1, run="mine"
    )
    assert not _is_there(client, of_before), "nobody reads it again"
    # Deleted between two attempts: as it is for whoever comes then.
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Unavailable):
        patched.setattr(client, "put", lost)
        begin(state, run="next", cluster="c", topic="t", topic_id="", since="now")
    client.delete("states/again")
    began = begin(state, run="next", cluster="c", topic="t", topic_id="", since="now")
    assert (began.epoch, began.token, began.run) == (1, "now", "next")


def test_of_two_that_begin_at_once_one_is_told(client: AmbryClient) -> None:
    one, other = named(client, "states/both"), named(client, "states/both")
    assert one.load() is None and other.load() is None
    one.store(KEPT)
    with pytest.raises(Overtaken):
        other.store(replace(KEPT, run="other"))


@pytest.mark.parametrize("unheard", [1, 2])
def test_a_token_whose_answer_was_lost_is_its_own(
    client: AmbryClient, monkeypatch: pytest.MonkeyPatch, unheard: int
) -> None:
    name = f"states/unheard-{unheard}"
    state = named(client, name)
    state.store(KEPT)
    lost = put_unheard(client, monkeypatch, state, unheard)
    # Kept again as it was, and another one.
    if unheard == 1:
        state.store(replace(KEPT, sequence=4))
    state.store(replace(KEPT, sequence=9))
    loaded = named(client, name).load()
    assert loaded is not None and loaded.sequence == 9
    # What was not heard of is known, so it is not published, and is gone.
    assert set(lost) < state.own
    assert [each for each in sorted(state.own) if _is_there(client, each)] == [str(client.head(name).id)]


def test_one_that_was_overtaken_after_a_lost_answer_ends(client: AmbryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = named(client, "states/unheard-overtaken")
    began = begin(first, run=new_run(), cluster="c", topic="t", topic_id="", since="beginning")
    put_unheard(client, monkeypatch, first, 1, began)
    second = named(client, "states/unheard-overtaken")
    assert begin(second, run=new_run(), cluster="c", topic="t", topic_id="", since="now").sequence == 4
    with pytest.raises(Overtaken, match="another publisher goes on"):
        first.store(replace(began, sequence=9))


def test_a_state_that_was_deleted_is_told(client: AmbryClient) -> None:
    state = named(client, "states/deleted")
    state.store(KEPT)
    client.delete("states/deleted")
    with pytest.raises(Overtaken, match="was deleted while this publisher ran"):
        state.store(replace(KEPT, sequence=4))


def put_unheard(
    client: AmbryClient,
    monkeypatch: pytest.MonkeyPatch,
    state: StateBlob,
    times: int,
    kept: PublisherState = KEPT,
) -> list[str]:
    """Have states be stored, the answers to which are lost: sequences from 4 on, or of the second one again. Their blobs."""
    put, made = client.put, []

    def lost(*each: Any, **said: Any) -> None:
        made.append(str(put(*each, **said).id))
        raise Unavailable("the answer was lost")

    for sequence in range(4, 4 + times):
        with monkeypatch.context() as patched:
            patched.setattr(client, "put", lost)
            with pytest.raises(Unavailable):
                state.store(replace(kept, sequence=sequence))
    return made


def test_the_blobs_that_are_known_are_bounded_and_the_newest_ones(
    client: AmbryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ambry.streams.state.HISTORY_MAX", 3)
    state, made = named(client, "states/bounded"), []
    for sequence in range(7):
        state.store(replace(KEPT, sequence=sequence))
        made.append(str(client.head("states/bounded").id))
    assert state.own == set(made[-3:])
    later = named(client, "states/bounded")
    later.load()
    assert later.own == set(made[-3:])
    later.store(replace(KEPT, sequence=7))
    assert later.own == {*made[-2:], str(client.head("states/bounded").id)}


def test_only_the_newest_blob_of_a_state_stays_and_all_are_known(client: AmbryClient) -> None:
    state = named(client, "states/blobs")
    for number in range(3):
        state.store(replace(KEPT, sequence=number))
    assert len(state.own) == 3
    living = [each for each in sorted(state.own) if _is_there(client, each)]
    assert living == [str(client.head("states/blobs").id)]
    later = named(client, "states/blobs")
    later.load()
    assert later.own == state.own and later.name == "states/blobs"


def _is_there(client: AmbryClient, blob: str) -> bool:
    try:
        client.head(blob)
    except BlobNotFound:
        return False
    return True


def test_a_state_elsewhere_has_no_name_here(client: AmbryClient) -> None:
    place = NameRef("states/x", client.default_account, client.default_container)
    assert StateBlob(client, place, ("another", "container")).name is None


def test_another_topic_or_cluster_is_refused(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state")
    begin(file, run=new_run(), cluster="c", topic="t", topic_id="", since="beginning")
    for cluster, topic in (("c", "other"), ("other", "t")):
        with pytest.raises(InvalidRequest, match=r"the state .*/state is of topic t in the Kafka cluster c"):
            begin(file, run=new_run(), cluster=cluster, topic=topic, topic_id="", since="beginning")


def test_a_file_is_of_one_process(tmp_path: Path) -> None:
    one, other = StateFile(tmp_path / "state"), StateFile(tmp_path / "state")
    with (
        one.locked(),
        pytest.raises(InvalidRequest, match="another process publishes with"),
        other.locked(),
    ):
        pass
    with other.locked():
        other.store(KEPT)
        assert one.load() == KEPT


def test_what_is_refused_leaves_no_lock_beside_the_file(tmp_path: Path) -> None:
    """An empty `state.lock` stayed beside a state that was not even made."""
    file = StateFile(tmp_path / "state")
    with pytest.raises(InvalidRequest), file.locked():
        raise InvalidRequest("no such topic")
    assert list(tmp_path.iterdir()) == []
    with file.locked():
        file.store(KEPT)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_topic_that_was_deleted_and_made_again_is_refused() -> None:
    keeper = KeptInMemory()
    began = begin(keeper, run=new_run(), cluster="c", topic="t", topic_id="", since="beginning")
    assert begin(keeper, run=new_run(), cluster="c", topic="t", topic_id="one", since="now").topic_id == "one"
    # Nothing was published on it.
    assert begin(keeper, run=new_run(), cluster="c", topic="t", topic_id="two", since="now").topic_id == "two"
    assert began.run != keeper.kept.run
    keeper.store(replace(keeper.kept, sequence=40))
    assert begin(keeper, run=new_run(), cluster="c", topic="t", topic_id="", since="now").topic_id == "two"
    with pytest.raises(InvalidRequest, match=r"topic t was deleted and made again.*40 messages .* another state"):
        begin(keeper, run=new_run(), cluster="c", topic="t", topic_id="three", since="now")
    assert keeper.kept.topic_id == "two"


class KeptInMemory:
    """A state that nobody else has."""

    name = None

    def __init__(self) -> None:
        self.own: set[str] = set()
        self.kept = KEPT
        self._is_new = True

    def load(self) -> PublisherState | None:
        return None if self._is_new else self.kept

    def store(self, kept: PublisherState) -> None:
        self.kept, self._is_new = kept, False


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (InvalidRequest("the container a/c takes no blob that lives for ever: give its seconds to live"), "for ever"),
        (RetentionLocked("the container a/c is locked until 2030: nothing in it is overwritten before"), "until 2030"),
    ],
)
def test_a_container_that_cannot_have_the_state_is_told_with_the_way_out(
    refusal: AmbryError, why: str, client: AmbryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an option for its life, which `ambry changes` does not have, was spoken, and not of --state."""

    def refuse(*_: Any, **__: Any) -> None:
        raise refusal

    monkeypatch.setattr(client, "put", refuse)
    with pytest.raises(type(refusal)) as told:
        named(client, "states/refused").store(KEPT)
    assert "states/refused cannot be kept (the container a/c " in str(told.value) and f"{why}); keep it" in str(
        told.value
    )
    assert "--state FILE" in str(told.value)


def test_a_key_that_may_not_delete_is_told_once(client: AmbryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each token left a blob, one a second, and nobody was told."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AccessDenied("this key has no delete there")

    told: list[str] = []
    here = (client.default_account, client.default_container)
    state = StateBlob(client, NameRef("states/kept", *here), here, told.append)
    monkeypatch.setattr(client, "delete", refuse)
    for sequence in range(4):
        state.store(replace(KEPT, sequence=sequence))
    [only] = told
    assert "each state that is replaced stays there for ever; give the key delete there" in only
