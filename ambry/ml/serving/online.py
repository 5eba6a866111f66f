"""Whether all features of a model may be asked for where it serves: told when it is loaded, and not to who wants a score.

The definitions that the manifest names say so, or else the snapshot that it was trained on. Where neither is there any more,
or the definitions live elsewhere (`wheel:...`), nobody knows, and it serves.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress

from ambry.errors import BlobNotFound, DataCorrupt, InvalidRequest
from ambry.ml.features.availability import check_served
from ambry.ml.features.definitions import Availability
from ambry.ml.features.metadata import FeatureNotDefined
from ambry.ml.features.publishing import load
from ambry.ml.models.loading import StoredModel
from ambry.ml.models.publishing import is_elsewhere
from ambry.ml.snapshots.described import type_of
from ambry.ml.snapshots.reading import open_snapshot
from ambry.ml.snapshots.schema import columns_of

_log = logging.getLogger("ambry.ml")


def check_online(model: StoredModel) -> None:
    """Raises WrongSource for a model one of whose features is OFFLINE, and what the store raises."""
    features = model.manifest.features
    if not features:
        return
    try:
        said_by, found = _availability(model)
    except (BlobNotFound, InvalidRequest, DataCorrupt) as error:
        _log.warning("not known whether its features are online", extra={"model": str(model), "error": str(error)})
        return
    to_do = (
        "train a model without it, or publish definitions in which it is BOTH, and the model with these (its parts are "
        "not stored again)"
    )
    for urn in features:
        if urn in found:
            whose = f"serving {model}, which takes it,"
            check_served(f"{urn} (by {said_by})", found[urn], Availability.ONLINE, whose, to_do)


def _availability(model: StoredModel) -> tuple[str, Mapping[str, Availability]]:
    """Who says where features are, and what of those of the model. Raises BlobNotFound, InvalidRequest, what a get raises."""
    manifest = model.manifest
    if manifest.definitions and not is_elsewhere(manifest.definitions):
        try:
            metadata = load(model.client, manifest.definitions).metadata
        except BlobNotFound:
            if not manifest.snapshot:
                raise
        else:
            found = {}
            for urn in manifest.features:
                with suppress(FeatureNotDefined):
                    found[urn] = metadata.feature(urn).availability
            return manifest.definitions, found
    if not manifest.snapshot:
        return "nobody", {}
    with open_snapshot(model.client, manifest.snapshot) as snapshot:
        schema = snapshot.schema
    said = {urn: type_of(schema.field(name)) for urn, name in columns_of(schema).items()}
    return manifest.snapshot, {urn: kind.availability for urn, kind in said.items() if kind is not None}
