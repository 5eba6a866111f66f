"""`ambry serve`: a scoring service over a model that follows its alias."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import ChosenCluster, connecting

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient
    from ambry.ml.experiments.document import Experiment


@click.command()
@click.argument("place", metavar="MODEL@ALIAS")
@connecting
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; it asks nobody for a key.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="0 takes a free one.")
@click.option(
    "--challenger", default="", metavar="ALIAS", help="Scores in the shadow of the model; answers are compared."
)
@click.option(
    "--experiment", "document", default="", metavar="NAME", help="Assigns requests that say a unit to its arms."
)
@click.option(
    "--threads", type=click.IntRange(1, 256), default=os.cpu_count() or 1, help="That score.  [default: cores]"
)
@click.option(
    "--poll",
    type=click.FloatRange(0.05, 3_600),
    default=1.0,
    show_default=True,
    help="Seconds between looks at the alias.",
)
@click.option(
    "--function", default="", metavar="MODULE:NAME", help="Makes the scorer of a model that cannot score by itself."
)
@click.option("--trust", is_flag=True, help="Load formats that may run code; for models whose makers you trust.")
def serve(
    place: str,
    cluster: ChosenCluster,
    host: str,
    port: int,
    challenger: str,
    document: str,
    threads: int,
    poll: float,
    function: str,
    trust: bool,
) -> None:
    """Score requests of the Open Inference Protocol by the model that an alias points to, and follow it when it moves.

    \b
    ambry serve fraud@champion --port 8080
    curl -s localhost:8080/v2/models/fraud/infer -d '{"inputs": [
      {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [0.5, 1.5]}]}'
    """
    import asyncio

    from ambry.ml.places import dataset_text, version_of

    wanted = version_of(place)
    if not wanted.version.startswith("@"):
        raise click.UsageError(f"{place!r} names no alias to follow; write NAME@champion")
    with cluster.connect() as client:
        experiment = _experiment(client, document)
        from ambry.ml.experiments.exposures import ExposureLog
        from ambry.ml.serving.app import make_app
        from ambry.ml.serving.service import ScoringService

        with ScoringService(
            client,
            dataset_text(wanted),
            alias=wanted.version.removeprefix("@"),
            challenger=challenger,
            experiment=experiment,
            exposures=ExposureLog(client, document) if document else None,
            trust=trust,
            function=function,
            poll_s=poll,
        ) as service:
            app = make_app(service, wanted.dataset, threads=threads)
            asyncio.run(_run(app, host, port, wanted.dataset, cluster.quiet))


def _experiment(client: AmbryClient, document: str) -> Experiment | None:
    if not document:
        return None
    from ambry.ml.experiments.document import parse_experiment
    from ambry.ml.places import version_of

    return parse_experiment(client.get_bytes(version_of(document)))


async def _run(app: Any, host: str, port: int, name: str, quiet: bool) -> None:
    """Until SIGINT or SIGTERM. Raises OSError where the port is taken."""
    import asyncio

    from aiohttp import web

    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        if not quiet:
            url = f"http://{':'.join(map(str, runner.addresses[0][:2]))}/v2/models/{name}/infer"
            click.echo(f"ambry: {name} is scored at {url}; Ctrl-C ends it", err=True)
        await ended.wait()
    finally:
        await runner.cleanup()
