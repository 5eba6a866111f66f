from collections.abc import Sequence
from typing import Any

class StructType:
    fields: list[Any]
    def __init__(self, fields: Sequence[Any]) -> None: ...
