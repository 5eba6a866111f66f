from __future__ import annotations

import pytest
from aiohttp.http_exceptions import BadHttpMessage, BadStatusLine, LineTooLong

from ambry.errors import HeadersTooLarge, InternalError, InvalidRequest, UriTooLong
from frontend.http.refusals import FIELD_SIZE_MAX, LINE_SIZE_MAX, refusal


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LineTooLong("secret", FIELD_SIZE_MAX), HeadersTooLarge),
        (LineTooLong("secret", LINE_SIZE_MAX), UriTooLong),
        (BadStatusLine("x"), InvalidRequest),
        (BadHttpMessage("Invalid header token:\n\n  b'secret `Transfer-Encoding` Too many headers'"), InvalidRequest),
        (RuntimeError("secret"), InternalError),
        (None, InternalError),
    ],
)
def test_a_refusal_has_the_fitting_class_and_never_repeats_what_was_sent(
    error: BaseException | None, expected: type[Exception]
) -> None:
    assert type(refusal(error)) is expected
    assert "secret" not in str(refusal(error))
