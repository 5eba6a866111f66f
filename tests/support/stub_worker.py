"""Stands in for one process of a frontend: accepts on the sockets of its seat, and says to whoever connects its number,
its pid, and how often it was told to read its files again.

    python stub_worker.py [never|config|late]

`never` ends before it serves, `config` with the exit code of a wrong configuration; `late` takes a moment to end when asked to.
It ends at once when its life does. What it is sent decides: `die` kills it.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

seat = json.loads(os.environ["AMBRY_FRONTEND_SEAT"])
how = sys.argv[1] if len(sys.argv) > 1 else ""
if how in ("never", "config"):
    sys.exit(2 if how == "config" else 1)


class Admin(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        metrics = self.path == "/metrics"
        text = "# TYPE stub_served counter\nstub_served_total 1.0\n" if metrics else '{"ready":true,"reasons":[]}'
        self.send_response(200)
        self.send_header("Content-Type", "text/plain" if metrics else "application/json")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def stop(_number: int, _frame: object) -> None:
    if how == "late":
        time.sleep(0.3)
    sys.exit(0)


def hangup(_number: int, _frame: object) -> None:
    global hangups
    hangups += 1


hangups = 0
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGHUP, hangup)
admin = HTTPServer(("127.0.0.1", 0), Admin)
Thread(target=admin.serve_forever, daemon=True).start()
listening = [socket.socket(fileno=number) for number in seat["listening"]]
os.write(seat["report"], json.dumps({"pid": os.getpid(), "admin_port": admin.server_port}).encode())
os.close(seat["report"])
while True:
    ready, _, _ = select.select([*listening, seat["life"]], [], [])
    for each in ready:
        if each == seat["life"]:
            os._exit(0)
        try:
            connection, _ = each.accept()
        except BlockingIOError:
            continue
        if connection.recv(10) == b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        connection.sendall(f"{seat['number']} {os.getpid()} {hangups}".encode())
        connection.close()
