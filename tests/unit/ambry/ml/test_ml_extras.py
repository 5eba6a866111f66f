"""What is missing is told by the extra that brings it, and a page of the guide needs no more than it says."""

from __future__ import annotations

import ast
import re
import sys
import threading
import tomllib
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from ambry.ml import extras
from ambry.ml.extras import EXTRA_OF, needed, to_install

ROOT = Path(__file__).resolve().parents[4]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = {
    "joblib": "scikit-learn",  # which needs it
    "prometheus_client": "prometheus-client",
    "sklearn": "scikit-learn",
    "mlflow": "mlflow-skinny",
    "confluent_kafka": "confluent-kafka",
    "yaml": "mlflow-skinny",  # which needs it
}
"""What brings a module that is called otherwise."""
OF_OURS = {
    "ambry.ml.experiments": "experiments",
    "ambry.ml.features": "features",
    "ambry.ml.health": "experiments",
    "ambry.ml.models": "models",
    "ambry.ml.photon": "photon",
    "ambry.ml.snapshots": "features",
    "ambry.ml.sources": "sources",
    "ambry.ml.vocab": "features",
    "ambry.streams": "streams",
    "ambry.tensors": "tensors",
}
GUIDE = sorted((ROOT / "docs/guide").glob("*.md"))


def brought(extras: set[str]) -> set[str]:
    """The distributions of `ambry` with these extras."""
    found: set[str] = set()
    todo, seen = [*PROJECT["dependencies"]], set(extras)
    for extra in extras:
        todo += PROJECT["optional-dependencies"][extra]
    while todo:
        told = todo.pop()
        if inner := re.fullmatch(r"ambry\[([\w,]+)\]", told):
            for extra in set(inner[1].split(",")) - seen:
                seen.add(extra)
                todo += PROJECT["optional-dependencies"][extra]
        else:
            found.add(re.split(r"[<>=!~\[; ]", told)[0].lower())
    return found | {f"ambry[{extra}]" for extra in seen}


@pytest.mark.parametrize(("library", "extra"), EXTRA_OF.items())
def test_the_extra_that_is_named_brings_it(library: str, extra: str) -> None:
    assert DISTRIBUTIONS.get(library, library) in brought({extra})


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("skops_that_is_not_there.io", "this needs skops_that_is_not_there: pip install skops_that_is_not_there"),
        ("json.nothing", "this needs json: pip install json"),
    ],
)
def test_what_is_missing_is_told(module: str, words: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=words):
        needed(module)


def test_what_a_missing_library_needs_itself_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outer_one.py").write_text("import skops_missing_here\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="this needs skops_missing_here"):
        needed("outer_one")
    assert to_install("lmdb") == "'ambry[sources]'"


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.name)
def test_what_a_page_says_to_install_is_what_its_code_imports(page: Path) -> None:
    text = page.read_text("utf-8")
    told = re.findall(r"pip install ((?:'[^'\n]+'|[a-z][\w-]*)(?: (?:'[^'\n]+'|[a-z][\w-]*(?=[ `])))*)", text)
    names = {name for line in told for name in re.findall(r"[^\s']+", line)}
    extras = {extra for name in names if name.startswith("ambry[") for extra in name[6:-1].split(",")}
    there = brought(extras) | {name.partition("[")[0] for name in names}
    imported: set[str] = set()
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.update(f"{node.module}.{alias.name}" for alias in node.names)
    lacking = set()
    for module in imported:
        library = module.partition(".")[0]
        ours = next((extra for place, extra in OF_OURS.items() if module.startswith(place)), None)
        if ours is not None and f"ambry[{ours}]" not in there:
            lacking.add(f"ambry[{ours}]")
        if library not in {*sys.stdlib_module_names, "ambry"} and DISTRIBUTIONS.get(library, library) not in there:
            lacking.add(library)
    assert not lacking, f"{page.name} says {told or 'nothing'}"


WARNING = (
    "import warnings",
    "warnings.simplefilter('always', DeprecationWarning)",
    "warnings.warn('x', DeprecationWarning)",
)


def test_a_library_that_is_known_to_warns_no_user_while_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One below Quix Streams had each command of streams begin with two lines about httpx."""
    for module in ("warns_at_once", "warns_too"):
        (tmp_path / f"{module}.py").write_text("\n".join(WARNING))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(extras, "WARNS_ITS_AUTHORS", {"warns_at_once"})
    shown: list[str] = []
    with warnings.catch_warnings():
        monkeypatch.setattr(warnings, "showwarning", lambda message, *_, **__: shown.append(str(message)))
        ours = warnings.showwarning
        needed("warns_at_once")
        assert shown == [] and warnings.showwarning is ours
        warnings.warn("ours", DeprecationWarning, stacklevel=1)
        needed("warns_too")
    assert shown == ["ours", "x"] and capfd.readouterr().err == ""


def test_what_other_threads_warn_of_meanwhile_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was lost, and of two imports at once the second one put the silence of the first one back for ever."""
    begun = {module: threading.Event() for module in ("warns_one", "warns_two")}
    go_on = {module: threading.Event() for module in begun}

    def wait(module: str) -> None:
        begun[module].set()
        go_on[module].wait(30)

    monkeypatch.setitem(sys.modules, "of_this_test", SimpleNamespace(wait=wait))
    for module in begun:
        lines = (*WARNING, "from of_this_test import wait", "wait(__name__)")
        (tmp_path / f"{module}.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(extras, "WARNS_ITS_AUTHORS", set(begun))
    shown: list[str] = []
    with warnings.catch_warnings():
        monkeypatch.setattr(warnings, "showwarning", lambda message, *_, **__: shown.append(str(message)))
        ours = warnings.showwarning
        imports = {module: threading.Thread(target=needed, args=(module,)) for module in begun}
        for module, thread in imports.items():
            thread.start()
            assert begun[module].wait(30)
        for module, thread in imports.items():
            warnings.warn(f"ours, before {module} is there", DeprecationWarning, stacklevel=1)
            go_on[module].set()
            thread.join(30)
        assert warnings.showwarning is ours
    assert shown == [f"ours, before {module} is there" for module in begun]
