"""Names for vocabularies: proposed, decided once, published once, and read by who knows only the older ones."""

from __future__ import annotations

import threading
from itertools import count
from typing import Any

import pytest

from ambry import AmbryClient, BlobNotFound, DataCorrupt, InvalidRequest, UpdateConflict
from ambry.client.refs import NameRef, VersionRef
from ambry.ml.features import publishing
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.publishing import load, publish
from ambry.ml.features.reading import parse_definitions
from ambry.ml.features.urn import Reference
from ambry.ml.vocab import ProposalState, accept, proposal, proposals, propose, reject
from ambry.ml.vocab.document import VocabProposal, VocabReview
from tests.support.fake_clock import SettableClock

_numbers = count()
TEXT = """\
a: {valType: INT, dims: [kinds-1-0]}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
days: {type: discrete}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""
KINDS = Reference.parse("n/kinds-1-0")
SIGNED: dict[str, Any] = {"author": "ann", "reason": "new in spring"}
DECIDED: dict[str, Any] = {"author": "bob", "reason": "seen in the logs"}


@pytest.fixture
def name(client: AmbryClient) -> str:
    """Of a dataset with definitions."""
    made = f"definitions-{next(_numbers)}"
    publish(client, made, FeatureMetadata.of([parse_definitions(TEXT, "n")]))
    return made


def names_of(client: AmbryClient, place: str) -> dict[int, str]:
    return dict(load(client, place).metadata.vocabulary(KINDS).name_of)


def test_an_accepted_proposal_is_the_next_minor_version_with_author_and_reason(client: AmbryClient, name: str) -> None:
    made = propose(client, name, "kinds", ["Share", "Größe"], **SIGNED)
    assert (made.state, str(made.proposal.dimension)) == (ProposalState.OPEN, "n/kinds-1-0")
    assert names_of(client, name) == {0: "OUT_OF_VOCAB", 1: "Comment", 2: "Click"}
    done = accept(client, name, made.id, author="bob", reason="seen in the logs, größer")
    assert (done.state, done.version) == (ProposalState.PUBLISHED, "1.1.0")
    assert names_of(client, name) == {0: "OUT_OF_VOCAB", 1: "Comment", 2: "Click", 3: "Share", 4: "Größe"}
    told = client.head(VersionRef(name, "1.1.0")).metadata
    assert {key: told[key] for key in told if key.startswith("vocab-")} == {
        "vocab-proposal": made.id,
        "vocab-author": "ann",
        "vocab-reason": "new in spring",
        "vocab-reviewer": "bob",
        "vocab-review-reason": "seen in the logs, größer",
    }
    assert list(proposals(client, name)) == [done] == [proposal(client, name, made.id)]


def test_who_reads_with_an_older_vocabulary_reads_new_names_as_0(client: AmbryClient, name: str) -> None:
    old = load(client, name)
    accept(client, name, propose(client, name, KINDS, ["Share"], **SIGNED).id, **DECIDED)
    new = load(client, name)
    for known in ("Comment", "Click"):
        assert old.metadata.vocabulary(KINDS).encode(known) == new.metadata.vocabulary(KINDS).encode(known) > 0
    assert (old.metadata.vocabulary(KINDS).encode("Share"), new.metadata.vocabulary(KINDS).encode("Share")) == (0, 3)
    assert old.metadata.vocabulary(KINDS).decode(3) == "OUT_OF_VOCAB"
    assert load(client, f"{name}@{old.version}").metadata == old.metadata


def test_a_part_of_a_proposal_can_be_accepted_and_the_rest_is_not_there(client: AmbryClient, name: str) -> None:
    made = propose(client, name, KINDS, ["Share", "Shar", "React"], **SIGNED)
    done = accept(client, name, made.id, names=["React", "Share"], **DECIDED)
    assert done.review is not None and done.review.names == ("Share", "React")
    assert names_of(client, name) == {0: "OUT_OF_VOCAB", 1: "Comment", 2: "Click", 3: "Share", 4: "React"}
    with pytest.raises(InvalidRequest, match="does not have 'Other'"):
        accept(client, name, made.id, names=["Other"], **DECIDED)


def test_what_was_decided_stays(client: AmbryClient, name: str) -> None:
    made = propose(client, name, KINDS, ["Shar"], **SIGNED)
    gone = reject(client, name, made.id, author="bob", reason="a typing error")
    assert (gone.state, gone.version) == (ProposalState.REJECTED, "")
    assert reject(client, name, made.id, author="eve", reason="me too").review == gone.review
    with pytest.raises(UpdateConflict, match=r"bob has rejected the proposal .* before \(a typing error\)"):
        accept(client, name, made.id, **DECIDED)
    assert [entry.version for entry in client.versions(name)] == ["1.0.0"]
    other = propose(client, name, KINDS, ["Share", "React"], **SIGNED)
    done = accept(client, name, other.id, **DECIDED)
    assert accept(client, name, other.id, author="eve", reason="me too") == done
    with pytest.raises(UpdateConflict, match="bob has accepted"):
        reject(client, name, other.id, **DECIDED)
    with pytest.raises(UpdateConflict, match="bob has accepted"):
        accept(client, name, other.id, names=["Share"], **DECIDED)
    assert [each.state.value for each in proposals(client, name)] == ["rejected", "published"]


def test_reviewers_at_once_lose_nothing(client: AmbryClient, url: str, name: str) -> None:
    made = [propose(client, name, KINDS, [f"Kind {number}"], **SIGNED) for number in range(6)]
    versions: list[str] = []
    start = threading.Barrier(len(made))

    def decide(id: str) -> None:
        with AmbryClient([url]) as own:
            start.wait()
            versions.append(accept(own, name, id, **DECIDED).version)

    threads = [threading.Thread(target=decide, args=(each.id,)) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == [f"1.{number}.0" for number in range(1, 7)]
    found = names_of(client, name)
    assert sorted(found) == list(range(9)) and set(found.values()) >= {f"Kind {number}" for number in range(6)}
    for before, after in zip(["1.0.0", *sorted(versions)], sorted(versions), strict=False):
        assert names_of(client, f"{name}@{before}").items() < names_of(client, f"{name}@{after}").items()


def test_of_one_who_accepts_and_one_who_rejects_at_once_one_has_decided(
    client: AmbryClient, url: str, name: str
) -> None:
    made = propose(client, name, KINDS, ["Share"], **SIGNED)
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def decide(how: Any) -> None:
        with AmbryClient([url]) as own:
            start.wait()
            try:
                outcomes.append(how(own, name, made.id, **DECIDED).state.value)
            except UpdateConflict:
                outcomes.append("too late")

    threads = [threading.Thread(target=decide, args=(how,)) for how in (accept, reject)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = proposal(client, name, made.id).state
    assert sorted(outcomes) == sorted(["too late", state.value])
    assert ("Share" in names_of(client, name).values()) is (state is ProposalState.PUBLISHED)


def test_a_reviewer_who_was_cut_off_is_gone_on_with(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = propose(client, name, KINDS, ["Share"], **SIGNED)
    put = AmbryClient.put

    def cut_off(self: AmbryClient, data: Any, **options: Any) -> Any:
        if str(options["name"].name).endswith("published.json"):
            raise KeyboardInterrupt
        return put(self, data, **options)

    with monkeypatch.context() as patched:
        patched.setattr(AmbryClient, "put_version", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            accept(client, name, made.id, **DECIDED)
    assert proposal(client, name, made.id).state is ProposalState.ACCEPTED
    with monkeypatch.context() as patched:
        patched.setattr(AmbryClient, "put", cut_off)
        with pytest.raises(KeyboardInterrupt):
            accept(client, name, made.id, **DECIDED)
    publish(client, name, load(client, name).metadata.with_names(KINDS, ["Other"]))
    assert accept(client, name, made.id, author="eve", reason="goes on").version == "1.1.0"
    assert [entry.version for entry in client.versions(name)] == ["1.0.0", "1.1.0", "1.2.0"]


def test_names_that_somebody_else_brought_meanwhile_keep_their_ids(client: AmbryClient, name: str) -> None:
    one = propose(client, name, KINDS, ["Share"], **SIGNED)
    other = propose(client, name, KINDS, ["React", "Share"], **SIGNED)
    both = propose(client, name, KINDS, ["Share", "React"], **SIGNED)
    assert accept(client, name, one.id, **DECIDED).version == "1.1.0"
    assert accept(client, name, other.id, **DECIDED).version == "1.2.0"
    assert accept(client, name, both.id, **DECIDED).version == "1.2.0"
    assert names_of(client, name) == {0: "OUT_OF_VOCAB", 1: "Comment", 2: "Click", 3: "Share", 4: "React"}


@pytest.mark.parametrize(
    ("dimension", "names", "signed", "words"),
    [
        ("kinds", ["Click"], SIGNED, "n/kinds-1-0 has 'Click' already"),
        ("kinds", ["Share", "Share"], SIGNED, "stands twice"),
        ("kinds", ["OUT_OF_VOCAB"], SIGNED, "stands twice"),
        ("kinds", [" Share"], SIGNED, "is not a name in a vocabulary"),
        ("kinds", [], SIGNED, "1 to 10000 names"),
        ("days", ["Monday"], SIGNED, "not categorical"),
        ("weeks", ["First"], SIGNED, "'weeks' is not defined; there are n/days-1-0, n/kinds-1-0"),
        ("kinds", ["Share"], {"author": "", "reason": "x"}, "say who"),
        ("kinds", ["Share"], {"author": "ann", "reason": " "}, "say why"),
        ("kinds", ["Share"], {"author": "ann", "reason": "x" * 501}, "1 to 500 characters"),
        ("kinds", ["\ud800"], SIGNED, "printable text"),
        ("kinds", ["\x1b[31mShare"], SIGNED, "printable text"),
        ("kinds", ["\u202eerahS"], SIGNED, "printable text"),
        ("kinds", [1], SIGNED, "printable text"),
        ("kinds", "Share", SIGNED, "the names are a list"),
        ("kinds", ["x" * 1001], SIGNED, "at most 1000"),
        ("kinds", [f"{number:04}" + "x" * 900 for number in range(3_000)], SIGNED, "propose the names in parts"),
    ],
)
def test_what_cannot_be_proposed_is_told(
    client: AmbryClient, name: str, dimension: str, names: list[str], signed: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        propose(client, name, dimension, names, **signed)
    assert list(proposals(client, name)) == []


def test_what_is_not_there_or_not_as_it_was_is_told(client: AmbryClient, name: str) -> None:
    with pytest.raises(BlobNotFound):
        propose(client, "none", "kinds", ["Share"], **SIGNED)
    with pytest.raises(BlobNotFound, match="there is no proposal 0123456789ab"):
        accept(client, name, "0123456789ab", **DECIDED)
    with pytest.raises(InvalidRequest, match="12 characters"):
        reject(client, name, "../x", **DECIDED)
    made = propose(client, name, KINDS, ["Share"], **SIGNED)
    client.put(
        made.proposal.encode().replace(b"Share", b"Shame"), name=NameRef(f"{name}.vocab/{made.id}/proposal.json")
    )
    with pytest.raises(DataCorrupt, match="not the proposal that was made"):
        accept(client, name, made.id, **DECIDED)


def test_a_dimension_that_is_gone_takes_no_names_and_nothing_is_decided(client: AmbryClient, name: str) -> None:
    made = propose(client, name, KINDS, ["Share"], **SIGNED)
    publish(client, name, FeatureMetadata.of([parse_definitions("days: {type: discrete}\n", "n")]))
    with pytest.raises(InvalidRequest, match="n/kinds-1-0 is not defined"):
        accept(client, name, made.id, **DECIDED)
    assert proposal(client, name, made.id).state is ProposalState.OPEN


def test_a_proposal_is_the_same_whoever_makes_it_again(client: AmbryClient, name: str) -> None:
    clock = SettableClock()
    one = propose(client, name, KINDS, ["Share"], clock=clock, **SIGNED)
    assert propose(client, name, KINDS, ["Share"], clock=clock, **SIGNED) == one
    assert len(list(proposals(client, name))) == 1


def test_documents_are_read_as_they_were_written_and_nothing_else_is() -> None:
    made = VocabProposal(dimension=KINDS, names=("Größe",), author="ann", reason="x", created_ms=5)
    assert made.encode() == (
        '{"author":"ann","created_ms":5,"dimension":"n/kinds-1-0","format":1,"names":["Größe"],"reason":"x"}'.encode()
    )
    assert VocabProposal.parse(made.encode()) == made
    said = VocabReview(proposal=made.id, verdict="rejected", names=(), author="bob", reason="y", created_ms=6)
    assert VocabReview.parse(said.encode(), made) == said
    for wrong in (b"", b"[]", b'{"format":2}', made.encode()[:-1], made.encode().replace(b"n/kinds-1-0", b"kinds")):
        with pytest.raises(DataCorrupt):
            VocabProposal.parse(wrong)
        with pytest.raises(DataCorrupt):
            VocabReview.parse(wrong, made)
    with pytest.raises(InvalidRequest, match="accepted with names"):
        VocabReview(proposal=made.id, verdict="accepted", names=(), author="bob", reason="y", created_ms=6)


def test_a_change_needs_definitions(client: AmbryClient) -> None:
    with pytest.raises(BlobNotFound, match="no definitions"):
        publishing.publish_change(client, f"definitions-{next(_numbers)}", lambda metadata: metadata)


def test_a_name_that_could_not_be_read_again_is_not_published(client: AmbryClient, name: str) -> None:
    """One of 200,000 characters was accepted; after it nobody could read the definitions, nor publish over them."""
    with pytest.raises(InvalidRequest, match="200000 characters; a name in a vocabulary has at most 1000"):
        publishing.publish_change(client, name, lambda metadata: metadata.with_names(KINDS, ["x" * 200_000]))
    publishing.publish_change(client, name, lambda metadata: metadata.with_names(KINDS, ['"' * 1_000]))
    assert names_of(client, name)[3] == '"' * 1_000


def test_what_cannot_be_read_again_is_refused_whatever_it_is(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ambry.ml.features.package.PACKAGE_SIZE_MAX", 300)
    made = propose(client, name, KINDS, [f"name {number}" for number in range(30)], **SIGNED)
    with pytest.raises(InvalidRequest, match="more than 300 bytes are not read"):
        accept(client, name, made.id, **DECIDED)
    assert proposal(client, name, made.id).state is ProposalState.OPEN
    with pytest.raises(InvalidRequest, match="more than 300 bytes are not read"):
        publishing.publish_change(client, name, lambda metadata: metadata.with_names(KINDS, made.proposal.names))
    assert [entry.version for entry in client.versions(name)] == ["1.0.0"]


def test_reasons_in_any_script_go_into_a_version(client: AmbryClient, name: str) -> None:
    """Decided first, such a proposal could never be published: its reasons took more than the headers of a version have."""
    signed: dict[str, Any] = {"author": "😀" * 100, "reason": "気" * 500}
    done = accept(client, name, propose(client, name, KINDS, ["Share"], **signed).id, **signed)
    assert (done.state, done.version) == (ProposalState.PUBLISHED, "1.1.0")
    told = client.head(VersionRef(name, "1.1.0")).metadata
    assert told["vocab-author"] == "😀" * 100
    assert told["vocab-reason"] == told["vocab-review-reason"] == "気" * 222 + "…"
    assert done.review is not None and done.review.reason == "気" * 500


@pytest.mark.parametrize(
    ("file", "data", "words"),
    [
        ("published", b'{"versio": 1}', "published.json: this names no version.*; delete it and accept again"),
        ("published", b"[]", "published.json: this names no version"),
        ("published", b'{"version": 1}', "published.json: 1 is no version"),
        ("review", b"nonsense", "review.json: this is no review of a proposal"),
        ("proposal", b"nonsense", "proposal.json: this is no proposal for a vocabulary"),
    ],
)
def test_what_others_put_in_its_place_is_told_with_where_it_lies(
    client: AmbryClient, name: str, file: str, data: bytes, words: str
) -> None:
    made = propose(client, name, KINDS, ["Share"], **SIGNED)
    if file == "published":
        said = VocabReview(proposal=made.id, verdict="accepted", names=("Share",), author="b", reason="y", created_ms=6)
        client.put(said.encode(), name=NameRef(f"{name}.vocab/{made.id}/review.json"))
    client.put(data, name=NameRef(f"{name}.vocab/{made.id}/{file}.json"))
    for look in (lambda: list(proposals(client, name)), lambda: accept(client, name, made.id, **DECIDED)):
        with pytest.raises(DataCorrupt, match=words):
            look()


@pytest.mark.parametrize(("of", "names"), [("", ("Evil",)), ("0123456789ab", ("Share",))])
def test_a_review_of_something_else_decides_nothing(
    client: AmbryClient, name: str, of: str, names: tuple[str, ...]
) -> None:
    made = propose(client, name, KINDS, ["Share"], **SIGNED)
    said = VocabReview(proposal=of or made.id, verdict="accepted", names=names, author="m", reason="y", created_ms=6)
    client.put(said.encode(), name=NameRef(f"{name}.vocab/{made.id}/review.json"))
    with pytest.raises(DataCorrupt, match=f"review.json: this is no review of the proposal {made.id}"):
        proposal(client, name, made.id)
    assert names_of(client, name) == {0: "OUT_OF_VOCAB", 1: "Comment", 2: "Click"}


def test_a_version_that_is_gone_is_no_obstacle(client: AmbryClient, name: str) -> None:
    """The names came otherwise, and of the versions the first is not there any more."""
    made = propose(client, name, KINDS, ["Share"], **SIGNED)
    publishing.publish_change(client, name, lambda metadata: metadata.with_names(KINDS, ["Share"]))
    publishing.publish_change(client, name, lambda metadata: metadata.with_names(KINDS, ["React"]))
    client.delete(VersionRef(name, "1.0.0"))
    assert accept(client, name, made.id, **DECIDED).version == "1.1.0"


def test_a_time_that_no_calendar_has_is_refused() -> None:
    for wrong in (-1, 1 << 60):
        with pytest.raises(InvalidRequest, match="no time from 1970 to 9999"):
            VocabProposal(dimension=KINDS, names=("Share",), author="ann", reason="x", created_ms=wrong)
