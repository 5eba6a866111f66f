"""The text form of definitions, as a tree of values that know where they stand.

The text is what LinkedIn's article on typed features shows: HOCON without its outermost braces, where the kind of a dimension
stands before its settings (`type: categorical : {`), and where the rows of a vocabulary may follow in the same text under a
comment that names their file. Read are objects, lists, quoted, triple-quoted and bare words, `=` for `:`, line ends for commas,
`#` and `//`. Not read are substitutions, includes, `+=` and dotted keys, which would let one line change what another one says.

HOCON: https://github.com/lightbend/config/blob/main/HOCON.md
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import NoReturn

from ambry.errors import InvalidRequest

DEPTH_MAX = 32
TEXT_CHARACTERS_MAX = 64 << 20
GAP_LINES_MAX = 1_000_000
"""Between rows of one vocabulary, of all vocabularies in a text: each line is kept, so that faults are told with theirs."""

_SPACE = re.compile(r"[ \t\r\f\v﻿]+")
_COMMENT = re.compile(r"(?://|#)[^\n]*")
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')
_TRIPLE = re.compile(r'"""(.*?)"""(?!")', re.DOTALL)
_BARE = re.compile(r"(?:(?!//)[^\s{}\[\],:=#\"\\`^?!@*&$+'])+(?:[ \t]+(?:(?!//)[^\s{}\[\],:=#\"\\`^?!@*&$+'])+)*")
_ROW = re.compile(r"[ \t]*[0-9]+[ \t]*,[^\n]*")
_ROWS_OF = re.compile(r"([^()\s]+\.csv)\Z", re.IGNORECASE)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?=[\s,}\]]|\Z)", re.ASCII)
_INSTEAD = {
    "$": "substitutions (${...}) are not read here; write the value itself",
    "+": "+= is not read here; write the whole list",
}


@dataclass(frozen=True, slots=True)
class TextPlace:
    """Where something stands in a text; lines and columns count from 1."""

    file: str = ""
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.file else f"line {self.line}, column {self.column}"


class DefinitionInvalid(InvalidRequest):
    """A definition cannot be read or contradicts another one. `place` says where."""

    def __init__(self, message: str, place: TextPlace | None = None) -> None:
        super().__init__(f"{place}: {message}" if place is not None else message)
        self.place = place


@dataclass(frozen=True, slots=True)
class TextField:
    """`key: value` of an object."""

    key: str
    place: TextPlace
    value: TextNode


@dataclass(frozen=True, slots=True)
class TextNode:
    """A value. An object is a tuple of fields, a list a tuple of nodes; what was not quoted says so."""

    value: str | tuple[TextField, ...] | tuple[TextNode, ...]
    place: TextPlace
    kind: str
    """`word` (not quoted), `text` (quoted), `list` or `object`."""
    label: str | None = None
    """The word before an object: `categorical` of `type: categorical : {...}`."""


@dataclass(frozen=True, slots=True)
class TextRows:
    """Rows of a vocabulary that stand among the definitions."""

    file: str
    place: TextPlace
    lines: list[str] = field(default_factory=list[str])
    """From the line of `place` on; empty where no row stands."""


@dataclass(frozen=True, slots=True)
class TextTree:
    """A whole text: its entries in their order, and the vocabularies in it."""

    fields: tuple[TextField, ...]
    rows: tuple[TextRows, ...]


def parse_text(text: str, file: str = "") -> TextTree:
    """Raises DefinitionInvalid with the line and the column."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise DefinitionInvalid(f"a text of more than {TEXT_CHARACTERS_MAX} characters is not read", TextPlace(file))
    return _Parser(text, file).whole()


def is_number(node: TextNode) -> bool:
    """Whether it is a word that JSON reads as a number."""
    return node.kind == "word" and isinstance(node.value, str) and _NUMBER.fullmatch(node.value) is not None


class _Parser:
    """Recursive descent; `_at` is where the next character stands."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._at = 0
        self._line = 1
        self._line_start: int = 0
        self._rows: dict[str, TextRows] = {}
        self._rows_of: str | None = None
        self._gap_lines = 0

    def whole(self) -> TextTree:
        self._skip(rows=True)
        braced = self._peek() == "{"
        fields = self._object(1).value if braced else self._fields("", 0)
        self._skip(rows=True)
        if self._at < len(self._text):
            self._refuse(
                "nothing can follow the closing brace of the whole text" if braced else "this brace opens nothing"
            )
        return TextTree(tuple(f for f in fields if isinstance(f, TextField)), tuple(self._rows.values()))

    def _fields(self, end: str, depth: int) -> tuple[TextField, ...]:
        """Up to `end`, which is not taken."""
        found: list[TextField] = []
        while True:
            self._skip(rows=depth == 0, commas=True)
            if self._peek() == end or self._peek() == "" or (self._peek() == "}" and not end):
                return tuple(found)
            found.append(self._field(depth))

    def _field(self, depth: int) -> TextField:
        place = self._place()
        bare = self._peek() != '"'
        key = self._word("a name")
        if bare and "." in key:
            raise DefinitionInvalid(f"a dot in the name {key!r} would open an object; put the name in quotes", place)
        self._skip(lines=False)
        if self._peek() in (":", "="):
            self._take(1)
        elif self._peek() != "{":
            self._refuse(_INSTEAD.get(self._peek(), f"a : is missing after {key!r}"))
        self._skip()
        return TextField(key, place, self._value(depth))

    def _value(self, depth: int) -> TextNode:
        if depth >= DEPTH_MAX:
            self._refuse(f"objects and lists are nested more than {DEPTH_MAX} deep")
        place = self._place()
        sign = self._peek()
        if sign == "{":
            return self._object(depth + 1)
        if sign == "[":
            return self._list(depth + 1)
        quoted = sign == '"'
        word = self._word("a value")
        if not quoted:
            before = (self._at, self._line, self._line_start)
            self._skip(lines=False)
            labels = self._peek() in (":", "=")
            if labels:
                self._take(1)
                self._skip()
            if self._peek() == "{":
                return TextNode(self._object(depth + 1).value, place, "object", word)
            if labels:
                self._refuse(f"an object in braces is missing after {word!r} :")
            self._at, self._line, self._line_start = before
        return TextNode(word, place, "text" if quoted else "word")

    def _object(self, depth: int) -> TextNode:
        place = self._place()
        self._take(1)
        fields = self._fields("}", depth)
        if self._peek() != "}":
            raise DefinitionInvalid("this brace is never closed", place)
        self._take(1)
        return TextNode(fields, place, "object")

    def _list(self, depth: int) -> TextNode:
        place = self._place()
        self._take(1)
        found: list[TextNode] = []
        while True:
            self._skip(commas=True)
            if self._peek() == "]":
                self._take(1)
                return TextNode(tuple(found), place, "list")
            if self._peek() == "":
                raise DefinitionInvalid("this bracket is never closed", place)
            found.append(self._value(depth))

    def _word(self, what: str) -> str:
        """A quoted text or a bare word."""
        if triple := _TRIPLE.match(self._text, self._at):
            self._take(triple.end() - self._at)
            return triple[1]
        if quoted := _QUOTED.match(self._text, self._at):
            try:
                word: str = json.loads(quoted[0], strict=False)
            except ValueError:
                self._refuse(f"{quoted[0]} has an escape that JSON does not know")
            self._take(quoted.end() - self._at)
            return word
        if bare := _NUMBER.match(self._text, self._at) or _BARE.match(self._text, self._at):
            self._take(bare.end() - self._at)
            return bare[0]
        sign = self._peek()
        if sign == '"':
            self._refuse("this quotation mark is never closed")
        self._refuse(
            _INSTEAD.get(sign, f"{what} is missing before {sign!r}" if sign else f"{what} is missing at the end")
        )

    # --- what lies between ---

    def _skip(self, *, lines: bool = True, commas: bool = False, rows: bool = False) -> None:
        """Past white space and comments; past line ends, commas and rows of a vocabulary as said."""
        while self._at < len(self._text):
            if rows and self._at == self._line_start and (row := _ROW.match(self._text, self._at)):
                self._row(row[0])
                self._take(row.end() - self._at)
            elif space := _SPACE.match(self._text, self._at):
                self._take(space.end() - self._at)
            elif comment := _COMMENT.match(self._text, self._at):
                if named := _rows_of(comment[0]):
                    self._rows_of = named
                self._take(comment.end() - self._at)
            elif (lines and self._peek() == "\n") or (commas and self._peek() == ","):
                self._take(1)
            else:
                return

    def _row(self, row: str) -> None:
        if self._rows_of is None:
            self._refuse(
                "a row of a vocabulary belongs in its own file, or below a comment that names the file: // ... (name.csv):"
            )
        rows = self._rows.setdefault(self._rows_of, TextRows(self._rows_of, self._place()))
        gap = self._line - rows.place.line - len(rows.lines)
        self._gap_lines += gap
        if self._gap_lines > GAP_LINES_MAX:
            self._refuse(f"more than {GAP_LINES_MAX} lines lie between rows of one vocabulary; put its rows together")
        rows.lines.extend([""] * gap)
        rows.lines.append(row)

    def _take(self, count: int) -> None:
        taken = self._text[self._at : self._at + count]
        lines = taken.count("\n")
        if lines:
            self._line += lines
            self._line_start = self._at + taken.rindex("\n") + 1
        self._at += count

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _place(self) -> TextPlace:
        return TextPlace(self._file, self._line, self._at - self._line_start + 1)

    def _refuse(self, message: str) -> NoReturn:
        raise DefinitionInvalid(message, self._place())


def _rows_of(comment: str) -> str | None:
    """The file whose rows follow a comment, which names it in parentheses at its end: `// ids (feedActions.csv):`."""
    words = comment.rstrip().removesuffix(":").rstrip()
    if not words.endswith(")"):
        return None
    inside = words[words.rfind("(") + 1 : -1].strip() if "(" in words else ""
    return inside if _ROWS_OF.fullmatch(inside) else None
