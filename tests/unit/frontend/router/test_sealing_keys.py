"""A frontend that is not told who keeps keys seals nothing, and says so."""

from __future__ import annotations

import pytest

from ambry.errors import KeysUnavailable
from frontend.container import unknown_container
from frontend.router.sealing_keys import NoKeys


async def test_without_somebody_who_keeps_keys_none_is_found() -> None:
    keys, container = NoKeys(), unknown_container(1, 2)
    assert not keys.offered
    assert keys.current(container) is None and keys.find(container.scope, 1) is None
    with pytest.raises(KeysUnavailable, match="1/2 is encrypted"):
        await keys.current_soon(container)
    with pytest.raises(KeysUnavailable, match="not told who keeps keys"):
        await keys.find_soon(container.scope, 1)
