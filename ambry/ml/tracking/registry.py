"""A registry of models for MLflow that is our datasets: `mlflow.set_registry_uri("ambry://account/container")`.

    registered model      dataset whose versions are models
    model version         version, by its number (numbers.py)
    alias                 alias
    description, tags     notes beside the dataset (notes.py)

Nothing is kept twice, so nothing can differ: `ambry model` and MLflow's client look at the same versions. What a store of
versions that never change does not do is refused with a sentence: stages, another name for a model, and what refusals.py has.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry.abstract_store import AbstractStore
from mlflow.utils.search_utils import SearchModelUtils, SearchModelVersionUtils, SearchUtils

from ambry.client.datasets import DatasetInfo
from ambry.client.refs import SCHEME, VersionRef
from ambry.errors import AlreadyExists, AmbryError, BlobNotFound, InvalidRequest, NameNotFound, UpdateConflict
from ambry.ml.models.loading import open_model
from ambry.ml.tracking.catalogue import DATASET_TAGS, ModelCatalogue, check_name, is_name
from ambry.ml.tracking.entities import OURS, milliseconds
from ambry.ml.tracking.model_artifacts import model_uri
from ambry.ml.tracking.notes import ModelNotes, change_notes, drop_notes
from ambry.ml.tracking.publishing import ModelOrigin, publish_from
from ambry.ml.tracking.refusals import NO_PROMPTS, PromptsAndWebhooks

SCHEMA = "MONOTONIC"
"""Of a model that MLflow makes: its versions are 1, 2, 3 to both."""
_IS_PROMPT = "mlflow.prompt.is_prompt"
RESULTS_MAX = 200_000
"""Of one page."""


@contextmanager
def _told() -> Generator[None]:
    """Our errors as MLflow's, which its server and its clients understand."""
    try:
        yield
    except AmbryError as error:
        kinds = {
            BlobNotFound: codes.RESOURCE_DOES_NOT_EXIST,
            AlreadyExists: codes.RESOURCE_ALREADY_EXISTS,
            UpdateConflict: codes.RESOURCE_CONFLICT,
            InvalidRequest: codes.INVALID_PARAMETER_VALUE,
        }
        code = next((code for kind, code in kinds.items() if isinstance(error, kind)), codes.INTERNAL_ERROR)
        raise MlflowException(error.message, error_code=code) from error


class AmbryModelRegistry(PromptsAndWebhooks, AbstractStore):  # type: ignore[misc]
    """That of one container."""

    def __init__(self, store_uri: str, tracking_uri: str | None = None) -> None:
        super().__init__(store_uri, tracking_uri)
        account, _, container = store_uri.removeprefix(SCHEME).strip("/").partition("/")
        if not account or not container or "/" in container:
            raise MlflowException(
                f"{store_uri!r} names no container; a registry is ambry://account/container",
                codes.INVALID_PARAMETER_VALUE,
            )
        self._tracking_uri = tracking_uri
        self._models = ModelCatalogue(account, container)
        self.client = self._models.client

    # --- models ---

    @_told()
    def create_registered_model(
        self, name: str, tags: Any = None, description: str | None = None, deployment_job_id: Any = None
    ) -> Any:
        """Make a dataset."""
        check_name(name)
        if any(tag.key == _IS_PROMPT for tag in tags or []):
            raise InvalidRequest(NO_PROMPTS)
        # One of ours may have versions of another schema, of which making it says something else.
        if self._models.is_there(name):
            raise AlreadyExists(f"there is a dataset {name!r} already; publish versions of it")
        self.client.create_dataset(name, SCHEMA, tags=DATASET_TAGS)
        told = {tag.key: tag.value for tag in tags or []}
        made = ModelNotes(description=description or "", tags=told, created_ms=milliseconds(self.client.store_time()))
        change_notes(self.client, name, lambda before: made)
        return self._models.model(self.client.dataset(name))

    @_told()
    def update_registered_model(self, name: str, description: str | None, deployment_job_id: Any = None) -> Any:
        """Another description."""
        found = self._models.dataset(name)
        change_notes(self.client, name, lambda before: replace(before, description=description or ""))
        return self._models.model(found)

    def rename_registered_model(self, name: str, new_name: str) -> Any:
        """A dataset keeps its name."""
        raise MlflowException(
            f"the model {name!r} keeps its name, by which versions are known for ever; copy the versions that you need to "
            f"{new_name!r} (MlflowClient.copy_model_version)",
            codes.INVALID_PARAMETER_VALUE,
        )

    @_told()
    def delete_registered_model(self, name: str) -> None:
        """Delete its aliases, its versions, and then the dataset; files of versions stay for those who have their ids."""
        self._models.dataset(name)
        for alias in self.client.aliases(name):
            self.client.delete_alias(name, alias.alias)
        for entry in self.client.versions(name):
            self._delete(entry.ref)
        self.client.delete_dataset(name)
        drop_notes(self.client, name)

    @_told()
    def get_registered_model(self, name: str) -> Any:
        """A model with its newest version."""
        return self._models.model(self._models.dataset(name))

    @_told()
    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """Models that a filter takes. Without an order they come by name, and only those of the page are looked at."""
        wanted = _names_in(SearchModelUtils, filter_string)
        datasets = [each for each in self.client.datasets() if is_name(each.name) and wanted in (None, each.name)]
        start = SearchUtils.parse_start_offset_from_page_token(page_token)
        count = _count(max_results)
        if order_by:
            found = [model for _, model in self._matching(datasets, 0, filter_string)]
            # The server's pages say timestamp, as MLflow's own registry has it.
            order = [re.sub(r"^timestamp\b", "last_updated_timestamp", each.strip()) for each in order_by]
            return _page(SearchModelUtils.sort(found, order), start, count)
        page: list[Any] = []
        for place, model in self._matching(datasets, start, filter_string):
            if len(page) == count:
                return PagedList(page, SearchUtils.create_page_token(place))
            page.append(model)
        return PagedList(page, None)

    def _matching(
        self, datasets: list[DatasetInfo], start: int, filter_string: str | None
    ) -> Iterator[tuple[int, Any]]:
        """Models from a place of the list on, with their places."""
        for place, dataset in enumerate(datasets[start:], start):
            if not self._models.is_model(dataset):
                continue
            found = SearchModelUtils.filter([self._models.model(dataset)], filter_string)
            if found:
                yield place, found[0]

    @_told()
    def set_registered_model_tag(self, name: str, tag: Any) -> None:
        """Set a tag of a model."""
        self._models.dataset(name)
        change_notes(self.client, name, lambda before: _with_tag(before, tag.key, tag.value))

    @_told()
    def delete_registered_model_tag(self, name: str, key: str) -> None:
        """Delete a tag of a model; fine where it has none of that name."""
        self._models.dataset(name)
        change_notes(self.client, name, lambda before: _without_tag(before, key))

    # --- versions ---

    @_told()
    def create_model_version(
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: Any = None,
        run_link: str | None = None,
        description: str | None = None,
        local_model_path: str | None = None,
        model_id: str | None = None,
    ) -> Any:
        """Publish the files at `source` as the next version, with what its run says of it (publishing.py)."""
        self._models.dataset(name)
        origin = ModelOrigin(source, run_id or "", run_link or "", model_id or "", local_model_path or "")
        told = {tag.key: tag.value for tag in tags or []}
        place = publish_from(self._models, name, origin, told, description or "", self._tracking_uri)
        return self._models.version(place)

    @_told()
    def update_model_version(self, name: str, version: Any, description: str | None) -> Any:
        """Another description."""
        place = self._models.at(name, version).place
        change_notes(self.client, name, lambda before: replace(before, description=description or ""), place.version)
        return self._models.version(place)

    def transition_model_version_stage(
        self, name: str, version: Any, stage: str, archive_existing_versions: bool
    ) -> Any:
        """MLflow has given up stages for aliases."""
        raise MlflowException(
            f"versions have no stages here; let an alias point to it: set_registered_model_alias({name!r}, "
            f"{stage.lower()!r}, {str(version)!r})",
            codes.INVALID_PARAMETER_VALUE,
        )

    @_told()
    def delete_model_version(self, name: str, version: Any) -> None:
        """Delete a version, and the aliases that point to it."""
        place = self._models.at(name, version).place
        for alias in self.client.aliases(name):
            if alias.version == place.version:
                self.client.delete_alias(name, alias.alias, expected=place.version)
        self._delete(place)

    def _delete(self, place: VersionRef) -> None:
        self.client.delete(place)
        drop_notes(self.client, place.dataset, place.version)

    @_told()
    def get_model_version(self, name: str, version: Any) -> Any:
        """One version; `version` is its number, or as our own tools write it (1.2.0)."""
        return self._models.version(self._models.place(name, version))

    @_told()
    def get_model_version_download_uri(self, name: str, version: Any) -> str:
        """Where its files are read."""
        return model_uri(self._models.at(name, version), self._models.account, self._models.container)

    @_told()
    def get_latest_versions(self, name: str, stages: list[str] | None = None) -> list[Any]:
        """The newest version. A stage that is a number with dots is that version: models:/fraud/1.2.0."""
        found = self._models.dataset(name)
        if stages and (exact := [stage for stage in stages if "." in stage]):
            return [self._models.version(self._models.place(name, each)) for each in exact]
        if stages and "none" not in (stage.lower() for stage in stages):
            raise InvalidRequest(f"versions have no stages here, and so none is {', '.join(stages)}; ask for an alias")
        newest: Any = self._models.model(found).latest_versions
        return list(newest)

    @_told()
    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """Versions that a filter of MLflow takes; one that says the name looks at that model alone."""
        wanted = _names_in(SearchModelVersionUtils, filter_string)
        seen: list[Any] = []
        for dataset in self._models.candidates(wanted):
            aliases = self._models.aliases(dataset.name)
            seen += [
                self._models.entity(open_model(self.client, entry.ref), entry.modified, aliases)
                for entry in self.client.versions(dataset.name)
            ]
        found = SearchModelVersionUtils.filter(seen, filter_string)
        order = order_by or ["last_updated_timestamp DESC", "name ASC", "version_number DESC"]
        return _page(
            SearchModelVersionUtils.sort(found, order),
            SearchUtils.parse_start_offset_from_page_token(page_token),
            _count(max_results),
        )

    @_told()
    def set_model_version_tag(self, name: str, version: Any, tag: Any) -> None:
        """Set a tag of a version; those that the version itself says are not to be set."""
        place = self._models.at(name, version).place
        change_notes(self.client, name, lambda before: _with_tag(before, tag.key, tag.value), place.version)

    @_told()
    def delete_model_version_tag(self, name: str, version: Any, key: str) -> None:
        """Delete a tag of a version; fine where it has none of that name."""
        place = self._models.at(name, version).place
        change_notes(self.client, name, lambda before: _without_tag(before, key), place.version)

    # --- aliases ---

    @_told()
    def set_registered_model_alias(self, name: str, alias: str, version: Any) -> None:
        """Let an alias point to a version; the move stays in its history."""
        self.client.set_alias(name, alias, self._models.at(name, version).version, why="set by MLflow")

    @_told()
    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Delete an alias; its history stays."""
        self.client.delete_alias(name, alias)

    @_told()
    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        """Where an alias points now."""
        version = self.client.alias(name, alias).version
        if version is None:
            raise NameNotFound(f"the model {name!r} has no alias {alias!r}")
        return self._models.version(VersionRef(name, version))


def _with_tag(before: ModelNotes, key: str, value: str) -> ModelNotes:
    if key.startswith(OURS):
        raise InvalidRequest(
            f"the tag {key!r} is what the version itself says; take a name that does not begin with {OURS}"
        )
    return replace(before, tags={**before.tags, key: value})


def _without_tag(before: ModelNotes, key: str) -> ModelNotes:
    return replace(before, tags={name: value for name, value in before.tags.items() if name != key})


def _names_in(search: Any, filter_string: str | None) -> str | None:
    """The one name that a filter takes, if it says so."""
    clauses = search.parse_search_filter(filter_string) if filter_string else []
    return next((each["value"] for each in clauses if each["key"] == "name" and each["comparator"] == "="), None)


def _count(max_results: int | None) -> int:
    count = 100 if max_results is None else max_results
    if not 1 <= count <= RESULTS_MAX:
        raise InvalidRequest(f"max_results is a number from 1 to {RESULTS_MAX}, and not {max_results!r}")
    return count


def _page(found: list[Any], start: int, count: int) -> Any:
    end = start + count
    return PagedList(found[start:end], SearchUtils.create_page_token(end) if end < len(found) else None)
