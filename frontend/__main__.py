"""`python -m frontend --config FILE [--set section.key=value ...]`"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ambry.clock import SystemClock, system_random
from ambry.clustermap.layout import load_layout
from ambry.errors import ConfigInvalid
from ambry.service import logs
from ambry.service.process import fail, parse_arguments, run
from frontend import aiohttp_import  # noqa: F401  first: all that follow import it too
from frontend.app import Frontend
from frontend.config import FrontendConfig, check, check_places, rpc_address
from frontend.seat import Seat, seat_of

if TYPE_CHECKING:
    from frontend.supervisor import Supervisor

PROGRAM = "frontend"


def main(argv: list[str]) -> None:
    config = parse_arguments(PROGRAM, FrontendConfig, argv)
    try:
        seat = seat_of(os.environ)
        check(config)
        check_places(config)
        server = _alone(config) if seat is None else _in_seat(config, seat)
        if seat is None and config.frontend.workers > 1:
            # One that cannot be was found out before there are several.
            server = _several(config, argv)
    except ConfigInvalid as error:
        fail(PROGRAM, error)

    # Whoever stops all processes at once, as systemd does, means each of them once: the supervisor tells it again.
    run(PROGRAM, server.serve, read_again=server.read_again, hurries=seat is None)


def _alone(config: FrontendConfig) -> Frontend | Supervisor:
    logs.configure_from(config.log, node=config.frontend.name)
    return Frontend(config, clock=SystemClock(), random_source=system_random())


def _several(config: FrontendConfig, argv: list[str]) -> Supervisor:
    from frontend.supervisor import Supervisor  # what it needs would be memory of every frontend

    command = (sys.executable, "-m", "frontend", *argv)
    layout = load_layout(Path(config.frontend.layout))
    return Supervisor(
        config,
        command,
        clock=SystemClock(),
        random_source=system_random(),
        rpc=rpc_address(config.frontend, layout),
        cluster=layout.cluster,
    )


def _in_seat(config: FrontendConfig, seat: Seat) -> Frontend:
    section = replace(config.log, file=_own(config.log.file, seat))
    config = replace(config, audit=replace(config.audit, file=_own(config.audit.file, seat)))
    logs.configure_from(section, node=config.frontend.name, worker=seat.number)
    return Frontend(config, clock=SystemClock(), random_source=system_random(), seat=seat)


def _own(file: str, seat: Seat) -> str:
    """The file of one of several processes: it turns over, and one process alone may do that."""
    path = Path(file)
    return file and str(path.with_name(f"{path.stem}.{seat.number}{path.suffix}"))


if __name__ == "__main__":
    main(sys.argv[1:])
