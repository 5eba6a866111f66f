"""`python -m frontend --config FILE [--set section.key=value ...]`"""

from __future__ import annotations

import sys

from ambry.clock import SystemClock, system_random
from ambry.errors import ConfigInvalid
from ambry.service import logs
from ambry.service.process import fail, parse_arguments, run
from frontend.app import Frontend
from frontend.config import FrontendConfig, check

PROGRAM = "frontend"


def main(argv: list[str]) -> None:
    config = parse_arguments(PROGRAM, FrontendConfig, argv)
    try:
        check(config)
        logs.configure_from(config.log, node=config.frontend.name)
        frontend = Frontend(config, clock=SystemClock(), random_source=system_random())
    except ConfigInvalid as error:
        fail(PROGRAM, error)

    run(PROGRAM, frontend.serve)


if __name__ == "__main__":
    main(sys.argv[1:])
