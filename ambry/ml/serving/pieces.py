"""JSON of megabytes, parsed a piece at a time so that other threads go on: `json.loads` holds the interpreter to its end.

Lists of numbers, nested or not, are cut at commas that lie at their own depth, PIECE bytes at a time; each cut is parsed by
`json.loads`, so what is JSON and what it means is what that says. Texts and objects are taken one by one. The number of values
is bounded, and the work is proportional to the size.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest

PIECE = 1 << 16
"""Bytes. A body up to this size is parsed at once."""
DEPTH_MAX = 64
"""Of lists and objects in each other."""

_CUT_MIN = 256
"""Bytes. Where a text or an object is nearer, values are taken one by one, which is cheaper than to look for a cut."""

_MARK = re.compile(rb'["{}]')
_SPACE = re.compile(rb"[ \t\n\r]*+")
_SCALAR = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[-+.\w]++', re.DOTALL)


class NoJson(InvalidRequest):
    """The text is no JSON."""


def parse_json(text: bytes, *, values_max: int) -> Any:
    """Raises NoJson, and InvalidRequest for more values than that in a text of more than PIECE bytes."""
    try:
        if len(text) <= PIECE:
            return _loads(text)
        return _Parser(text, values_max).whole()
    except InvalidRequest:
        raise
    except (ValueError, IndexError, RecursionError):
        raise NoJson("the body is no JSON") from None


def _loads(text: bytes) -> Any:
    return json.loads(str(text, "utf-8"), parse_constant=_no_constant)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not in JSON")


class _Parser:
    """Raises ValueError, IndexError for what is no JSON. Places are bytes of the text."""

    def __init__(self, text: bytes, values_max: int) -> None:
        self._text = text
        self._values = 0
        self._values_max = values_max
        self._mark = -1
        """The next text or object, as far as it was looked for."""

    def whole(self) -> Any:
        value, place = self._value(self._spaced(0), 0)
        if self._spaced(place) != len(self._text):
            raise ValueError
        return value

    def _spaced(self, place: int) -> int:
        found = _SPACE.match(self._text, place)
        return place if found is None else found.end()

    def _count(self, values: int) -> None:
        self._values += values
        if self._values > self._values_max:
            raise InvalidRequest(f"the body has more than {self._values_max} values; send fewer rows at a time")

    def _value(self, place: int, depth: int) -> tuple[Any, int]:
        if depth > DEPTH_MAX:
            raise ValueError
        self._count(1)
        match self._text[place]:
            case 0x5B:
                return self._list(self._spaced(place + 1), depth)
            case 0x7B:
                return self._object(self._spaced(place + 1), depth)
        return self._scalar(place)

    def _scalar(self, place: int) -> tuple[Any, int]:
        found = _SCALAR.match(self._text, place)
        if found is None:
            raise ValueError
        return _loads(found[0]), found.end()

    def _object(self, place: int, depth: int) -> tuple[dict[str, Any], int]:
        made: dict[str, Any] = {}
        if self._text[place] == 0x7D:
            return made, place + 1
        while True:
            if self._text[place] != 0x22:
                raise ValueError
            name, place = self._scalar(place)
            place = self._spaced(place)
            if self._text[place] != 0x3A:
                raise ValueError
            made[name], place = self._value(self._spaced(place + 1), depth + 1)
            place = self._spaced(place)
            if self._text[place] == 0x7D:
                return made, place + 1
            if self._text[place] != 0x2C:
                raise ValueError
            place = self._spaced(place + 1)

    def _list(self, place: int, depth: int) -> tuple[list[Any], int]:
        made: list[Any] = []
        if self._text[place] == 0x5D:
            return made, place + 1
        while True:
            if size := self._cut(place):
                piece = self._text[place : place + size]
                self._count(piece.count(b",") + 1)
                made += _loads(b"[%b]" % piece)
                place += size
            else:
                value, place = self._value(place, depth + 1)
                made.append(value)
            place = self._spaced(place)
            if self._text[place] == 0x5D:
                return made, place + 1
            if self._text[place] != 0x2C:
                raise ValueError
            place = self._spaced(place + 1)

    def _cut(self, place: int) -> int:
        """How many bytes of whole values, numbers and lists of them, follow within a list; 0 for none that can be told."""
        if self._mark < place:
            found = _MARK.search(self._text, place)
            self._mark = len(self._text) if found is None else found.start()
        if self._mark - place < _CUT_MIN:
            return 0
        window = self._text[place : min(place + PIECE, self._mark)]
        marks = np.frombuffer(window, dtype=np.uint8)
        depths = np.cumsum((marks == 0x5B).astype(np.int32) - (marks == 0x5D))
        ended = depths < 0
        if ended.any():
            return int(ended.argmax())
        commas = np.flatnonzero((marks == 0x2C) & (depths == 0))
        return int(commas[-1]) if len(commas) else 0
