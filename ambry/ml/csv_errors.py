"""What pyarrow says of a CSV, in the words of who wrote it: a column by its name, a row by its number.

Read with threads, pyarrow counts columns from 0 and says no row: the file is read once more, without, up to what is wrong.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from ambry.ml.extras import needed

HEADER_CHARACTERS_MAX = 1 << 20
_TOLD = re.compile(
    r"(?:In CSV column #(?P<column>\d+): )?(?:CSV parse error: )?(?:Row #(?P<row>\d+): )?(?P<what>.*)", re.DOTALL
)
_VALUE = re.compile(r"CSV conversion error to (?P<type>[^:]+): invalid value '(?P<value>.*)'", re.DOTALL)


def csv_words(path: Path, error: Exception, kinds: Mapping[str, str] | None = None, **options: Any) -> str:
    """What `error` says of the CSV. `kinds` are types by column as a user calls them, `options` those of `open_csv`."""
    message = _with_its_row(path, error, options)
    told = _TOLD.fullmatch(message)
    if told is None:
        return message
    where = "" if told["row"] is None else f"; it is in row {told['row']}, the header is row 1"
    if told["column"] is None:
        return told["what"] + where
    name = _column(path, int(told["column"]), options)
    value = _VALUE.fullmatch(told["what"])
    if value is None:
        return f"the column {name!r}: {told['what']}{where}"
    return f"{value['value'][:40]!r} in the column {name!r} is not {(kinds or {}).get(name, value['type'])}{where}"


def _with_its_row(path: Path, error: Exception, options: Mapping[str, Any]) -> str:
    """What pyarrow says, with the row where it finds the same again."""
    arrow_csv = needed("pyarrow.csv")
    given = options.get("read_options")
    read = arrow_csv.ReadOptions(use_threads=False, block_size=None if given is None else given.block_size)
    try:
        with arrow_csv.open_csv(path, **{**options, "read_options": read}) as reader:
            for _ in reader:
                pass
    except pa.ArrowException as again:
        return str(again)
    except OSError:
        pass
    return str(error)


def _column(path: Path, place: int, options: Mapping[str, Any]) -> str:
    """Its name in the header, or its number from 1 where there is none."""
    parse = options.get("parse_options")
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            lines = iter(lambda: file.readline(HEADER_CHARACTERS_MAX), "")
            names = next(row for row in csv.reader(lines, delimiter="," if parse is None else parse.delimiter) if row)
        return names[place]
    except (OSError, csv.Error, StopIteration, IndexError):
        return f"#{place + 1}"
