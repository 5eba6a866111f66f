"""What was written with a newer vocabulary, for a model that was made with an older one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ambry.errors import InvalidRequest
from ambry.ml.features.vocabulary import OUT_OF_VOCAB_ID, Vocabulary


def as_older(vocabulary: Vocabulary, ids: npt.ArrayLike) -> npt.NDArray[Any]:
    """The ids that `vocabulary` has as they are, all others as 0, in the shape and type that they came in.

    An array without others is given as it is. Raises InvalidRequest for what are no whole numbers.
    """
    given = np.asarray(ids)
    if not given.size:
        return given
    if not np.issubdtype(given.dtype, np.integer):
        raise InvalidRequest(f"ids are whole numbers, and not {given.dtype}")
    if vocabulary.size == len(vocabulary.ids):
        known = (given >= 0) & (given < vocabulary.size)
        return given if known.all() else np.where(known, given, OUT_OF_VOCAB_ID).astype(given.dtype)
    # Of one sign with what is given: numpy compares int64 with uint64 as floats, to which large ids are alike.
    ids_there = np.asarray(vocabulary.ids, dtype=np.uint64 if given.dtype.kind == "u" else np.int64)
    known = np.isin(given, ids_there)
    return given if known.all() else np.where(known, given, OUT_OF_VOCAB_ID).astype(given.dtype)
