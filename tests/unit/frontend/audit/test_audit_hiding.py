from __future__ import annotations

import pytest

from ambry.rest.access import key_text
from frontend.audit.hiding import without_secrets
from tests.support.access import fresh_key


@pytest.mark.parametrize("around", ["{}", "/keys/{}", "there is no key '{}'; ask", "{}/{}", "Bearer {}"])
def test_a_secret_is_not_written_down_wherever_somebody_put_it(around: str) -> None:
    key = fresh_key()
    hidden = without_secrets(around.format(key_text(key), key_text(key)))
    assert key.secret not in hidden and key.secret[:8] not in hidden and key.id in hidden


def test_what_is_no_secret_stays() -> None:
    assert without_secrets("/named/ml/models/ambry_weights") == "/named/ml/models/ambry_weights"
