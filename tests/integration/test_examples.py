"""The examples of README.md and docs/sdk.md, as they stand there, against real processes."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from ambry.cli.main import cli
from tests.support.content import content

ROOT = Path(__file__).resolve().parents[2]


def text_of(document: str, url: str) -> str:
    """With names of its own: other tests use the same cluster."""
    text = (ROOT / document).read_text("utf-8").replace("http://127.0.0.1:17100", url)
    own = document.partition(".")[0].replace("/", "-")
    text = re.sub(r"(account create |--account |account=\"|\(\"|ambry://)team\b", rf"\1examples-{own}", text)
    return text.replace("fraud-model", "examples-model").replace("risk/", "examples/")


@pytest.fixture
def beside_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content(7, 3_000_000))


@pytest.mark.usefixtures("beside_a_model")
@pytest.mark.parametrize("document", ["README.md", "docs/sdk.md"])
async def test_the_examples_in_python_run_as_they_stand(
    dc1: str, document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rolled an alias back that had been moved once, and failed."""
    monkeypatch.setenv("AMBRY_ENDPOINTS", dc1)
    blocks = re.findall(r"^```python\n(.*?)^```", text_of(document, dc1), re.S | re.M)
    assert blocks
    for block in blocks:
        if "async with" not in block:
            exec(block, {})
            continue
        body = "".join(f"    {line}\n" for line in block.splitlines())
        made: dict[str, object] = {}
        exec(f"async def example():\n{body}", made)
        await made["example"]()  # type: ignore[operator]


def test_the_tour_of_the_command_runs_as_it_stands(
    dc1: str, dc2: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It downloaded two blobs to one file, rolled an alias back that had been moved once, and needed files that nobody had."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMBRY_ENDPOINTS", dc1)
    tour = text_of("README.md", dc1).partition("## A tour")[2].partition("## ")[0]
    blob, ran = "", 0
    for line in re.findall(r"^    ((?:ambry|curl|head|mkdir|printf) .*)$", tour, re.M):
        if not line.startswith("ambry "):
            if line.startswith("curl ") and shutil.which("curl") is None:
                continue
            said = re.sub(r"\bID\b", blob, line.replace("http://127.0.0.1:17200", dc2)).replace(
                "curl ", "curl -sS --fail "
            )
            done = subprocess.run(["sh", "-c", said], capture_output=True, timeout=60)
            assert done.returncode == 0 and not done.stderr, (said, done.stderr)
            continue
        words = shlex.split(line.partition(" | ")[0], comments=True)[1:]
        if words[0] in ("cluster", "demo", "replication", "serve"):
            continue  # what makes and stops a cluster, and what serves until it is stopped, has tests of its own
        result = CliRunner().invoke(cli, [blob if word == "ID" else word for word in words], prog_name="ambry")
        assert result.exit_code == 0, (words, result.output)
        blob = blob or result.stdout.strip()
        ran += 1
    assert ran >= 15
