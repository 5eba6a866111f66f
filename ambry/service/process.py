"""What both kinds of server process do alike: read the command line, run until a signal, exit with a clear code.

Exit codes: 0 after a drain, 1 when it could not start or broke, 2 for a configuration error (one line on stderr).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec
import uvloop

from ambry import config as configuration
from ambry.errors import AmbryError, ConfigInvalid
from ambry.os_errors import text_of
from ambry.service.logs import get_logger, tell
from ambry.service.notice import STOPPING, tell_manager

T = TypeVar("T", bound=msgspec.Struct)

SWITCH_INTERVAL_S = 0.0005
UMASK = 0o027
"""Of files that a server makes; a stricter one that it was started with stays. The group may read logs, to collect them."""


def parse_arguments(program: str, shape: type[T], argv: list[str]) -> T:
    """The configuration that the command line names. Exits with 2 and one line when it cannot be used."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--config", type=Path, help="TOML file; see configs/")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides")
    arguments = parser.parse_args(argv)
    try:
        return configuration.load(shape, arguments.config, overrides=arguments.overrides)
    except ConfigInvalid as error:
        fail(program, error)


def fail(program: str, error: AmbryError) -> NoReturn:
    """End with one line that says what to mend."""
    tell(f"{program}: {error}")
    raise SystemExit(2 if isinstance(error, ConfigInvalid) else 1)


def break_off(program: str, error: AmbryError) -> NoReturn:
    """End at once, with 1 and one line: a thread does not return, and whatever waits for it would wait for ever."""
    get_logger().error("breaks off", error=f"{type(error).__name__}: {error}")
    tell(f"{program}: {error}")
    os._exit(1)


def tune_interpreter() -> None:
    """Set the interpreter up for a server whose event loop shares it with background threads."""
    # What is loaded by now lives as long as the process. Of what comes, hardly anything is cyclic: look for it seldom, since
    # every look walks the whole index of recent blobs. What is young is looked at in few pieces at a time all the same: where a
    # crowd comes, 50,000 objects stay, and one look at so many takes 10 to 25 ms.
    gc.freeze()
    gc.set_threshold(5_000, 200, 50)
    # A thread that computes keeps the interpreter for so long while others wait for it; the default is 5 ms, longer than most
    # requests take.
    sys.setswitchinterval(SWITCH_INTERVAL_S)


Serve = Callable[[asyncio.Event, asyncio.Event], Coroutine[Any, Any, None]]
"""Runs a server. The first event asks it to stop, in peace; the second to make haste about it."""


def run(
    program: str,
    serve: Serve,
    *,
    read_again: Callable[[], None],
    descriptors: int = 0,
    hurries: bool = True,
) -> None:
    """Run `serve` until it returns. SIGTERM or SIGINT sets its first event, the next one the second if that `hurries`.

    SIGHUP calls `read_again`, on the event loop: files that may change while the process runs may have changed.
    `descriptors` is how many files and sockets it cannot do without. Exits with 2 where it may not have so many, with 1 when
    it fails.
    """
    keep_to_itself()
    try:
        raise_descriptor_limit(descriptors)
    except ConfigInvalid as error:
        fail(program, error)
    tune_interpreter()

    async def main() -> None:
        stop, hurry = asyncio.Event(), asyncio.Event()

        def asked() -> None:
            if not stop.is_set():
                tell_manager(STOPPING)
                stop.set()
            elif hurries:
                hurry.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked)
        loop.add_signal_handler(signal.SIGHUP, read_again)
        await serve(stop, hurry)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except ConfigInvalid as error:
        fail(program, error)
    except (AmbryError, OSError) as error:
        get_logger().error("cannot run", error=f"{type(error).__name__}: {error}")
        tell(f"{program}: {text_of(error)}")
        raise SystemExit(1) from error


def keep_to_itself() -> None:
    """Leave nothing behind that others on this machine could read: no core dump, and no file that is open to everybody.

    A core dump would hold keys and plain bytes. The hard limit stays: `prlimit --core=unlimited --pid` lets one be made.
    Handlers that get dumps through a pipe (core(5)) are told of the limit, and systemd-coredump and apport keep to it.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    os.umask(os.umask(0o077) | UMASK)


def descriptor_limit() -> int:
    """How many files and sockets this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_descriptor_limit(needed: int = 0) -> None:
    """Sockets and segments need more descriptors than the usual soft limit of 1,024: take what may be had.

    Raises ConfigInvalid where that is less than `needed`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    if needed > hard and not unlimited:
        raise ConfigInvalid(
            f"{needed} descriptors are needed, and this process may have {hard}: raise its hard limit (LimitNOFILE= of "
            "systemd, `ulimit -Hn`)"
        )
    wanted = max(needed, 65_536) if unlimited else hard
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
