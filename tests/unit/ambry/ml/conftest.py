from __future__ import annotations

from itertools import count

import pytest

_numbers = count()


@pytest.fixture
def name() -> str:
    return f"made-{next(_numbers)}"
