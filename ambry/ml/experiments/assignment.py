"""Who sees what: a pure function of an experiment's salt and a unit, the same in every process, datacenter and release.

A unit is hashed by xxh3_64 with the salt as its seed, and lies at a place in [0, 1). An arm has a stretch of it as long as its
share; the last one ends at 1, however shares are rounded. While an experiment is ramped to a part `exposed`, each arm takes
that part of its own stretch, from its beginning: so widening adds units, and moves nobody from one arm to another or back. Two
experiments have two salts, and so places that know nothing of each other.

Whole numbers of 64 bits are hashed as their 8 bytes (little-endian), texts as their UTF-8; the text of a whole number is that
number, so that a service that has ids as texts sees the same. The method is the one of LinkedIn's LiX (2020-12-16): a digest of
a fixed-width salt and the id, cut by cumulative fractions.

xxh3: https://github.com/Cyan4973/xxHash/blob/v0.8.2/xxhash.h (XXH3_len_4to8_64b, XXH3_rrmxmx), done here for whole arrays too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import repeat
from typing import Any

import xxhash

from ambry.errors import InvalidRequest

Unit = int | str
Stretch = tuple[float, float]
"""Of places: from the first to the second, which is not included."""

_PLACES = 1 << 53
_LIMIT = 1 << 63
_MASK64 = (1 << 64) - 1
_BEGIN = frozenset(("", "-", *"0123456789"))
"""With what the text of a number begins; the rest need not be looked at."""
_DIGITS = frozenset("0123456789")
_DIGITS_SAFE = 18
"""So many decimal digits are a number of 64 bits, whichever they are."""
# Bytes 8 to 24 of xxh3's secret, as two numbers, and what its mixer multiplies by.
_SECRET_8, _SECRET_16 = 0x1CAD21F72C81017C, 0xDB979083E96DD4DE
_MULTIPLIER = 0x9FB21C651E98DF25


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


def keys_of(units: Any) -> Any:
    """What units are hashed as: a numpy array of numbers with 64 bits, or a list of keys. Raises InvalidRequest."""
    import numpy as np

    array = array_of(units) if hasattr(units, "__array__") else None
    if array is not None and array.dtype.kind in "iu" and array.ndim == 1:
        if array.dtype == np.uint64 and len(array) and int(array.max()) >= _LIMIT:
            raise InvalidRequest(f"{int(array.max())} is no unit: a number has 64 bits with a sign")
        return array.astype(np.int64, copy=False)
    listed = list(units) if array is None else array.tolist()
    types = set(map(type, listed))
    if types == {str}:
        return _keys_of_texts(listed)
    if types == {int}:
        with suppress(OverflowError):  # `key_of` says which one.
            return np.array(listed, dtype=np.int64)
    return [key_of(unit) for unit in listed]


def _keys_of_texts(units: list[str]) -> Any:
    """As `keys_of`, for texts of which most are read without a call of a function for each."""
    import numpy as np

    begins = {unit[:1] for unit in units}
    if _BEGIN.isdisjoint(begins):
        try:
            return [unit.encode() for unit in units]
        except UnicodeEncodeError:  # Half of a pair of surrogates, which `key_of` takes.
            return [key_of(unit) for unit in units]
    digits = "".join(units) if begins <= _DIGITS else "-"
    if (
        digits.isascii()
        and digits.isdecimal()
        and max(map(len, units)) <= _DIGITS_SAFE
        and ("0" not in begins or all(unit == "0" for unit in units if unit[0] == "0"))
    ):
        return np.fromiter(map(int, units), dtype=np.int64, count=len(units))
    return [key_of(unit) for unit in units]


def places_at(salt: int, keys: Any) -> Any:
    """Where the units of keys lie (`keys_of`), as a numpy array."""
    import numpy as np

    if isinstance(keys, np.ndarray):
        hashes = _hashes(salt, keys)
    else:
        found = map(xxhash.xxh3_64_intdigest, keys, repeat(salt))
        hashes = np.fromiter(found, dtype=np.uint64, count=len(keys))
    return (hashes >> np.uint64(11)).astype(np.float64) / _PLACES


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


def _hashes(salt: int, units: Any) -> Any:
    """xxh3_64 of the 8 bytes of each number, with a seed."""
    import numpy as np

    low = salt & 0xFFFFFFFF
    seed = (salt ^ (int.from_bytes(low.to_bytes(4, "little"), "big") << 32)) & _MASK64
    flip = np.uint64(((_SECRET_8 ^ _SECRET_16) - seed) & _MASK64)
    words = units.view(np.uint64)
    mixed = ((words << np.uint64(32)) | (words >> np.uint64(32))) ^ flip
    mixed ^= _rotated(mixed, 49) ^ _rotated(mixed, 24)
    mixed *= np.uint64(_MULTIPLIER)
    mixed ^= (mixed >> np.uint64(35)) + np.uint64(8)
    mixed *= np.uint64(_MULTIPLIER)
    return mixed ^ (mixed >> np.uint64(28))


def _rotated(words: Any, bits: int) -> Any:
    import numpy as np

    return (words << np.uint64(bits)) | (words >> np.uint64(64 - bits))
