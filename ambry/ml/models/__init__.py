"""Models: versions that never change, aliases that say which one serves, and what each was made from.

from ambry.ml import models

made = models.publish(client, "fraud", state_dict, features=[urn], snapshot="members", metrics={"auc": 0.93})
models.promote(client, made.place, why="better on the holdout")
tensors = models.open(client, "fraud@champion").load()
with models.ModelWatch(client, "fraud") as watch:
    watch.current.load()                        # follows the alias
models.roll_back(client, "fraud", why="false alarms at night")
"""

from __future__ import annotations

from ambry.ml.models.catalogue import ListedModel, list_models
from ambry.ml.models.histories import ModelChange, ModelVersion, diff, history
from ambry.ml.models.histories import versions_of as versions
from ambry.ml.models.lifecycle import LineageStep, ModelWatch, lineage, promote, roll_back
from ambry.ml.models.loading import StoredModel, open_model
from ambry.ml.models.manifest import ModelManifest, ModelPart
from ambry.ml.models.publishing import PublishedModel
from ambry.ml.models.publishing import publish_model as publish
from ambry.ml.models.stored_parts import ListedPart, delete_unused, list_parts

__all__ = [
    "LineageStep",
    "ListedModel",
    "ListedPart",
    "ModelChange",
    "ModelManifest",
    "ModelPart",
    "ModelVersion",
    "ModelWatch",
    "PublishedModel",
    "StoredModel",
    "delete_unused",
    "diff",
    "history",
    "lineage",
    "list_models",
    "list_parts",
    "promote",
    "publish",
    "roll_back",
    "versions",
]

open = open_model
"""Not among the names of `import *`, which would hide the builtin of who says so."""
