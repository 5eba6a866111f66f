"""Tells the service manager how a process is doing, where there is one: sd_notify(3), a datagram to the socket NOTIFY_SOCKET.

Units of `Type=notify` (deploy/systemd) wait for READY=1. A process that serves for another one (frontend/supervisor.py) is not
told of the socket: the manager hears the main process alone.
"""

from __future__ import annotations

import os
import socket

VARIABLE = "NOTIFY_SOCKET"
READY = "READY=1"
STOPPING = "STOPPING=1"


def tell_manager(state: str) -> None:
    """Never waits, never fails: without a manager, or with one that does not listen, nothing happens."""
    address = os.environ.get(VARIABLE, "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as own:
        try:
            own.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            return
