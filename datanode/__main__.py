"""`python -m datanode --config FILE [--set section.key=value ...]`"""

from __future__ import annotations

import asyncio
import sys

from ambry.clock import SystemClock, system_random
from ambry.errors import AmbryError, ReplicaUnavailable
from ambry.service import logs
from ambry.service.process import break_off, fail, parse_arguments, run
from datanode.config import DataNodeConfig, check
from datanode.server import DataNode
from datanode.store.files import OsFiles

PROGRAM = "datanode"


def main(argv: list[str]) -> None:
    config = parse_arguments(PROGRAM, DataNodeConfig, argv)
    try:
        check(config)
        logs.configure_from(config.log, node=config.node.name)
        node = DataNode(config, clock=SystemClock(), random_source=system_random(), files=OsFiles())
    except AmbryError as error:
        fail(PROGRAM, error)

    async def serve(stop: asyncio.Event, _hurry: asyncio.Event) -> None:
        try:
            await node.serve(stop)
        except ReplicaUnavailable as error:
            break_off(PROGRAM, error)

    run(PROGRAM, serve, read_again=node.read_again, descriptors=node.descriptors)


if __name__ == "__main__":
    main(sys.argv[1:])
