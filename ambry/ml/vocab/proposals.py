"""Proposals lie beside the definitions' dataset, each with what became of it; nothing is ever changed in place.

    <dataset>.vocab/<id>/proposal.json
    <dataset>.vocab/<id>/review.json            put by whoever decides first
    <dataset>.vocab/<id>/published.json         the version that has the names

An accepted proposal without a version is one whose reviewer was cut off: to accept it again publishes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.clock import Clock, SystemClock
from ambry.errors import AlreadyExists, BlobNotFound, DataCorrupt, InvalidRequest, NameNotFound
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.publishing import load
from ambry.ml.features.urn import Reference
from ambry.ml.places import in_dataset
from ambry.ml.vocab.document import (
    ACCEPTED,
    CONTENT_TYPE,
    DOCUMENT_SIZE_MAX,
    ID_SIZE,
    VocabProposal,
    VocabReview,
    published_version,
)

PROPOSALS_MAX = 100_000
"""That one look goes through."""


class ProposalState(StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    """And not published yet."""
    PUBLISHED = "published"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedProposal:
    """A proposal, and what became of it. `version` is that of the definitions that has its names; empty if none has."""

    proposal: VocabProposal
    review: VocabReview | None = None
    version: str = ""

    @property
    def id(self) -> str:
        return self.proposal.id

    @property
    def state(self) -> ProposalState:
        if self.review is None:
            return ProposalState.OPEN
        if self.review.verdict != ACCEPTED:
            return ProposalState.REJECTED
        return ProposalState.PUBLISHED if self.version else ProposalState.ACCEPTED


def propose(
    client: AmbryClient,
    dataset: str,
    dimension: Reference | str,
    names: Iterable[str],
    *,
    author: str,
    reason: str,
    clock: Clock | None = None,
) -> ReviewedProposal:
    """Propose names for the vocabulary of a categorical dimension of the newest definitions; durable on return.

    `dimension` may leave its namespace out where one alone has it. Raises BlobNotFound where nothing was published,
    InvalidRequest for names that are there, stand twice, or are none.
    """
    if isinstance(names, str):
        raise InvalidRequest(f"the names are a list, such as [{names!r}], and not a text")
    metadata = load(client, dataset).metadata
    reference = the_dimension(metadata, dimension)
    made = VocabProposal(
        dimension=reference,
        names=tuple(names),
        author=author,
        reason=reason,
        created_ms=(clock or SystemClock()).wall_ms(),
    )
    known = metadata.vocabulary(reference).id_of
    if there := [name for name in made.names if name in known]:
        raise InvalidRequest(
            f"{reference} has {', '.join(map(repr, there[:3]))} already; propose what it does not have"
        )
    put_once(client, place_beside(dataset, made.id, "proposal"), made.encode())
    return ReviewedProposal(proposal=made)


def proposal(client: AmbryClient, dataset: str, id: str) -> ReviewedProposal:
    """One, and what became of it. Raises BlobNotFound."""
    if not id.isalnum() or len(id) != ID_SIZE:
        raise InvalidRequest(
            f"{id!r} is not the id of a proposal, which has {ID_SIZE} characters; `ambry vocab ls` lists them"
        )
    data = document(client, dataset, id, "proposal")
    if data is None:
        raise NameNotFound(
            f"there is no proposal {id} for {dataset!r}; `ambry vocab ls {dataset}` lists those there are"
        )
    return _with_review(client, dataset, _proposal_of(data, dataset, id), {"review", "published"})


def proposals(client: AmbryClient, dataset: str) -> Iterator[ReviewedProposal]:
    """All of them, from the oldest on. Three small reads for each that was published, one for an open one.

    Raises DataCorrupt where something else lies among them, and says what.
    """
    files: dict[str, set[str]] = {}
    when: dict[str, float] = {}
    prefix = place_beside(dataset, "", "").name
    for entry in client.list(str_of(dataset, prefix)):
        id, _, file = entry.name.removeprefix(prefix).partition("/")
        files.setdefault(id, set()).add(file.removesuffix(".json"))
        if file == "proposal.json" and entry.modified is not None:
            when[id] = entry.modified.timestamp()
        if len(files) > PROPOSALS_MAX:
            raise InvalidRequest(f"{dataset!r} has more than {PROPOSALS_MAX} proposals; look at one by its id")
    for id in sorted(when, key=lambda each: (when[each], each)):
        data = document(client, dataset, id, "proposal")
        if data is not None:
            yield _with_review(client, dataset, _proposal_of(data, dataset, id), files[id])


def the_dimension(metadata: FeatureMetadata, dimension: Reference | str) -> Reference:
    """It, with its namespace and version, each of which may be left out where that says one. Raises InvalidRequest."""
    if isinstance(dimension, Reference) and dimension.namespace is not None:
        return dimension
    text = str(dimension)
    references = [each.reference.within(space) for space, each in metadata.dimensions()]
    found = [
        each
        for each in references
        if text in (str(each), f"{each.namespace}/{each.name}", str(each).partition("/")[2], each.name)
    ]
    if len(found) != 1:
        said = "says more than one" if found else "is not defined"
        shown = ", ".join(map(str, (found or references)[:10])) or "none"
        raise InvalidRequest(f"the dimension {text!r} {said}; there are {shown}")
    return found[0]


# --- documents ---


def place_beside(dataset: str, id: str, file: str) -> NameRef:
    """Where a document lies; without an id, what all of them begin with."""
    place = in_dataset(dataset)
    name = f"{place.dataset}.vocab/{id}/{file}.json" if id else f"{place.dataset}.vocab/"
    return NameRef(name, place.account, place.container)


def shown_place(dataset: str, id: str, file: str) -> str:
    """Where it lies, as `ambry rm` takes it."""
    place = place_beside(dataset, id, file)
    return str(place) if place.account else place.name


def str_of(dataset: str, prefix: str) -> str:
    """A prefix in the container of the dataset."""
    place = in_dataset(dataset)
    return str(NameRef(prefix, place.account, place.container)) if place.account else prefix


def document(client: AmbryClient, dataset: str, id: str, file: str) -> bytes | None:
    """None where there is none yet."""
    try:
        return client.get_bytes(place_beside(dataset, id, file), max_size=DOCUMENT_SIZE_MAX)
    except BlobNotFound:
        return None


def put_once(client: AmbryClient, name: NameRef, data: bytes) -> bytes:
    """Put a document where there is none; what is there now, which may be somebody else's."""
    try:
        client.put(data, name=name, if_absent=True, content_type=CONTENT_TYPE)
    except AlreadyExists:
        return client.get_bytes(name, max_size=DOCUMENT_SIZE_MAX)
    return data


def _with_review(client: AmbryClient, dataset: str, made: VocabProposal, files: set[str]) -> ReviewedProposal:
    data = document(client, dataset, made.id, "review") if "review" in files else None
    if data is None:
        return ReviewedProposal(proposal=made)
    told = document(client, dataset, made.id, "published") if "published" in files else None
    return ReviewedProposal(
        proposal=made,
        review=VocabReview.parse(data, made, shown_place(dataset, made.id, "review")),
        version="" if told is None else published_version(told, shown_place(dataset, made.id, "published")),
    )


def _proposal_of(data: bytes, dataset: str, id: str) -> VocabProposal:
    """Raises DataCorrupt for what is not that proposal."""
    place = shown_place(dataset, id, "proposal")
    made = VocabProposal.parse(data, place)
    if made.id != id:
        raise DataCorrupt(f"{place}: this is not the proposal that was made; it has become {made.id}")
    return made
