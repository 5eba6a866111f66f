"""The pages of docs/guide, as they stand there, against real processes: each block runs, and prints what stands beneath it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ambry.tensorboard import open_by_fsspec
from tests.support.kafka_broker import jars_or_skip, running_kafka

ROOT = Path(__file__).resolve().parents[2]
BLOCK_TIMEOUT_S = 300.0
WALK_TIMEOUT_S = 1_200.0
"""Of the page on the whole pipeline, whose first block walks it twice."""
PAGES = sorted(path.name for path in (ROOT / "docs" / "guide").glob("*.md") if path.name != "README.md")
HEAVY = ("dask", "mlflow", "torch", "zarr")
"""Libraries that `make libraries` installs; their blocks run in the slow tests."""
ENGINE_PAGES = ("pipeline.md", "spark.md", "streams.md")
"""Pages that need a real engine beside the store; they run in the tests of engines."""
BEHIND = {
    "photon.md": ("glum", "tabmat"),
    "pipeline.md": ("torch", "pyspark", "glum", "tabmat", "fastavro", "prometheus_client"),
}
"""Libraries that a page needs and does not import itself."""
HEAVY_PAGES = ("dask.md", "mlflow.md", "model.md", "suggestions.md", "training.md")


@dataclass(frozen=True, slots=True)
class Block:
    language: str
    code: str
    printed: str | None

    @property
    def libraries(self) -> list[str]:
        return re.findall(r"^(?:import|from) (\w+)", self.code, re.M) if self.language == "python" else []

    @property
    def is_on_spark(self) -> bool:
        """It runs in the tests of engines."""
        return "--engine spark" in self.code


def blocks_of(page: str) -> list[Block]:
    text = (ROOT / "docs" / "guide" / page).read_text("utf-8")
    found = re.findall(r"^```(python|sh)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", text, re.S | re.M)
    assert len(found) == len(re.findall(r"^```(?:python|sh)$", text, re.M)), "every block ends"
    assert sum(bool(printed) for _, _, printed in found) == text.count("```text\n"), (
        "what is printed stands under its block"
    )
    return [Block(language, code, printed or None) for language, code, printed in found]


def run(block: Block, names: dict[str, Any], timeout_s: float = BLOCK_TIMEOUT_S) -> str:
    if block.language == "python":
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(block.code, "<block>", "exec"), names)
        return out.getvalue()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = ["bash", "-euo", "pipefail", "-c", block.code]
    done = subprocess.run(said, capture_output=True, text=True, env={**os.environ, "PATH": path}, timeout=timeout_s)
    assert done.returncode == 0, (block.code, done.stderr)
    return done.stdout


@pytest.fixture
def beside(dc1: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A directory of its own, and the cluster as a profile would name it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMBRY_ENDPOINTS", dc1)
    monkeypatch.setenv("AMBRY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("AMBRY_TRAIN_NODE_CACHE", str(tmp_path / "trees"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    open_by_fsspec()  # TensorBoard's files, where TensorFlow is installed too: the page on it says so.
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "")  # Which MLflow writes, and nobody takes back.
    yield
    if (mlflow := sys.modules.get("mlflow")) is not None:
        mlflow.set_registry_uri("")


def check(page: str, blocks: list[Block], timeout_s: float = BLOCK_TIMEOUT_S) -> None:
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        printed = run(block, names, timeout_s)
        if block.printed is not None:
            assert printed == block.printed, f"block {number + 1} of {page}"


def missing(page: str, blocks: list[Block]) -> str:
    asked = {*BEHIND.get(page, ()), *(name for block in blocks for name in block.libraries)}
    absent = {name for name in asked if find_spec(name) is None}
    return ", ".join(sorted(absent))


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in ("dask.md", "mlflow.md", "training.md", *ENGINE_PAGES)]
)
def test_the_blocks_of_a_page_run_and_print_what_it_says(page: str) -> None:
    light = [block for block in blocks_of(page) if not set(block.libraries) & set(HEAVY) and not block.is_on_spark]
    assert light
    if lacking := missing(page, light):
        pytest.skip(f"{lacking} is not installed; `make venv` does it")
    check(page, light)


@pytest.mark.slow
@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("page", HEAVY_PAGES)
def test_the_blocks_of_a_page_with_heavy_libraries_do_too(page: str) -> None:
    blocks = blocks_of(page)
    assert any(set(block.libraries) & set(HEAVY) for block in blocks)
    if lacking := missing(page, blocks):
        pytest.skip(f"{lacking} is not installed; `make libraries` does it")
    check(page, blocks)


@pytest.mark.engine
@pytest.mark.usefixtures("beside")
def test_the_blocks_of_the_page_on_streams_do_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = blocks_of("streams.md")
    if lacking := missing("streams.md", blocks) or ("" if find_spec("quixstreams") else "quixstreams"):
        pytest.skip(f"{lacking} is not installed; `make engines` does it")
    with running_kafka(tmp_path / "kafka") as broker:
        monkeypatch.setenv("KAFKA", broker.address)
        check("streams.md", blocks)


@pytest.mark.engine
@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("page", ["spark.md", "photon.md"])
def test_the_blocks_of_the_pages_on_spark_do_too(page: str) -> None:
    blocks = blocks_of(page)
    assert page == "spark.md" or any(block.is_on_spark for block in blocks)
    if lacking := missing(page, blocks) or ("" if find_spec("pyspark") else "pyspark"):
        pytest.skip(f"{lacking} is not installed; `make engines` does it")
    check(page, blocks)


@pytest.mark.engine
@pytest.mark.usefixtures("beside")
def test_the_blocks_of_the_page_on_the_whole_pipeline_do_too() -> None:
    blocks = blocks_of("pipeline.md")
    if lacking := missing("pipeline.md", blocks):
        pytest.skip(f"{lacking} is not installed; `make engines` does it")
    for engine in ("hadoop", "tony"):
        jars_or_skip(engine)
    check("pipeline.md", blocks, WALK_TIMEOUT_S)


def test_every_page_is_in_the_list_of_pages() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "guide" / "README.md").read_text("utf-8"))
    assert sorted(listed) == PAGES
    heavy = [page for page in PAGES if any(set(block.libraries) & set(HEAVY) for block in blocks_of(page))]
    assert heavy == sorted(HEAVY_PAGES)
