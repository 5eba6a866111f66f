"""What MLflow's registries do besides, and ours does not: prompts and webhooks. Each call says what to use in its place.

MLflow's own answers fall back to models: `delete_prompt("fraud")` would delete the model `fraud`, and a webhook was a
traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList

NO_PROMPTS = (
    "prompts are no models with files, and this registry keeps none; keep them in a registry of MLflow's own, as "
    'mlflow.set_registry_uri("sqlite:///prompts.sqlite") makes one'
)
NO_WEBHOOKS = (
    "this registry calls no webhooks; follow what changes with `ambry changes --follow` (AmbryClient.changes), or one "
    "alias with ambry.ml.models.watch"
)


def refused(call: str, why: str) -> Callable[..., Any]:
    """A method that does nothing and says so, whatever it is asked."""

    def method(self: object, *args: object, **options: object) -> Any:
        raise MlflowException(f"{call}: {why}", INVALID_PARAMETER_VALUE)

    method.__name__ = method.__qualname__ = call
    method.__doc__ = f"Raises MlflowException: {why}."
    return method


class PromptsAndWebhooks:
    """Before MLflow's own store among the bases of a registry."""

    create_prompt = refused("create_prompt", NO_PROMPTS)
    get_prompt = refused("get_prompt", NO_PROMPTS)
    delete_prompt = refused("delete_prompt", NO_PROMPTS)
    set_prompt_tag = refused("set_prompt_tag", NO_PROMPTS)
    delete_prompt_tag = refused("delete_prompt_tag", NO_PROMPTS)
    create_prompt_version = refused("create_prompt_version", NO_PROMPTS)
    get_prompt_version = refused("get_prompt_version", NO_PROMPTS)
    get_prompt_version_by_alias = refused("get_prompt_version_by_alias", NO_PROMPTS)
    delete_prompt_version = refused("delete_prompt_version", NO_PROMPTS)
    search_prompt_versions = refused("search_prompt_versions", NO_PROMPTS)
    set_prompt_alias = refused("set_prompt_alias", NO_PROMPTS)
    delete_prompt_alias = refused("delete_prompt_alias", NO_PROMPTS)
    set_prompt_version_tag = refused("set_prompt_version_tag", NO_PROMPTS)
    delete_prompt_version_tag = refused("delete_prompt_version_tag", NO_PROMPTS)
    link_prompt_version_to_model = refused("link_prompt_version_to_model", NO_PROMPTS)
    link_prompt_version_to_run = refused("link_prompt_version_to_run", NO_PROMPTS)

    create_webhook = refused("create_webhook", NO_WEBHOOKS)
    get_webhook = refused("get_webhook", NO_WEBHOOKS)
    update_webhook = refused("update_webhook", NO_WEBHOOKS)
    delete_webhook = refused("delete_webhook", NO_WEBHOOKS)
    test_webhook = refused("test_webhook", NO_WEBHOOKS)

    # --- lists, which MLflow's server and its pages ask for ---

    def search_prompts(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """None."""
        return PagedList([], None)

    def list_webhooks(self, max_results: int | None = None, page_token: str | None = None) -> Any:
        """None."""
        return PagedList([], None)

    def list_webhooks_by_event(self, event: Any, max_results: int | None = None, page_token: str | None = None) -> Any:
        """None: whoever wants to hear of versions follows the changes of the container."""
        return PagedList([], None)
