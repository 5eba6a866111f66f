"""`ambry serve`: a scoring service over a model that follows its alias."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import ChosenCluster, Seconds, as_duration, as_size, connecting
from ambry.cli.failures import EXIT_INTERRUPTED
from ambry.cli.output import remark
from ambry.cli.service_log import log_to

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ambry.ml.serving.service import ScoringService

DRAIN_S_MAX = 3_600
STOP_S = 30.0
"""What is being scored when the service ends has so long to be answered."""
IDLE_S = 75.0
"""A connection that sends no whole head for so long is closed."""
LOG_S = 10.0
"""What was taken for a log is stored so often."""

_log = logging.getLogger("ambry.ml")


@click.command()
@click.argument("place", metavar="MODEL@ALIAS")
@connecting
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; it asks nobody for a key.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="0 takes a free one.")
@click.option(
    "--challenger", default="", metavar="ALIAS", help="Scores in the shadow of the model; answers are compared."
)
@click.option(
    "--experiment",
    default="",
    metavar="NAME",
    help="Assigns requests that say a unit to its arms, and follows it; NAME@3 stays with that version.",
)
@click.option(
    "--threads", type=click.IntRange(1, 256), default=os.cpu_count() or 1, help="That score.  [default: cores]"
)
@click.option(
    "--poll",
    type=click.FloatRange(0.05, 3_600),
    default=1.0,
    show_default=True,
    help="Seconds between looks at aliases and the experiment.",
)
@click.option(
    "--function", default="", metavar="MODULE:NAME", help="Makes the scorer of a model that cannot score by itself."
)
@click.option("--trust", is_flag=True, help="Load formats that may run code; for models whose makers you trust.")
@click.option(
    "--log-features",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="PART",
    help="Keep inputs and answers of this part of the requests, beside the model.",
)
@click.option(
    "--log-ttl", default="30d", show_default=True, callback=as_duration, help="How long those are kept; `forever`."
)
@click.option("--body-max", default="8M", show_default=True, callback=as_size, help="Bytes of a request.")
@click.option("--held-max", default="64M", show_default=True, callback=as_size, help="Bytes of all requests at once.")
@click.option(
    "--cells-max",
    type=click.IntRange(1),
    default=500_000,
    show_default=True,
    help="Numbers and texts of a request.",
)
@click.option(
    "--waiting-max",
    type=click.IntRange(1, 100_000),
    default=64,
    show_default=True,
    help="Requests that are scored or wait; more are told 503.",
)
@click.option(
    "--body-timeout",
    type=Seconds(0.1, 3_600),
    default=10.0,
    show_default=True,
    help="Seconds until a request is there.",
)
@click.option(
    "--drain",
    type=Seconds(0, DRAIN_S_MAX),
    default=0.0,
    show_default=True,
    help="Seconds to go on scoring after SIGTERM, without being ready.",
)
def serve(
    place: str,
    cluster: ChosenCluster,
    host: str,
    port: int,
    challenger: str,
    experiment: str,
    threads: int,
    poll: float,
    function: str,
    trust: bool,
    log_features: float,
    log_ttl: int | None,
    body_max: int,
    held_max: int,
    cells_max: int,
    waiting_max: int,
    body_timeout: float,
    drain: float,
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
    log_to(sys.stderr, "ambry.ml", logging.WARNING if cluster.quiet else logging.INFO)
    for library in ("aiohttp", "asyncio"):  # What strangers send is a line, and not a traceback.
        log_to(sys.stderr, library, logging.WARNING)
    with _Signals() as signals, cluster.connect() as client:
        from ambry.ml.experiments.exposures import ExposureLog
        from ambry.ml.serving.app import make_app
        from ambry.ml.serving.feature_log import FeatureLog
        from ambry.ml.serving.limits import ServingLimits
        from ambry.ml.serving.service import ScoringService

        limits = ServingLimits(
            body_size_max=body_max,
            held_size_max=held_max,
            cells_max=cells_max,
            waiting_max=waiting_max,
            body_s=body_timeout,
        )
        dataset = dataset_text(wanted)
        with ScoringService(
            client,
            dataset,
            alias=wanted.version.removeprefix("@"),
            challenger=challenger,
            experiment=experiment or None,
            exposures=ExposureLog(client, experiment, every_s=LOG_S) if experiment else None,
            features=FeatureLog(client, dataset, log_features, ttl_s=log_ttl, every_s=LOG_S) if log_features else None,
            trust=trust,
            function=function,
            poll_s=poll,
        ) as service:

            def app(ending: asyncio.Event) -> Any:
                return make_app(service, wanted.dataset, threads=threads, limits=limits, ending=ending)

            signals.running = True
            asyncio.run(_run(app, service, host, port, wanted.dataset, cluster.quiet, drain, signals))
    _log.info("ended", extra={"model": wanted.dataset})
    if signals.count > 1:
        # A thread that still scores is not waited for; all that was taken is stored.
        sys.stderr.flush()
        os._exit(0)


class _Signals:
    """SIGINT and SIGTERM: the first ends the service in peace, the second at once, the third the process.

    Before it runs, the first one ends the command, as an interruption.
    """

    def __init__(self) -> None:
        self.running = False
        self.count = 0
        self.told: Callable[[], object] = int

    def __enter__(self) -> _Signals:
        self._before = {number: signal.signal(number, self._heard) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            # What has ended well has nothing left that a signal could interrupt but the end of the process: see _heard.
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: object) -> None:
        self.count += 1
        if not self.running:
            raise KeyboardInterrupt
        if self.count > 2:
            with suppress(OSError, RuntimeError):  # Nobody reads, or who was interrupted was writing.
                remark("ended by a third signal; what was not stored of the logs is lost")
            os._exit(EXIT_INTERRUPTED)
        self.told()


async def _run(
    make: Callable[[asyncio.Event], Any],
    service: ScoringService,
    host: str,
    port: int,
    name: str,
    quiet: bool,
    drain_s: float,
    signals: _Signals,
) -> None:
    """Until the first signal, and for `drain_s` more unless a second one comes. Raises OSError where the port is taken."""
    import asyncio

    from aiohttp import web

    ending, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def heard() -> None:
        (hurry if ending.is_set() else ending).set()

    signals.told = lambda: loop.call_soon_threadsafe(heard)
    if signals.count:
        heard()
    runner = web.AppRunner(make(ending), access_log=None, keepalive_timeout=IDLE_S, shutdown_timeout=STOP_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        address = ":".join(map(str, runner.addresses[0][:2]))
        if not quiet:
            click.echo(f"ambry: {name} is scored at http://{address}/v2/models/{name}/infer; Ctrl-C ends it", err=True)
        for role, model in service.serving().items():
            _log.info("serving", extra={"role": role, "model": str(model), "sha256": model.digest, "address": address})
        await ending.wait()
        _log.info("draining", extra={"seconds": drain_s})
        with suppress(TimeoutError):
            await asyncio.wait_for(hurry.wait(), drain_s)
    finally:
        ended = asyncio.ensure_future(runner.cleanup())
        hurried = asyncio.ensure_future(hurry.wait())
        await asyncio.wait({ended, hurried}, return_when=asyncio.FIRST_COMPLETED)
        if hurry.is_set():
            _log.warning("ends at once", extra={"signals": signals.count})
        # What is still at work when the loop ends is broken off.
        signals.told = int
        hurried.cancel()
