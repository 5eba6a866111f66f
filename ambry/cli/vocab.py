"""`ambry vocab`: names for vocabularies, proposed by who knows the field, reviewed, and accepted as the next version."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ambry.cli.aliases import somebody
from ambry.cli.arguments import OUTPUT, ChosenCluster, connecting
from ambry.cli.output import show_fields, show_rows, tell_done, when
from ambry.cli.relations import ls_relations, relate, suggest, train

if TYPE_CHECKING:
    from ambry.ml.vocab.proposals import ReviewedProposal

T = TypeVar("T")

HEADER = ["ID", "STATE", "VERSION", "MADE", "AUTHOR", "DIMENSION", "NAMES"]
NEAR = 0.8
"""How like each other names are that a reviewer is told of, as difflib says it."""


def signed(command: Callable[..., T]) -> Callable[..., T]:
    """The options that say who decided and why; both are kept."""
    for option in (
        click.option("--why", required=True, metavar="TEXT", help="Is kept, and stands in the version."),
        click.option("--who", metavar="NAME", help="Is kept; the user of this machine without it."),
    ):
        command = option(command)
    return command


@click.group()
def vocab() -> None:
    """Vocabularies of categorical dimensions: names are proposed, reviewed, and accepted as the next version.

    VERSIONS is the dataset of the definitions, NAME or ambry://account/container/NAME. DIMENSION is namespace/name-1-0; what is
    clear without may be left out.

    \b
    ambry vocab propose features feedActions Repost --why 'new in spring'
    ambry vocab review features 5c0f7d2a91be
    ambry vocab accept features 5c0f7d2a91be --why 'seen in the logs'
    """


for each in (relate, ls_relations, train, suggest):
    vocab.add_command(each)


@vocab.command()
@click.argument("versions")
@click.argument("dimension")
@click.argument("names", nargs=-1, required=True)
@connecting
@signed
@OUTPUT
def propose(
    versions: str,
    dimension: str,
    names: tuple[str, ...],
    cluster: ChosenCluster,
    who: str | None,
    why: str,
    output: str,
) -> None:
    """Propose names for the vocabulary of DIMENSION, and print the id of the proposal."""
    from ambry.ml import vocab

    with cluster.connect() as client:
        made = vocab.propose(client, versions, dimension, names, author=_who(who), reason=why)
    tell_done(output, made.id, **_plain(made))


@vocab.command("ls")
@click.argument("versions")
@connecting
@click.option(
    "--state", type=click.Choice(["open", "accepted", "published", "rejected"]), help="Only those in this state."
)
@OUTPUT
def ls_vocab(versions: str, cluster: ChosenCluster, state: str | None, output: str) -> None:
    """List proposals with what became of them, the oldest first."""
    from ambry.ml import vocab

    with cluster.connect() as client:
        found = (each for each in vocab.proposals(client, versions) if state in (None, each.state.value))
        show_rows(found, output, HEADER, _row, _plain)


@vocab.command()
@click.argument("versions")
@click.argument("id")
@connecting
@OUTPUT
def review(versions: str, id: str, cluster: ChosenCluster, output: str) -> None:
    """Show a proposal, with the ids that its names would get now and what is like them in the vocabulary."""
    from ambry.ml import vocab
    from ambry.ml.features.publishing import load

    with cluster.connect() as client:
        found = vocab.proposal(client, versions, id)
        newest = load(client, versions)
    vocabulary = newest.metadata.vocabulary(found.proposal.dimension)
    new = [name for name in found.proposal.names if name not in vocabulary.id_of]
    added = vocabulary.with_names(new)
    told = _plain(found) | {
        "newest": newest.version,
        "ids": {name: added.encode(name) for name in found.proposal.names},
        "like": {name: like for name in new if (like := _like(name, vocabulary.names[1:]))},
    }
    show_fields(told, output)


@vocab.command()
@click.argument("versions")
@click.argument("id")
@click.argument("names", nargs=-1)
@connecting
@signed
@OUTPUT
def accept(
    versions: str, id: str, names: tuple[str, ...], cluster: ChosenCluster, who: str | None, why: str, output: str
) -> None:
    """Accept a proposal, or only some of its NAMES, and print the version of the definitions that has them.

    The middle part of the version rises. Models that were made with an older vocabulary go on: to them the new ids are 0.
    """
    from ambry.ml import vocab

    with cluster.connect() as client:
        done = vocab.accept(client, versions, id, author=_who(who), reason=why, names=names)
    tell_done(output, done.version, **_plain(done))


@vocab.command()
@click.argument("versions")
@click.argument("id")
@connecting
@signed
@OUTPUT
def reject(versions: str, id: str, cluster: ChosenCluster, who: str | None, why: str, output: str) -> None:
    """Reject a proposal; it stays in the list with who rejected it and why."""
    from ambry.ml import vocab

    with cluster.connect() as client:
        done = vocab.reject(client, versions, id, author=_who(who), reason=why)
    tell_done(output, "", **_plain(done))


def _who(who: str | None) -> str:
    return somebody() if who is None else who


def _like(name: str, names: tuple[str, ...]) -> list[str]:
    """Names that differ in case alone, or in little."""
    folded = {known.casefold(): known for known in names}
    return [folded[each] for each in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=NEAR)]


def _at(made_ms: int) -> datetime:
    return datetime.fromtimestamp(made_ms / 1000, UTC)


def _row(found: ReviewedProposal) -> list[str]:
    made = found.proposal
    names = ", ".join(made.names if found.review is None or not found.review.names else found.review.names)
    return [found.id, found.state, found.version, when(_at(made.created_ms)), made.author, str(made.dimension), names]


def _plain(found: ReviewedProposal) -> dict[str, Any]:
    made, review = found.proposal, found.review
    told: dict[str, Any] = {
        "id": found.id,
        "state": found.state.value,
        "version": found.version,
        "dimension": str(made.dimension),
        "names": list(made.names),
        "author": made.author,
        "reason": made.reason,
        "made": _at(made.created_ms).isoformat(),
    }
    if review is not None:
        told |= {
            "accepted": list(review.names),
            "reviewer": review.author,
            "review_reason": review.reason,
            "reviewed": _at(review.created_ms).isoformat(),
        }
    return told
