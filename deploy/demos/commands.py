"""`ambry demo`: what stands on the store, shown on real data in a cluster of one's own; exit code 1 if a check fails."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from ambry.path_option import LocalPath


@click.group()
def demo() -> None:
    """Demonstrations: each starts two datacenters of its own, checks what it shows, and leaves nothing behind.

    Needs `pip install 'ambry[server,demos]'`. Some need more (torch, an engine): without it they say what to install, show the
    rest, and exit with 9, or with 0 where that was asked for by --without.
    """


_WITHOUT = click.option(
    "--without", multiple=True, metavar="LIBRARY", help="Leave out what needs it, if it is not installed."
)


def _shows(name: str, help: str) -> None:
    """A demonstration, of which the module is imported when it runs."""

    @demo.command(name, help=help)
    @_WITHOUT
    def run(without: tuple[str, ...]) -> None:
        from deploy.demos.stage import on_stage

        module = importlib.import_module(f"deploy.demos.{name}")
        with on_stage() as stage:
            module.run(stage)
            stage.end(without)


_shows("features", "Typed features: the article's text, a snapshot, and columns that any reader opens.")
_shows("models", "Models: a real one outlives its datacenter, and loads from the cache.")
_shows("ab", "An A/B test of two models: assignment, ramp, evaluation, promotion and back.")
_shows("proml", "The life of a model: trained, registered, promoted, watched, held back, rolled back.")
_shows("tony", "Training: a worker and a data node are killed, and nothing changes; by torchrun, and by TonY on YARN.")
_shows("photon", "Photon ML: GLMs and GLMix equal to statsmodels, and a model of each entity read by one range.")
_shows("vocabulary", "Titles of a vocabulary: proposed, reviewed, accepted, and more of them suggested by an LSTM.")
_shows(
    "streams", "Streams: the change feed on Kafka, and a feature that follows it; publisher, broker and job are killed."
)


@demo.command("lifecycle")
@click.option("--once", is_flag=True, help="Leave the second walk out.")
@_WITHOUT
@click.option(
    "--ids",
    type=LocalPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Compare the ids with those of FILE, which is written where there is none: of another cluster, or another day.",
)
def lifecycle(once: bool, without: tuple[str, ...], ids: Path | None) -> None:
    """All of Pro-ML in one: snapshots by Spark on YARN, GLMix, a network by TonY, an A/B test, drift, rollback.

    It is walked twice, which has to come out at the same ids.
    """
    from deploy.demos.lifecycle import run
    from deploy.demos.stage import on_stage

    with on_stage() as stage:
        run(stage, twice=not once, ids=ids)
        stage.end(without)
