"""What a caller asks for, looked at before anything is done: lists where they are meant, and keys that are URNs of the call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.publishing import LoadedFeatures
from ambry.ml.features.urn import FeatureUrn


def urn_list(urns: Iterable[FeatureUrn | str]) -> list[FeatureUrn | str]:
    """Raises InvalidRequest for one URN, and for what is no list."""
    if isinstance(urns, str | FeatureUrn):
        raise InvalidRequest(f"features are a list of URNs, and not one alone; write [{str(urns)!r}]")
    if not isinstance(urns, Iterable):
        raise InvalidRequest(f"features are a list of URNs, and {type(urns).__name__} is none")
    return list(urns)


def check_keys(keys: Any) -> None:
    """Raises InvalidRequest for one key."""
    if isinstance(keys, str | bytes) or not (hasattr(keys, "__iter__") or hasattr(keys, "__arrow_c_stream__")):
        raise InvalidRequest(f"keys are a list, and not one alone; write [{keys!r}]")


def definitions_in(metadata: FeatureMetadata | LoadedFeatures) -> FeatureMetadata:
    """Raises InvalidRequest for what are no definitions, as the name that they are loaded by."""
    found: Any = metadata.metadata if isinstance(metadata, LoadedFeatures) else metadata
    if not isinstance(found, FeatureMetadata):
        raise InvalidRequest(f"metadata is what features.load(client, {found!r}) gives, and not {type(found).__name__}")
    return found


def by_urn(said: Mapping[str, Any] | None, kinds: Iterable[TensorType], what: str) -> dict[str, Any]:
    """`said` by the text of each URN. Raises InvalidRequest for a key that is no URN of these."""
    known = {str(kind.urn) for kind in kinds}
    found = {str(key): value for key, value in (said or {}).items()}
    if strange := [key for key in found if key not in known]:
        raise InvalidRequest(
            f"`{what}` has the key {strange[0]!r}, which is no URN of this call; those are {', '.join(sorted(known))}"
        )
    return found
