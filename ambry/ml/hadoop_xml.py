"""Hadoop's configuration files: properties with a name and a value."""

from __future__ import annotations

from xml.etree import ElementTree  # nosec B405 # the configuration of the user's own Hadoop

from ambry.errors import InvalidRequest


def parse_hadoop(name: str, data: str | bytes) -> ElementTree.Element:
    """The root of a file, which a refusal calls `name`. Raises InvalidRequest."""
    try:
        return ElementTree.fromstring(data)  # nosec B314 # as above
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # Also of an encoding that there is not.
        raise InvalidRequest(f"{name} is no configuration of Hadoop: {error}") from None


def settings_of(root: ElementTree.Element) -> dict[str, str]:
    """Values by name, as they stand there, with the spaces around them; of a name that stands twice the last one."""
    return {(each.findtext("name") or "").strip(): each.findtext("value") or "" for each in root.iter("property")}
