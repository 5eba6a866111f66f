"""`ambry vocab relate`, `relations`, `train` and `suggest`: what people write for titles, and what a model makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, connecting
from ambry.cli.output import show_rows, tell_done

if TYPE_CHECKING:
    from ambry.ml.vocab.relations import TitleRelation
    from ambry.ml.vocab.suggestions import TitleSuggestion


@click.command()
@click.argument("relations")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@connecting
@click.option("--relation", default="alias", show_default=True, help="What FROM is to TO.")
@click.option("--weight", type=float, default=1.0, show_default=True, help="How sure, above 0.")
@click.option("--definitions", default="", metavar="VERSIONS", help="TO has to be in their vocabulary.")
@click.option("--dimension", default="titles", show_default=True, help="Whose vocabulary.")
@OUTPUT
def relate(
    relations: str,
    source: str,
    target: str,
    cluster: ChosenCluster,
    relation: str,
    weight: float,
    definitions: str,
    dimension: str,
    output: str,
) -> None:
    """Add a relation to the dataset RELATIONS, and print the version that has it.

    \b
    ambry vocab relate title-relations swe 'Software Engineer' --definitions features
    """
    from ambry.ml.vocab.relations import TitleRelation, add_relations

    edge = TitleRelation(source, target, relation, weight)
    with cluster.connect() as client:
        made = add_relations(client, relations, [edge], definitions=definitions, dimension=dimension)
    tell_done(output, made.place.version, version=made.place.version, relations=len(made.edges))


@click.command("relations")
@click.argument("relations")
@connecting
@OUTPUT
def ls_relations(relations: str, cluster: ChosenCluster, output: str) -> None:
    """List the relations of RELATIONS, or of RELATIONS@3."""
    from ambry.ml.vocab.relations import relations_of

    with cluster.connect() as client:
        found = relations_of(client, relations)
    show_rows(found.edges, output, ["WEIGHT", "RELATION", "FROM", "TO"], _edge_row, _plain_edge)


@click.command()
@click.argument("relations")
@click.argument("name")
@click.argument("definitions")
@click.argument("dimension")
@connecting
@click.option("--relation", default="alias", show_default=True, help="Which of the relations it learns.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the weights that it begins with.")
@click.option("--code", default="", metavar="TEXT", help="What made it, such as a commit.")
@click.option("--parent", default="", metavar="MODEL", help="The version that it follows.")
@OUTPUT
def train(
    relations: str,
    name: str,
    definitions: str,
    dimension: str,
    cluster: ChosenCluster,
    relation: str,
    seed: int,
    code: str,
    parent: str,
    output: str,
) -> None:
    """Train a model on RELATIONS that suggests titles of a vocabulary, publish it as NAME, and print its version."""
    from ambry.ml.vocab.suggestions import publish_suggester

    with cluster.connect() as client:
        made = publish_suggester(
            client, name, relations, definitions, dimension, relation=relation, seed=seed, code=code, parent=parent
        )
    tell_done(output, made.version, version=made.version, sha256=made.digest, metrics=dict(made.manifest.metrics))


@click.command()
@click.argument("model")
@click.argument("texts", nargs=-1, required=True)
@connecting
@click.option("-n", "count", type=click.IntRange(1, 1000), default=3, show_default=True, help="So many of each.")
@click.option(
    "--definitions", default="", metavar="VERSIONS", help="Titles of these; of those it was made with, without."
)
@OUTPUT
def suggest(
    model: str, texts: tuple[str, ...], cluster: ChosenCluster, count: int, definitions: str, output: str
) -> None:
    """Say which titles TEXTS may mean, the nearest first. Nothing is added; `relate` and `propose` do that."""
    from ambry.ml.vocab.suggestions import open_suggester

    with cluster.connect() as client:
        found = open_suggester(client, model, definitions).suggest(texts, count)
    rows = [each for best in found for each in best]
    show_rows(rows, output, ["SCORE", "TITLE", "TEXT"], _suggestion_row, _plain_suggestion)


def _edge_row(edge: TitleRelation) -> list[str]:
    return [f"{edge.weight:g}", edge.relation, edge.source, edge.target]


def _plain_edge(edge: TitleRelation) -> dict[str, Any]:
    return {"from": edge.source, "to": edge.target, "relation": edge.relation, "weight": edge.weight}


def _suggestion_row(found: TitleSuggestion) -> list[str]:
    return [f"{found.score:.3f}", found.title, found.text]


def _plain_suggestion(found: TitleSuggestion) -> dict[str, Any]:
    return {"text": found.text, "title": found.title, "score": found.score}
