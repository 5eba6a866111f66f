"""The documents held against the code: what they link to, name and list is there."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

import ambry
from ambry import errors
from ambry.ml.experiments.document import Experiment, parse_experiment
from ambry.ml.experiments.exposures import Exposure
from ambry.ml.features.definitions import ValueType
from ambry.ml.features.reading import (
    DIMENSION_FIELDS,
    FEATURE_FIELDS,
    check_references,
    parse_definitions,
    with_vocabularies,
)
from ambry.ml.health.thresholds import ColumnThresholds, parse_thresholds
from frontend.config import FrontendConfig, FrontendSection
from frontend.containers.resolver import Containers
from frontend.rest.api import AmbryApi
from frontend.rest.upload_headers import ON_UPLOAD
from tests.support.planted import PLANTED

ROOT = Path(__file__).parents[1]
TOP = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
DOCUMENTS = sorted([*(ROOT / name for name in TOP), *ROOT.glob("docs/**/*.md")])
CODE = ("ambry", "datanode", "frontend", "deploy", "tests", "tools")

NAMED_BUT_NOT_OURS = {
    "config.toml",
    "profile.toml",
    "datanode.toml",
    "frontend.toml",
    "identity.json",
    "log.jsonl",
    "cluster.json",
}
"""Files that documents speak of and that only a running cluster, or a user, has."""


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def prose(document: Path) -> str:
    """The text without code blocks, where anything may stand."""
    text = document.read_text("utf-8")
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^(?: {4}|\t)(?! *[-*|]).*$", "", text, flags=re.MULTILINE)


@cache
def sources() -> dict[str, str]:
    """Every Python file by its path."""
    return {relative(path): path.read_text("utf-8") for top in CODE for path in sorted((ROOT / top).rglob("*.py"))}


@cache
def names_in_tree() -> frozenset[str]:
    """Every end of the path of every file and directory, from its name to the whole."""
    skipped = (".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")
    found: set[str] = set()
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if not any(part in skipped or part.endswith(".egg-info") for part in parts):
            found |= {"/".join(parts[start:]) for start in range(len(parts))}
    return frozenset(found)


def anchors(document: Path) -> set[str]:
    """The fragments that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"https?:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (fragment and file.suffix == ".md" and fragment not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_files_that_are_named_exist(document: Path) -> None:
    """Whole or in part: `store/log.py` is some file whose path ends so. The history may name what is gone."""
    if document.name == "CHANGELOG.md":
        return
    named = re.findall(r"`([\w./{},*-]+\.(?:py|toml|md))(?:::?[^`]*)?`", prose(document))
    plain = [name.removeprefix("./") for name in named if not set(name) & set("{}*")]
    assert [name for name in plain if name not in names_in_tree() and name not in NAMED_BUT_NOT_OURS] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_configuration_keys_that_are_named_exist(document: Path) -> None:
    known: dict[str, set[str]] = {}
    for path in ROOT.glob("configs/*.toml"):
        text = path.read_text("utf-8")
        # Keys without a default stand there as comments.
        for section, values in tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)).items():
            known.setdefault(section, set()).update(values)
    named = re.findall(rf"`({'|'.join(known)})\.(\w+)(?: ?=[^`]*)?`", prose(document))
    assert [f"{section}.{key}" for section, key in named if key not in known[section] and key not in ("py", "md")] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_metrics_that_are_named_exist(document: Path) -> None:
    registered = {
        name
        for path, text in sources().items()
        if path.endswith("metrics.py")
        for name in re.findall(r'"(ambry_(?:frontend|datanode|process)_\w+)"', text)
    }
    named = re.findall(r"\b(ambry_(?:frontend|datanode|process)_\w+)", document.read_text("utf-8"))
    assert sorted({name for name in named if name.removesuffix("_total") not in registered}) == []


# --- the contract ---


@cache
def numbers(letter: str) -> list[int]:
    """The numbers that docs/contract.md defines, in its order."""
    text = (ROOT / "docs" / "contract.md").read_text("utf-8")
    return [int(number) for number in re.findall(rf"^(?:\*\*|\| ){letter}(\d+) ", text, flags=re.MULTILINE)]


@pytest.mark.parametrize("letter", "CF")
def test_promises_and_faults_are_numbered_without_a_gap(letter: str) -> None:
    assert numbers(letter) == list(range(1, len(numbers(letter)) + 1))


def test_numbers_that_are_cited_are_those_of_the_contract() -> None:
    """In comments and docstrings of code and tests, and in documents."""
    texts = {**sources(), **{relative(path): prose(path) for path in DOCUMENTS}}
    known = {f"{letter}{number}" for letter in "CF" for number in numbers(letter)}
    cited = re.compile(r"(?<![\w%\\{+-])(?:contract\.md, |\()?([CF][1-9]\d?)(?=[\s,:;.)|–-]|$)")
    wrong = {
        f"{path}: {number}"
        for path, text in texts.items()
        for line in text.splitlines()
        if "contract" in line.lower() or "fault" in line.lower() or path.startswith("docs/")
        for number in cited.findall(line)
        if number not in known
    }
    assert wrong == set()


def test_every_fault_is_tested_at_process_level_or_is_said_not_to_be() -> None:
    text = (ROOT / "docs" / "testing.md").read_text("utf-8")
    section = text.partition("## Which fault is tested where")[2].partition("\n## ")[0]
    listed: set[int] = set()
    for first, last in re.findall(r"F(\d+)(?:–F(\d+))?", section):
        listed |= set(range(int(first), int(last or first) + 1))
    assert sorted(set(numbers("F")) - listed) == []


def test_nothing_cites_a_document_that_is_not_here() -> None:
    """Only the documents of this repository explain it."""
    outside = re.compile(r"\b(?:DESIGN|CONTRACT|REST|SDK|STYLE)\.md\b|\bDESIGN\b,? (?:D\d|section)|\bCONTRACT C\d")
    texts = {**sources(), **{relative(path): path.read_text("utf-8") for path in DOCUMENTS}}
    texts.pop(relative(Path(__file__)))
    assert [path for path, text in texts.items() if outside.search(text)] == []


# --- the client ---


def test_the_document_of_the_client_lists_every_call_and_every_error() -> None:
    text = (ROOT / "docs" / "sdk.md").read_text("utf-8")
    from ambry import AmbryClient

    calls = {name for name in dir(AmbryClient) if not name.startswith("_") and callable(getattr(AmbryClient, name))}
    listed = text.partition("## To come")[0]
    assert sorted(name for name in calls if f"`{name}(" not in listed and f".{name}(" not in listed) == []
    raised = {
        name
        for name in dir(ambry)
        if isinstance(kind := getattr(errors, name, None), type) and issubclass(kind, errors.AmbryError)
    }
    assert sorted(name for name in raised if f"`{name}`" not in text) == []


# --- the HTTP API ---


def test_the_document_of_the_http_api_lists_every_route() -> None:
    """Method and target of each, in the table of calls; and no other."""
    nothing: Any = None
    config = FrontendConfig(frontend=FrontendSection(name="f", datacenter="d"))
    services: Any = MagicMock()
    api = AmbryApi(
        nothing,
        Containers(config.accounts),
        config=config,
        clock=nothing,
        access=nothing,
        unready=list,
        services=services,
    )
    routed = {(method, route.target) for route in api.routes for method in route.methods}
    section = (ROOT / "docs" / "rest.md").read_text("utf-8").partition("## Calls")[2].partition("\n## ")[0]
    listed: set[tuple[str, str]] = set()
    for row in re.findall(r"^\| (`[^|]*) \|", section, flags=re.MULTILINE):
        methods: list[str] = []
        for part in re.findall(r"`([^`]+)`", row):
            method, _, target = part.partition(" ")
            methods.append(method)
            if target:
                listed |= {(each, target) for each in methods}
                methods = []
    assert listed == routed


def test_the_document_of_the_http_api_names_every_header_that_an_upload_takes() -> None:
    text = (ROOT / "docs" / "rest.md").read_text("utf-8").lower()
    assert sorted(name for name in ON_UPLOAD if f"`{name}`" not in text) == []


def test_the_document_of_the_http_api_lists_every_status_of_an_error() -> None:
    text = (ROOT / "docs" / "rest.md").read_text("utf-8")
    listed = {
        int(number) for row in re.findall(r"^\| ([\d, ]+) \|", text, flags=re.MULTILINE) for number in row.split(", ")
    }
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AmbryError)]
    assert {kind.status for kind in kinds} - listed == set()


# --- documents that people write ---


def keys_in(heading: str) -> dict[str, str]:
    """The first two cells of the table below this head in docs/documents.md."""
    table = (ROOT / "docs" / "documents.md").read_text("utf-8").partition(f"| {heading} |")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table, flags=re.MULTILINE))


def test_every_key_of_a_document_is_told_and_no_other() -> None:
    assert set(keys_in("key of a feature")) == set(FEATURE_FIELDS)
    assert set(keys_in("key of a dimension")) == set(DIMENSION_FIELDS)
    assert set(keys_in("key of an experiment")) == {
        *(each.name for each in fields(Experiment)),
        "format",
    }
    defaults = {each.name: each.default for each in fields(ColumnThresholds)}
    assert {name: json.loads(told) for name, told in keys_in("threshold").items()} == defaults
    assert all(f"`{kind.value}`" in keys_in("key of a feature")["valType"] for kind in ValueType)


def test_the_documents_that_are_shown_are_read() -> None:
    text = (ROOT / "docs" / "documents.md").read_text("utf-8")
    shown = {
        kind: re.findall(rf"^```{kind}\n(.*?)^```", text, re.S | re.M) for kind in ("hocon", "csv", "json", "toml")
    }
    definitions = with_vocabularies(parse_definitions(shown["hocon"][0]), {"action.csv": shown["csv"][0]}.get)
    check_references(definitions)
    assert len(definitions.features) == 2 and len(definitions.dimensions) == 4
    assert parse_experiment(shown["json"][0]).note == "the new loss"
    assert set(json.loads(shown["json"][1])) == {each.name for each in fields(Exposure)}
    assert parse_thresholds(shown["toml"][0]).of("mean radius").psi_max == 0.5


# --- the matrix of what was seen once ---

LEVELS = ("one part", "whole nodes, histories", "processes", "planted")


def matrix() -> list[dict[str, str]]:
    """The rows of docs/testing.md, cells by the names of their columns."""
    text = (ROOT / "docs" / "testing.md").read_text("utf-8")
    section = text.partition("## What was seen once")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    names = ["number", *lines[0][1:]]
    return [dict(zip(names, line, strict=True)) for line in lines[2:]]


def named_in(cell: str) -> list[str]:
    return re.findall(r"`(test_\w+\.py::test_\w*\*?)`", cell)


def test_every_test_of_the_matrix_exists() -> None:
    files: dict[str, list[Path]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        files.setdefault(path.name, []).append(path)
    wrong = []
    for named in (name for row in matrix() for level in LEVELS for name in named_in(row[level])):
        file, _, test = named.partition("::")
        text = "\n".join(path.read_text("utf-8") for path in files.get(file, []))
        pattern = rf"^\s*(?:async )?def {test[:-1]}" if test.endswith("*") else rf"^\s*(?:async )?def {test}\("
        if not re.search(pattern, text, re.MULTILINE):
            wrong.append(named)
    assert wrong == []


def test_every_row_of_the_matrix_says_what_shows_it_at_each_level() -> None:
    rows = matrix()
    assert sorted({int(row["number"][1:]) for row in rows if row["number"]}) == list(range(1, 18))
    for row in rows:
        assert named_in(row["one part"]), row
        assert named_in(row["processes"]) or row["processes"].startswith("none: "), row
        assert all(name in PLANTED for name in re.findall(r"`(\w+)`", row["planted"])), row
