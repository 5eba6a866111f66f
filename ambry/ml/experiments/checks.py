"""What may stand in the document of an experiment, field by field, and when two values are the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ambry.errors import InvalidRequest

TEXT_CHARACTERS_MAX = 150
"""Of what arms, metrics and attributes are called."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,149}", re.ASCII)
_WHOLE_MAX = (1 << 53) - 1
"""Beyond it, languages whose numbers are all doubles take two whole numbers for one."""
_FIELDS: Mapping[str, frozenset[str]] = {
    "an experiment": frozenset(
        ("format", "name", "salt", "arms", "exposed", "targeting", "layer", "holdout", "metrics", "note")
    ),
    "an arm": frozenset(("name", "share", "model")),
    "a layer": frozenset(("name", "from", "to")),
    "a holdout": frozenset(("name", "share")),
}


def typed(value: object) -> object:
    """What is equal to another one's if both are the same to every language: of true, and never of 1; of 1 and 1.0."""
    return (value, True) if isinstance(value, bool) else value if isinstance(value, str | int | float) else None


def check_part(what: str, part: object) -> None:
    if isinstance(part, bool) or not isinstance(part, int | float) or not 0 <= part <= 1:
        raise InvalidRequest(f"{what} is a number from 0 to 1, not {part!r}")


def check_name(what: str, name: object) -> None:
    """Of what stands in the name of a dataset or a blob."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r} is no name of {what}; take letters, digits, dots, - and _")


def check_text(what: str, text: object, characters_max: int = TEXT_CHARACTERS_MAX, *, is_needed: bool = True) -> None:
    if not isinstance(text, str) or (is_needed and not text) or len(text) > characters_max:
        shown = repr(text)[:60]
        raise InvalidRequest(f"{what} is a text of {int(is_needed)} to {characters_max} characters, not {shown}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"{what} is {text!r}, which no file can hold: a half of a character stands alone"
        ) from None


def check_values(attribute: str, values: Iterable[object]) -> None:
    if not values:
        raise InvalidRequest(f"targeting by {attribute!r} takes at least one value; leave it out for everybody")
    for value in values:
        if isinstance(value, str):
            check_text(f"a value of {attribute!r}", value, is_needed=False)
        elif not isinstance(value, int | float):
            raise InvalidRequest(f"targeting by {attribute!r} takes texts, numbers or booleans, not {value!r}")
        elif not abs(value) <= _WHOLE_MAX:
            raise InvalidRequest(
                f"targeting by {attribute!r} takes numbers up to {_WHOLE_MAX}, not {value!r}, which another language "
                "would round; take a text"
            )


def check_fields(kind: str, said: object) -> None:
    if not isinstance(said, dict):
        raise InvalidRequest(f"this is no experiment: {kind} is an object, not {said!r:.60}")
    if strange := sorted(said.keys() - _FIELDS[kind]):
        raise InvalidRequest(
            f"{kind} has no field {strange[0]!r:.60}; it has {', '.join(sorted(_FIELDS[kind]))}; is it misspelt?"
        )


def listed(name: str, values: object) -> tuple[Any, ...]:
    if not isinstance(values, list):
        raise InvalidRequest(f"{name!r} is a list in an experiment, not {values!r:.60}")
    return tuple(values)


def fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises InvalidRequest for a name that stands twice: which one counts is another matter elsewhere."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"the field {twice!r:.60} stands twice in the experiment; say it once")
    return found
