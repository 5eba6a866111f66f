"""What was proposed is accepted or rejected, once: whoever decides first has decided, and accepting publishes.

It is tried whether the version could be made; then the decision is put, then the version, then which version that is. Who is
cut off between them, or comes second with the same decision, goes on where it stopped; a version is made once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from ambry.client.refs import VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.clock import Clock, SystemClock
from ambry.errors import BlobNotFound, InvalidRequest, UpdateConflict
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.package import pack, unpack
from ambry.ml.features.publishing import load, publish_change
from ambry.ml.places import in_dataset
from ambry.ml.vocab.document import (
    ACCEPTED,
    REJECTED,
    VocabProposal,
    VocabReview,
    encode_published,
    published_version,
)
from ambry.ml.vocab.proposals import ReviewedProposal, document, place_beside, proposal, put_once, shown_place

PROPOSAL_KEY = "vocab-proposal"
AUTHOR_KEY = "vocab-author"
REASON_KEY = "vocab-reason"
REVIEWER_KEY = "vocab-reviewer"
REVIEW_REASON_KEY = "vocab-review-reason"
"""In the metadata of the version."""
_REASON_BYTES_MAX = 2_000
"""As they travel in a header. Two of them and two authors have to have room in the 8 KiB of a version."""


def accept(
    client: AmbryClient,
    dataset: str,
    id: str,
    *,
    author: str,
    reason: str,
    names: Iterable[str] = (),
    clock: Clock | None = None,
) -> ReviewedProposal:
    """Add the names of a proposal, or those of them that are said, to the vocabulary: the next MINOR version.

    The names get the next ids, whatever others accept meanwhile. Raises BlobNotFound, InvalidRequest for names that were not
    proposed, UpdateConflict where it was decided otherwise before.
    """
    if isinstance(names, str):
        raise InvalidRequest(f"the names are a list, such as [{names!r}], and not a text")
    made = proposal(client, dataset, id).proposal
    wanted = set(names)
    if strange := sorted(wanted - set(made.names)):
        raise InvalidRequest(f"the proposal {id} does not have {', '.join(map(repr, strange[:3]))}; propose them first")
    chosen = tuple(name for name in made.names if not wanted or name in wanted)
    review = VocabReview(
        proposal=id,
        verdict=ACCEPTED,
        names=chosen,
        author=author,
        reason=reason,
        created_ms=(clock or SystemClock()).wall_ms(),
    )
    # Before anything is decided: a dimension that is gone takes no names, and one may be full.
    unpack(pack(_with_names(load(client, dataset).metadata, made, review)))
    decided = _decide(client, dataset, made, review)
    return ReviewedProposal(proposal=made, review=decided, version=_published(client, dataset, made, decided))


def reject(
    client: AmbryClient, dataset: str, id: str, *, author: str, reason: str, clock: Clock | None = None
) -> ReviewedProposal:
    """Let a proposal be. Raises BlobNotFound, UpdateConflict where it was accepted before."""
    made = proposal(client, dataset, id).proposal
    review = VocabReview(
        proposal=id,
        verdict=REJECTED,
        names=(),
        author=author,
        reason=reason,
        created_ms=(clock or SystemClock()).wall_ms(),
    )
    return ReviewedProposal(proposal=made, review=_decide(client, dataset, made, review))


def _decide(client: AmbryClient, dataset: str, made: VocabProposal, review: VocabReview) -> VocabReview:
    """The decision that holds: this one, or one alike that came before. Raises UpdateConflict for another."""
    place = place_beside(dataset, made.id, "review")
    held = VocabReview.parse(put_once(client, place, review.encode()), made, shown_place(dataset, made.id, "review"))
    if (held.verdict, held.names) != (review.verdict, review.names):
        said = f": {', '.join(held.names)}" if held.names else ""
        raise UpdateConflict(
            f"{held.author} has {held.verdict} the proposal {review.proposal} before ({held.reason}){said}; "
            "make another proposal"
        )
    return held


def _published(client: AmbryClient, dataset: str, made: VocabProposal, review: VocabReview) -> str:
    """The version that has the names, made if there is none."""
    place, shown = place_beside(dataset, made.id, "published"), shown_place(dataset, made.id, "published")
    told = document(client, dataset, made.id, "published")
    if told is not None:
        return published_version(told, shown)

    def change(metadata: FeatureMetadata) -> FeatureMetadata:
        return _with_names(metadata, made, review)

    notes = {
        PROPOSAL_KEY: made.id,
        AUTHOR_KEY: made.author,
        REASON_KEY: _shortened(made.reason),
        REVIEWER_KEY: review.author,
        REVIEW_REASON_KEY: _shortened(review.reason),
    }
    new = publish_change(client, dataset, change, notes=notes)
    version = new.version if new.is_new else _version_with(client, dataset, made, review)
    return published_version(put_once(client, place, encode_published(version)), shown)


def _with_names(metadata: FeatureMetadata, made: VocabProposal, review: VocabReview) -> FeatureMetadata:
    """With those that another proposal has not brought since."""
    known = metadata.vocabulary(made.dimension).id_of
    return metadata.with_names(made.dimension, [name for name in review.names if name not in known])


def _shortened(reason: str) -> str:
    """As it stands in the version; the whole stands in its document."""
    room = _REASON_BYTES_MAX
    for place, sign in enumerate(reason):
        room -= 1 if sign.isascii() else 3 * len(sign.encode())
        if room < 0:
            return f"{reason[:place]}…"
    return reason


def _version_with(client: AmbryClient, dataset: str, made: VocabProposal, review: VocabReview) -> str:
    """The first version that has all the names: whoever was cut off made it, or other proposals did."""
    place = in_dataset(dataset)
    versions = [entry.version for entry in client.versions(dataset)]

    def has_them(version: str) -> bool:
        at = VersionRef(place.dataset, version, place.account, place.container)
        try:
            return set(review.names) <= set(load(client, at).metadata.vocabulary(made.dimension).names)
        except (FeatureNotDefined, BlobNotFound):
            # The dimension came later, or the version is gone by now.
            return False

    # Names are only ever added, so from some version on all have them.
    return versions[bisect_left(versions, True, key=has_them)]
