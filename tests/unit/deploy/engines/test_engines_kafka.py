"""How a broker's storage is laid out; brokers themselves: tests/integration/test_engines.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.engines import kafka


def test_no_id_of_a_cluster_is_taken_for_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 64 begins with "-": `ambry engines up kafka` ended then with the tool's usage."""
    commands: list[list[str]] = []
    monkeypatch.setattr(kafka, "uuid", SimpleNamespace(uuid4=lambda: SimpleNamespace(bytes=b"\xf8" * 16)))
    monkeypatch.setattr(kafka, "java", lambda _jars, main, *words, **_: [main, *words])
    monkeypatch.setattr(kafka, "make_storage", lambda _what, command: commands.append(command))
    kafka.LocalKafka(tmp_path / "kafka", tmp_path)
    [[main, what, cluster, *_]] = commands
    assert (main, what) == ("kafka.tools.StorageTool", "format")
    assert cluster.startswith("--cluster-id=-") and len(cluster) == len("--cluster-id=") + 22
