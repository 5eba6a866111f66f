"""Keys in CSV, as they stand: 0003 is not 3, and neither 1e3 nor 2024-01-01 is anything but its letters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from ambry.ml.extras import needed
from ambry.special_file import is_special

_WHOLE = r"^(0|-?[1-9][0-9]*)$"


def keys_are_texts(path: Path, column: str, **options: Any) -> bool:
    """Whether a key in a column is not written as a whole number of 64 bits is; the file is read for it. `options` are those of
    `open_csv` that say how it is read.

    Without such a column, and of what is no CSV, it says False: who reads the file tells what is wrong. So it says of a pipe,
    which can be read once.
    """
    if is_special(path):
        return False
    arrow_csv, compute = needed("pyarrow.csv"), needed("pyarrow.compute")
    convert = arrow_csv.ConvertOptions(
        column_types={column: pa.string()},
        include_columns=[column],
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    try:
        with arrow_csv.open_csv(path, convert_options=convert, **options) as reader:
            for batch in reader:
                keys = batch.column(0).drop_null()
                if not compute.all(compute.match_substring_regex(keys, _WHOLE), min_count=0).as_py():
                    return True
                try:
                    keys.cast(pa.int64())
                except pa.ArrowInvalid:
                    return True
    except (pa.ArrowException, OSError):
        pass
    return False
