"""Stands in for a data node or a frontend: listens on the ports of its config file, and misbehaves when told to.

`--set fake.does=<what>`: dies (at start), waits (is never ready), works (for 3 s, before it listens), lacks (a replica
stays closed), ignores_term; by default it is ready at once.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    does = [item.removeprefix("fake.does=") for item in arguments.set]
    config = tomllib.loads(arguments.config.read_text("utf-8"))
    section = config.get("node") or config["frontend"]
    if f"dies:{section['name']}" in does:
        print(f"{section['name']}: the disk is on fire", file=sys.stderr)
        return 7
    began = time.monotonic()
    while f"works:{section['name']}" in does and time.monotonic() - began < 3:
        pass
    said = {200: b"ready"}
    if f"waits:{section['name']}" in does:
        said = {503: b"no quorum yet"}
    elif f"lacks:{section['name']}" in does:
        said = {503: b'{"ready":false,"reasons":["partition 3 cannot be opened: [Errno 5] Input/output error"]}'}
    ((status, words),) = said.items()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(words)

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None if "ignores_term" in does else ended.set())
    for port in {section["admin_port"], section.get("port", section["admin_port"])}:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"{section['name']} has started", file=sys.stderr, flush=True)
    while not ended.wait(0.05):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
