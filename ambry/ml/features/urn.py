"""Names: `urn:li:(flagship,historicalActionsInFeed,1,0)` of a feature, `feedActions-1-0` of a dimension in its namespace.

The URN is the one of LinkedIn's typed features: namespace, name, major and minor version. The longer form, with an entity type
(`urn:li:mlFeature:(...)`), is read and never written. In a tuple `%`, `,`, `(`, `)` and white space are percent-encoded, as
RFC 3986 section 2.1 does it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Self
from urllib.parse import unquote

from ambry.errors import InvalidRequest

URN_CHARACTERS_MAX = 255
VERSION_PART_MAX = 999
"""The largest part of a version, as of a version of a dataset."""
NAME_CHARACTERS_MAX = 128

_URN = re.compile(r"urn:li:(?:(?P<entity>[A-Za-z][A-Za-z0-9]*):)?\((?P<parts>[^()]*)\)", re.ASCII)
_VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})", re.ASCII)
_REFERENCE = re.compile(r"(?:(?P<namespace>.+)/)?(?P<name>.+)-(?P<major>\d{1,3})-(?P<minor>\d{1,3})", re.ASCII)
_ENCODED = re.compile(r"[%,()\s]")


@dataclass(frozen=True, slots=True, order=True)
class FeatureVersion:
    """Of a feature or a dimension. The same version always means the same dimensions and types."""

    major: int
    minor: int

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        if not (0 <= self.major <= VERSION_PART_MAX and 0 <= self.minor <= VERSION_PART_MAX):
            raise InvalidRequest(
                f"version {self.major}.{self.minor}: each part is a number from 0 to {VERSION_PART_MAX}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of `1.0`. Raises InvalidRequest."""
        found = _VERSION.fullmatch(text)
        if found is None:
            raise InvalidRequest(f'{text!r} is not a version; write two numbers with a dot, such as "1.0"')
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A dimension (or feature) as a definition names it: `feedActions-1-0`, or `flagship/feedActions-1-0` from elsewhere."""

    name: str
    version: FeatureVersion
    namespace: str | None = None
    """None is the namespace that the reference stands in."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidRequest."""
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise InvalidRequest(
                f"{text!r} does not say which version is meant; write a name with it, such as {text}-1-0"
            )
        version = FeatureVersion(int(found["major"]), int(found["minor"]))
        namespace = found["namespace"]
        return cls(check_name(found["name"]), version, None if namespace is None else check_namespace(namespace))

    def within(self, namespace: str) -> Reference:
        """The same with its namespace said, for who stands in `namespace`."""
        return self if self.namespace is not None else Reference(self.name, self.version, namespace)

    def __str__(self) -> str:
        place = "" if self.namespace is None else f"{self.namespace}/"
        return f"{place}{self.name}-{self.version.major}-{self.version.minor}"


@dataclass(frozen=True, slots=True, order=True)
class FeatureUrn:
    """The name of a feature in the whole world."""

    namespace: str
    name: str
    version: FeatureVersion

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        check_namespace(self.namespace)
        check_name(self.name)
        if len(str(self)) > URN_CHARACTERS_MAX:
            raise InvalidRequest(
                f"the URN of {self.name!r} has more than {URN_CHARACTERS_MAX} characters; shorten its name"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidRequest."""
        found = _URN.fullmatch(text) if len(text) <= URN_CHARACTERS_MAX else None
        parts = (
            [] if found is None else [unquote(part.strip(), errors="strict") for part in _fields(found["parts"], text)]
        )
        if len(parts) != 4 or not all(re.fullmatch(r"\d{1,3}", part, re.ASCII) for part in parts[2:]):
            raise InvalidRequest(
                f"{text[:URN_CHARACTERS_MAX]!r} is not the URN of a feature; write "
                "urn:li:(namespace,name,major,minor), such as urn:li:(flagship,historicalActionsInFeed,1,0)"
            )
        return cls(parts[0], parts[1], FeatureVersion(int(parts[2]), int(parts[3])))

    def __str__(self) -> str:
        names = ",".join(_ENCODED.sub(_percent, part) for part in (self.namespace, self.name))
        return f"urn:li:({names},{self.version.major},{self.version.minor})"


def parse_urn(text: str, known: Iterable[FeatureUrn]) -> FeatureUrn:
    """`FeatureUrn.parse`, which says where it is none which of `known` is meant. Raises InvalidRequest."""
    try:
        return FeatureUrn.parse(text)
    except InvalidRequest as error:
        same, near = _named(text, known)
        hint = f"; did you mean {' or '.join(map(str, same or near))}?" if same or near else ""
        raise InvalidRequest(f"{error.message}{hint}") from None


def find_urn(text: str, known: Iterable[FeatureUrn]) -> FeatureUrn:
    """What somebody types: a URN, or the name of a feature where one alone of `known` has it.

    Raises InvalidRequest, which names the URNs that may be meant.
    """
    if text.lstrip().startswith("urn:"):
        return FeatureUrn.parse(text)
    same, near = _named(text, known)
    if len(same) == 1:
        return same[0]
    if same:
        raise InvalidRequest(f"several features are called {text!r}: {', '.join(map(str, same))}; write which one")
    hint = f"did you mean {near[0]}?" if near else "write its name, or urn:li:(namespace,name,major,minor)"
    raise InvalidRequest(f"no feature is called {text[:URN_CHARACTERS_MAX]!r}; {hint}")


def _named(text: str, known: Iterable[FeatureUrn]) -> tuple[list[FeatureUrn], list[FeatureUrn]]:
    """Those that are called `text`; and, where none is, the one whose name is most like it."""
    names: dict[str, list[FeatureUrn]] = {}
    for urn in sorted(known):
        here = Reference(urn.name, urn.version)
        for name in (urn.name, str(here), str(here.within(urn.namespace))):
            names.setdefault(name, []).append(urn)
    near = [] if text in names else get_close_matches(text, names, n=1)
    return names.get(text, []), [urn for name in near for urn in names[name]][:1]


def check_name(name: str) -> str:
    """`name`, if a feature or dimension may have it. Raises InvalidRequest."""
    if (
        not 1 <= len(name) <= NAME_CHARACTERS_MAX
        or "/" in name
        or name != name.strip()
        or not name.isprintable()
        or name in (".", "..")
    ):
        raise InvalidRequest(
            f"{name!r} is not a name; take 1 to {NAME_CHARACTERS_MAX} printable characters without / and without spaces around"
        )
    return name


def check_namespace(namespace: str) -> str:
    """`namespace`, if there can be one of that name. Raises InvalidRequest."""
    try:
        return check_name(namespace)
    except InvalidRequest:
        raise InvalidRequest(
            f"{namespace!r} is not a namespace; take 1 to {NAME_CHARACTERS_MAX} printable characters without /"
        ) from None


def _fields(tuple_text: str, urn: str) -> list[str]:
    """Raises InvalidRequest for what is no percent-encoded UTF-8, so that two texts never are one name by accident."""
    fields = tuple_text.split(",")
    for field in fields:
        try:
            unquote(field, errors="strict")
        except UnicodeDecodeError:
            raise InvalidRequest(f"{urn!r}: {field!r} is not percent-encoded UTF-8") from None
        if re.search(r"%(?![0-9A-Fa-f]{2})", field):
            raise InvalidRequest(
                f"{urn!r}: a % in {field!r} is followed by two hexadecimal digits; write %25 for itself"
            )
    return fields


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())
