"""What is said of a value that a field does not have: was 'Invalid enum value' alone."""

from __future__ import annotations

from typing import Any

import pytest

from ambry.errors import InvalidRequest
from ambry.rest.accounts import container_changes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"status": "ODD"}, "status: Invalid enum value 'ODD'; there are ACTIVE, INACTIVE"),
        ({"namedBlobMode": "ODD"}, "namedBlobMode: Invalid enum value 'ODD'; there are DISABLED, OPTIONAL, NO_UPDATE"),
        ({"quotaBytes": -5}, "quotaBytes: Expected `int` >= 0"),
    ],
)
def test_a_value_that_there_is_not_is_told_those_that_there_are(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        container_changes(given)
    assert str(refused.value) == said
