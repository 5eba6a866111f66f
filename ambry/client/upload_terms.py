"""What is said of an upload in parts when it begins, and held against parts before they are sent, and before it is completed.

    size         of the whole blob, in bytes
    part_size    of every part but the last, in bytes
    checksum     xxh3-128 of the whole blob, in hexadecimal

Nothing of it has to be known; without it parts are of any size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any

from ambry.client.model import UploadedPart, check_type
from ambry.client.sections import PART_BYTES_MIN
from ambry.errors import InvalidRequest

TOLD_MAX = 5
"""Numbers of parts in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadTerms:
    """None, and an empty `checksum`, is what nobody knows."""

    size: int | None = None
    part_size: int | None = None
    checksum: str = ""

    def __post_init__(self) -> None:
        for name, least in (("size", 0), ("part_size", PART_BYTES_MIN)):
            if (value := getattr(self, name)) is not None:
                check_type(name, value, Integral, "a number of bytes")
                if value < least:
                    raise InvalidRequest(f"{name} of an upload is at least {least} bytes, not {value}")

    @property
    def is_counted(self) -> bool:
        """Whether sizes are known that parts must have."""
        return self.size is not None or self.part_size is not None

    def check_part(self, number: int, size: int | None) -> None:
        """Raises InvalidRequest for a part of `size` bytes, None where that is not known, that cannot be one of this upload."""
        if size is None or self.part_size is None:
            return
        if self.size is None:
            if size > self.part_size:
                raise InvalidRequest(f"part {number} has {size} bytes, more than part_size={self.part_size}")
            return
        start = (number - 1) * self.part_size
        wanted = max(0, min(self.part_size, self.size - start))
        if size != wanted or (not wanted and number > 1):
            raise InvalidRequest(
                f"part {number} has {size} bytes; of {self.size} bytes in parts of {self.part_size} it has {wanted}"
            )

    def check_whole(self, parts: Sequence[UploadedPart]) -> None:
        """Raises InvalidRequest where these, by rising number, are not all of it."""
        arrived = sum(each.size for each in parts)
        if self.part_size is not None and parts:
            there = {each.part: each.size for each in parts}
            last = max(there)
            if self.size is not None:
                last = max(last, -(-self.size // self.part_size))
            wrong = [number for number in range(1, last) if there.get(number) != self.part_size]
            if last not in there:
                wrong.append(last)
            if wrong:
                told = ", ".join(map(str, wrong[:TOLD_MAX])) + (", ..." if len(wrong) > TOLD_MAX else "")
                raise InvalidRequest(
                    f"the upload is not whole: part {told} is missing, or not of {self.part_size} bytes; send it, "
                    "and complete it then"
                )
        if self.size is not None and arrived != self.size:
            raise InvalidRequest(
                f"the upload is not whole: {arrived} bytes in {len(parts)} parts, and its size is {self.size}; send what is "
                "missing, and complete it then"
            )

    def state(self) -> dict[str, Any]:
        """What is known, as JSON may hold it."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> UploadTerms:
        """Those that `state` told of, among other things."""
        return cls(**{name: state[name] for name in ("size", "part_size", "checksum") if name in state})
