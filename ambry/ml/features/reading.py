"""Definitions out of their text."""

from __future__ import annotations

import base64
import binascii
import posixpath
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from ambry.errors import InvalidRequest
from ambry.ml.features.definitions import (
    FIRST,
    Availability,
    Categorical,
    Definitions,
    Dimension,
    DimensionKind,
    Discrete,
    EntityKey,
    Feature,
    FeatureDim,
    FeatureValue,
    Hashed,
    ValueType,
)
from ambry.ml.features.text import DefinitionInvalid, TextField, TextNode, TextPlace, is_number, parse_text
from ambry.ml.features.urn import FeatureVersion, Reference, check_name, check_namespace
from ambry.ml.features.vocabulary import Vocabulary, parse_vocabulary

T = TypeVar("T")

FEATURE_FIELDS = ("doc", "version", "dims", "valType", "availability", "default")
DIMENSION_FIELDS = ("doc", "version", "type")
NAMESPACE = "namespace"
_KINDS: Mapping[str, str | None] = {
    "categorical": "idMappingFile",
    "discrete": "size",
    "hashed": "buckets",
    "entity": None,
}
"""Each kind of a dimension, and the one setting that it has."""


def parse_definitions(text: str, namespace: str | None = None, file: str = "") -> Definitions:
    """What a text defines, in `namespace` unless the text says one of its own (`namespace: flagship`).

    Vocabularies that stand in the text are part of it; those in files of their own come in by `with_vocabularies`. Whether
    what features name is there is asked by `check_references`. Raises DefinitionInvalid with the line and the column.
    """
    tree = parse_text(text, file)
    features: dict[tuple[str, FeatureVersion], Feature] = {}
    dimensions: dict[tuple[str, FeatureVersion], Dimension] = {}
    place_of_namespace = TextPlace(file)
    for entry in tree.fields:
        if entry.key == NAMESPACE and entry.value.kind in ("word", "text"):
            namespace, place_of_namespace = _text(entry), entry.value.place
            continue
        made = _entry(entry)
        if isinstance(made, Feature):
            first: Feature | Dimension = features.setdefault((made.name, made.version), made)
        else:
            first = dimensions.setdefault((made.name, made.version), made)
        if first is not made:
            raise DefinitionInvalid(f"{made.name!r} {made.version} stands twice, first at {first.place}", entry.place)
    if namespace is None:
        raise DefinitionInvalid(
            "nothing says which namespace this is; write `namespace: flagship` first", TextPlace(file)
        )
    vocabularies = {
        rows.file: parse_vocabulary("\n".join(rows.lines), file or rows.file, rows.place.line) for rows in tree.rows
    }
    return Definitions(
        _at(place_of_namespace, check_namespace, namespace),
        tuple(features.values()),
        tuple(dimensions.values()),
        vocabularies,
    )


def with_vocabularies(definitions: Definitions, read: Callable[[str], str | None]) -> Definitions:
    """The same with the vocabulary of each categorical dimension; `read` gives the text of a file, None if there is none.

    Raises DefinitionInvalid for a file that is not there or cannot be read.
    """
    found: dict[str, Vocabulary] = dict(definitions.vocabularies)
    for dimension in definitions.dimensions:
        if not isinstance(dimension.kind, Categorical) or (file := dimension.kind.id_mapping_file) in found:
            continue
        text = read(file)
        if text is None:
            raise DefinitionInvalid(
                f"dimension {dimension.name!r}: there is no file {file!r} with its names", dimension.place
            )
        found[file] = parse_vocabulary(text, _beside(dimension.place, file))
    return Definitions(definitions.namespace, definitions.features, definitions.dimensions, found)


def _beside(place: TextPlace | None, file: str) -> str:
    """A file that a definition names, as faults in it say where they are: with the directory of the definition."""
    return posixpath.join(posixpath.dirname("" if place is None else place.file), file)


def check_references(definitions: Definitions, others: Iterable[Definitions] = ()) -> None:
    """Raises DefinitionInvalid for a dimension that nobody defines, here or in `others`."""
    known = {
        dimension.reference.within(one.namespace) for one in (definitions, *others) for dimension in one.dimensions
    }
    for feature in definitions.features:
        for dim in feature.dims:
            if dim.dimension.within(definitions.namespace) in known:
                continue
            versions = sorted(
                str(one.version) for one in known if (one.name, one.namespace) == _named(dim.dimension, definitions)
            )
            there = f"; there is {dim.dimension.name} in version {', '.join(versions)}" if versions else ""
            raise DefinitionInvalid(
                f"feature {feature.name!r}: nobody defines the dimension {dim.dimension}{there}", feature.place
            )


def _named(reference: Reference, definitions: Definitions) -> tuple[str, str | None]:
    return reference.name, reference.within(definitions.namespace).namespace


# --- entries ---


def _entry(entry: TextField) -> Feature | Dimension:
    _at(entry.place, check_name, entry.key)
    fields = _object(entry.value, f"the definition of {entry.key!r}")
    if "valType" in fields and "type" in fields:
        raise DefinitionInvalid(
            f"{entry.key!r} has a valType and a type; a feature has the first, a dimension the second", entry.place
        )
    if "valType" in fields or "dims" in fields:
        return _feature(entry, fields)
    if "type" not in fields:
        raise DefinitionInvalid(
            f"{entry.key!r} has neither valType (then it is a feature) nor type (then it is a dimension)", entry.place
        )
    return _dimension(entry, fields)


def _feature(entry: TextField, fields: Mapping[str, TextField]) -> Feature:
    _only(fields, FEATURE_FIELDS, f"feature {entry.key!r}")
    if "valType" not in fields:
        raise DefinitionInvalid(f"feature {entry.key!r} does not say its valType", entry.place)
    value_type = _choice(fields["valType"], ValueType)
    dims = fields.get("dims")
    default = fields.get("default")
    return _at(
        entry.place,
        lambda: Feature(
            entry.key,
            value_type,
            dims=() if dims is None else _dims(dims),
            version=_version(fields),
            availability=_choice(fields["availability"], Availability)
            if "availability" in fields
            else Availability.BOTH,
            default=None if default is None else _default(default, value_type),
            doc=_text(fields["doc"]) if "doc" in fields else "",
            place=entry.place,
        ),
    )


def _dimension(entry: TextField, fields: Mapping[str, TextField]) -> Dimension:
    _only(fields, DIMENSION_FIELDS, f"dimension {entry.key!r}")
    return Dimension(
        entry.key,
        _kind(fields["type"]),
        version=_version(fields),
        doc=_text(fields["doc"]) if "doc" in fields else "",
        place=entry.place,
    )


def _kind(entry: TextField) -> DimensionKind:
    """Of `categorical : {idMappingFile: "x.csv"}`, also as HOCON would have it: `{categorical: {idMappingFile: "x.csv"}}`."""
    node = entry.value
    settings = node
    if node.label is not None:
        label = node.label
    elif node.kind == "object":
        inner = _object(node, "type")
        if len(inner) != 1:
            raise DefinitionInvalid("a dimension has one type", node.place)
        [(label, only)] = inner.items()
        settings = only.value
    else:
        label = _text(entry)
    if label not in _KINDS:
        raise DefinitionInvalid(
            f"a dimension cannot be {label!r}; it is {_one_of(_KINDS)}{_near(label, _KINDS)}", node.place
        )
    setting = _KINDS[label]
    fields = _object(settings, label) if settings.kind == "object" else {}
    _only(fields, () if setting is None else (setting,), f"a dimension that is {label}")
    given = None if setting is None else fields.get(setting)
    if given is None and label in ("categorical", "hashed"):
        raise DefinitionInvalid(f"a dimension that is {label} says its {setting}", node.place)
    match label:
        case "categorical" if given is not None:
            return Categorical(_at(given.value.place, _check_file, _text(given)))
        case "hashed" if given is not None:
            return _at(given.value.place, lambda: Hashed(_whole(given)))
        case "discrete":
            return Discrete() if given is None else _at(given.value.place, lambda: Discrete(_whole(given)))
        case _:
            return EntityKey()


def _dims(entry: TextField) -> tuple[FeatureDim, ...]:
    if entry.value.kind != "list":
        raise DefinitionInvalid("dims is a list, such as [feedActions-1-0, numberOfDays-1-0]", entry.value.place)
    return tuple(_dim(node) for node in entry.value.value if isinstance(node, TextNode))


def _dim(node: TextNode) -> FeatureDim:
    """Of `feedActions-1-0`, or of `{name: viewer, dim: member-1-0}`."""
    if node.kind != "object":
        if not isinstance(node.value, str):
            raise DefinitionInvalid("a dim is a name with its version, such as feedActions-1-0", node.place)
        return FeatureDim(_at(node.place, Reference.parse, node.value))
    fields = _object(node, "a dim")
    _only(fields, ("name", "dim"), "a dim")
    if set(fields) != {"name", "dim"}:
        raise DefinitionInvalid("a dim in braces says both: {name: viewer, dim: member-1-0}", node.place)
    reference = _at(fields["dim"].value.place, Reference.parse, _text(fields["dim"]))
    local_name = _at(fields["name"].value.place, check_name, _text(fields["name"]))
    return FeatureDim(reference, "" if local_name == reference.name else local_name)


def _default(entry: TextField, value_type: ValueType) -> FeatureValue:
    node = entry.value
    if not isinstance(node.value, str):
        raise DefinitionInvalid("a default is one value", node.place)
    return _at(node.place, lambda: value_type.check(_value(node, str(node.value), value_type)))


def _value(node: TextNode, text: str, value_type: ValueType) -> FeatureValue:
    """Raises InvalidRequest."""
    match value_type:
        case ValueType.STRING:
            return text
        case ValueType.BYTES:
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error:
                raise InvalidRequest(f"{text!r} is not base64, as which bytes are written here") from None
        case ValueType.BOOLEAN if node.kind == "word" and text in ("true", "false"):
            return text == "true"
        case ValueType.INT | ValueType.LONG | ValueType.FLOAT | ValueType.DOUBLE if is_number(node) and _is_whole(text):
            return int(text)
        case ValueType.FLOAT | ValueType.DOUBLE if is_number(node):
            return float(text)
        case _:
            raise InvalidRequest(f"{text!r} is not a value of the type {value_type.value}")


def _is_whole(text: str) -> bool:
    return text.lstrip("-").isdecimal() and len(text) <= 20


# --- fields ---


def _object(node: TextNode, what: str) -> dict[str, TextField]:
    """Fields by name. Raises DefinitionInvalid for what is no object, and for a name that stands twice."""
    if node.kind != "object":
        raise DefinitionInvalid(f"{what} stands in braces", node.place)
    fields: dict[str, TextField] = {}
    for one in node.value:
        if isinstance(one, TextField) and fields.setdefault(one.key, one) is not one:
            raise DefinitionInvalid(f"{one.key!r} stands twice, first at {fields[one.key].place}", one.place)
    return fields


def _only(fields: Mapping[str, TextField], known: Iterable[str], what: str) -> None:
    known = tuple(known)
    for name, entry in fields.items():
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has no settings"
            raise DefinitionInvalid(f"{what} has no {name!r}; {has}{_near(name, known)}", entry.place)


def _version(fields: Mapping[str, TextField]) -> FeatureVersion:
    """Of `version: "1.0"`, which is also what stands for none."""
    entry = fields.get("version")
    return FIRST if entry is None else _at(entry.value.place, FeatureVersion.parse, _text(entry))


def _choice(entry: TextField, kinds: type[T]) -> T:
    names: list[str] = [kind.value for kind in kinds]  # type: ignore[attr-defined]
    text = _text(entry)
    if text not in names:
        near = _near(text.upper(), names) or _near(text, names)
        raise DefinitionInvalid(f"{entry.key} cannot be {text!r}; it is {_one_of(names)}{near}", entry.value.place)
    return kinds(text)  # type: ignore[call-arg]


def _text(entry: TextField) -> str:
    if not isinstance(entry.value.value, str):
        raise DefinitionInvalid(f"{entry.key} is one text", entry.value.place)
    return entry.value.value


def _whole(entry: TextField) -> int:
    """Raises DefinitionInvalid."""
    text = _text(entry)
    if not is_number(entry.value) or not text.isdecimal() or len(text) > 20:
        raise DefinitionInvalid(f"{entry.key} is a whole number, not {text!r}", entry.value.place)
    return int(text)


def _check_file(name: str) -> str:
    """Raises InvalidRequest. A file lies beside the definitions: nothing that was published leads out of its directory."""
    parts = name.split("/")
    if (
        not name
        or "\\" in name
        or "\0" in name
        or not name.isprintable()
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise InvalidRequest(f"{name!r} is not the name of a file beside the definitions, such as feedActions.csv")
    if name.lower().endswith(".conf"):
        raise InvalidRequest(f"{name!r} is called as definitions are; call a vocabulary NAME.csv")
    return name


def _at(place: TextPlace, make: Callable[..., T], *arguments: object) -> T:
    """What `make` gives; what it refuses is said with `place`. Raises DefinitionInvalid."""
    try:
        return make(*arguments)
    except DefinitionInvalid:
        raise
    except InvalidRequest as error:
        raise DefinitionInvalid(error.message, place) from None


def _one_of(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


def _near(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
