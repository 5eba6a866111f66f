"""No call of MLflow's store falls to an answer that is about models, or to a traceback: it is ours, or says what to use."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

pytest.importorskip("mlflow", reason="MLflow is not installed; `make libraries` does it")

from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.abstract_store import AbstractStore

from ambry.ml.tracking.refusals import NO_PROMPTS, NO_WEBHOOKS, PromptsAndWebhooks
from ambry.ml.tracking.registry import AmbryModelRegistry

LISTS = ("list_webhooks", "list_webhooks_by_event", "search_prompts")
REFUSED = sorted(name for name in vars(PromptsAndWebhooks) if not name.startswith("_") and name not in LISTS)
INHERITED = {
    "copy_model_version": "of our own calls",
    "link_prompts_to_trace": "writes to the tracking store, of prompts wherever they are kept",
    "supports_workspaces": "no",
}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One whose cluster is not there: what is refused asks none."""
    monkeypatch.setenv("AMBRY_ENDPOINTS", "http://127.0.0.1:1")
    return AmbryModelRegistry("ambry://team/models")


def arguments_of(call: str) -> dict[str, str]:
    """As MLflow's own store is called."""
    return {name: "fraud" for name in inspect.signature(getattr(AbstractStore, call)).parameters if name != "self"}


def test_each_call_of_mlflows_store_is_ours_or_is_known_to_work() -> None:
    kinds = AmbryModelRegistry.__mro__
    ours = {name for kind in kinds[: kinds.index(AbstractStore)] for name in vars(kind)}
    asked = {name for name in dir(AbstractStore) if not name.startswith("_")}
    assert asked - ours == set(INHERITED), "a call of another version of MLflow: implement it, or refuse it"
    assert set(REFUSED) <= asked


@pytest.mark.parametrize("call", REFUSED)
def test_what_is_refused_says_what_to_use(registry: Any, call: str) -> None:
    with pytest.raises(MlflowException) as refused:
        getattr(registry, call)(**arguments_of(call))
    why = NO_WEBHOOKS if "webhook" in call else NO_PROMPTS
    assert (refused.value.message, refused.value.error_code) == (f"{call}: {why}", "INVALID_PARAMETER_VALUE")
    assert "\n" not in why and ". " not in why


@pytest.mark.parametrize("call", LISTS)
def test_lists_of_them_are_empty(registry: Any, call: str) -> None:
    found = getattr(registry, call)(**arguments_of(call))
    assert (list(found), found.token) == ([], None)
