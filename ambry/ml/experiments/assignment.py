"""Who sees what: a pure function of an experiment's salt and a unit, the same in every process, datacenter and release.

A unit is hashed by xxh3_64 with the salt as its seed, and lies at a place in [0, 1). An arm has a stretch of it as long as its
share; the last one ends at 1, however shares are rounded. While an experiment is ramped to a part `exposed`, each arm takes
that part of its own stretch, from its beginning: so widening adds units, and moves nobody from one arm to another or back. Two
experiments have two salts, and so places that know nothing of each other.

Whole numbers of 64 bits are hashed as their 8 bytes (little-endian), texts as their UTF-8; the text of a whole number is that
number, so that a service that has ids as texts sees the same. The method is the one of LinkedIn's LiX (2020-12-16): a digest of
a fixed-width salt and the id, cut by cumulative fractions.

Whole arrays of units are hashed by hashing.py, which does as xxhash does.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import xxhash

from ambry.errors import InvalidRequest

if TYPE_CHECKING:
    from ambry.ml.experiments.hashing import UnitKeys

Unit = int | str
Stretch = tuple[float, float]
"""Of places: from the first to the second, which is not included."""

_PLACES = 1 << 53
_LIMIT = 1 << 63
_BEGIN = frozenset(("", "-", *"0123456789"))
"""With what the text of a number begins; the rest need not be looked at."""


def salt_of(text: str) -> int:
    """64 bits for a name. Two names have two salts."""
    return xxhash.xxh3_64_intdigest(text.encode())


def unit_of(unit: Unit) -> Unit:
    """A unit as it is counted: the number of which a text is the text, and any other as it is. Raises InvalidRequest."""
    if isinstance(unit, str) and unit[:1] in _BEGIN:
        number = _number(unit)
        return unit if number is None else number
    return unit


def place_of(salt: int, unit: Unit) -> float:
    """Where a unit lies in [0, 1). Raises InvalidRequest for what is no unit."""
    return place_at(salt, key_of(unit))


def place_at(salt: int, key: bytes) -> float:
    """Where the unit of a key lies (`key_of`)."""
    return (xxhash.xxh3_64_intdigest(key, salt) >> 11) / _PLACES


def places_of(salt: int, units: Any) -> Any:
    """`place_of` of each, as a numpy array. Of a numpy array of whole numbers without a loop. Raises InvalidRequest."""
    return places_at(salt, keys_of(units))


def array_of(column: Any) -> Any:
    """A column as numpy has it, of which texts are objects: its own arrays of texts lose the NULs at their ends."""
    import numpy as np

    array = np.asarray(column)
    return array if array.dtype.kind not in "SU" or column is array else np.array(list(column), dtype=object)


def keys_of(units: Any) -> UnitKeys:
    """Of units, what `key_of` says of each; hashed as often as one likes. Raises InvalidRequest."""
    import numpy as np

    from ambry.ml.experiments.hashing import UnitKeys

    array = array_of(units) if hasattr(units, "__array__") else None
    if array is not None and array.dtype.kind in "iu" and array.ndim == 1:
        if array.dtype == np.uint64 and len(array) and int(array.max()) >= _LIMIT:
            raise InvalidRequest(f"{int(array.max())} is no unit: a number has 64 bits with a sign")
        return UnitKeys.of_numbers(array.astype(np.int64, copy=False))
    listed = list(units) if array is None else array.tolist()
    types = set(map(type, listed))
    if types == {str}:
        return _keys_of_texts(listed)
    if types == {int}:
        with suppress(OverflowError):  # `key_of` says which one.
            return UnitKeys.of_numbers(np.array(listed, dtype=np.int64))
    keys = [key_of(unit) for unit in listed]
    return UnitKeys(b"".join(keys), np.fromiter(map(len, keys), dtype=np.int64, count=len(keys)))


def _keys_of_texts(units: list[str]) -> UnitKeys:
    """Without a call for each, but for numbers with a sign or of more than 18 digits."""
    import numpy as np

    from ambry.ml.experiments.hashing import UnitKeys
    from ambry.ml.experiments.numerals import numbers_among

    joined = "".join(units)
    if joined.isascii():
        data, sizes = joined.encode(), map(len, units)
    else:
        encoded = [unit.encode("utf-8", "surrogatepass") for unit in units]
        data, sizes = b"".join(encoded), map(len, encoded)
    lengths = np.fromiter(sizes, dtype=np.int64, count=len(units))
    if not lengths.all():
        raise InvalidRequest("the empty text is no unit")
    places, numbers, unsure = numbers_among(data, lengths)
    if len(unsure):
        found = [(place, number) for place in unsure.tolist() if (number := _number(units[place])) is not None]
        more = np.array(found, dtype=np.int64).reshape(-1, 2)
        places, numbers = np.concatenate([places, more[:, 0]]), np.concatenate([numbers, more[:, 1]])
        order = np.argsort(places)
        places, numbers = places[order], numbers[order]
    return UnitKeys(data, lengths, (places, numbers))


def places_at(salt: int, keys: UnitKeys) -> Any:
    """Where the units of keys lie, as a numpy array."""
    import numpy as np

    return (keys.hashes(salt) >> np.uint64(11)).astype(np.float64) / _PLACES


def exposed_stretches(shares: Sequence[float], exposed: float) -> tuple[Stretch, ...]:
    """Which places each arm has, while that part of it is exposed."""
    found, begin = [], 0.0
    for share in shares[:-1]:
        found.append((begin, min(begin + share * exposed, 1.0)))
        begin += share
    # What sums of shares lack to 1 in their last bits is the last arm's: at exposed 1 no place is in no arm.
    return (*found, (begin, 1.0 if exposed == 1 else begin + (1.0 - begin) * exposed))


def arm_at(place: float, stretches: Sequence[Stretch]) -> int | None:
    """The arm at a place (`exposed_stretches`); None for one that is not exposed (yet)."""
    for arm, (begin, end) in enumerate(stretches):
        if begin <= place < end:
            return arm
    return None


def arms_at(places: Any, stretches: Sequence[Stretch]) -> Any:
    """`arm_at` of each, as a numpy array; -1 for None."""
    import numpy as np

    begins, ends = np.asarray(stretches, dtype=np.float64).T
    arms = np.searchsorted(begins, places, side="right") - 1
    return np.where(places < ends[arms], arms, -1)


def key_of(unit: Unit) -> bytes:
    """What a unit is hashed as. Raises InvalidRequest for what is no unit."""
    if isinstance(unit, str):
        number = _number(unit) if unit[:1] in _BEGIN else None
        if number is None:
            return unit.encode("utf-8", "surrogatepass")
        unit = number
    elif isinstance(unit, bool) or not isinstance(unit, int):
        raise InvalidRequest(f"{unit!r} is no unit; a unit is a whole number or a text")
    if not -_LIMIT <= unit < _LIMIT:
        raise InvalidRequest(f"{unit} is no unit: a number has 64 bits with a sign")
    return unit.to_bytes(8, "little", signed=True)


def _number(text: str) -> int | None:
    """The number of which this is the text; None for any other text, such as 007. Raises InvalidRequest for the empty one."""
    if not text:
        raise InvalidRequest("the empty text is no unit")
    if len(text) > 20 or not (text.isdecimal() or text[:1] == "-") or not text.isascii():
        return None
    digits = text.removeprefix("-")
    if not digits.isdecimal() or (digits[0] == "0" and text != "0"):
        return None
    number = int(text)
    return number if -_LIMIT <= number < _LIMIT else None
