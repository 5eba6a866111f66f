"""Which models there are: each with its newest version, by one call for a thousand of them."""

from __future__ import annotations

import numpy as np
import pytest

from ambry import AmbryClient
from ambry.ml import models
from ambry.ml.models.catalogue import is_model
from ambry.ml.models.publishing import KIND_KEY


def publish(client: AmbryClient, name: str, **more: float) -> models.PublishedModel:
    return models.publish(client, name, {"w": np.ones(2)}, metrics=more)


def test_models_are_listed_with_their_newest_versions(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(client, f"{name}-one")
    newest = publish(client, f"{name}-one", auc=0.5)
    other = publish(client, f"{name}-two")
    client.create_dataset(f"{name}-empty", tags={"kind": "model"})
    client.create_dataset(f"{name}-other", tags={"kind": "snapshot"})
    client.put_version(f"{name}-other", b"x", "1.0.0")
    client.create_dataset(f"{name}-plain")
    client.put_version(f"{name}-plain", b"x", "1.0.0")
    client.create_dataset(f"{name}-untagged")
    untagged = client.put_version(f"{name}-untagged", b"x", "1.0.0", metadata={KIND_KEY: "arrow"})
    mine = [each for each in models.list_models(client) if each.name.startswith(f"{name}-")]
    assert [(each.name, each.version, each.id) for each in mine] == [
        (f"{name}-one", newest.version, newest.id),
        (f"{name}-two", other.version, other.id),
        (f"{name}-untagged", "1.0.0", untagged.id),
    ]
    assert client.head(mine[0].place).id == newest.id


def test_one_that_says_what_it_is_costs_no_call(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(client, name)
    [dataset] = [each for each in client.datasets(newest=True) if each.name == name]
    asked: list[object] = []
    monkeypatch.setattr(AmbryClient, "head", lambda self, place: asked.append(place))
    assert is_model(client, dataset) and not asked
