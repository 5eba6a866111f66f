"""Where a feature may be asked for."""

from __future__ import annotations

import pytest

from ambry.ml.features.availability import WrongSource, check_served
from ambry.ml.features.definitions import Availability

ONLINE, OFFLINE, BOTH = Availability.ONLINE, Availability.OFFLINE, Availability.BOTH


@pytest.mark.parametrize("feature", list(Availability))
@pytest.mark.parametrize("side", list(Availability))
def test_sides_fit_where_they_have_one_in_common(feature: Availability, side: Availability) -> None:
    if {feature, side} == {ONLINE, OFFLINE}:
        with pytest.raises(WrongSource) as caught:
            check_served("urn:li:(n,a,1,0)", feature, side, "the table 't'", "do that")
        words = f"urn:li:(n,a,1,0) is {feature.value}, and the table 't' is {side.value}; do that"
        assert caught.value.message == words
    else:
        check_served("urn:li:(n,a,1,0)", feature, side, "the table 't'", "do that")
