"""What holds for a container in the moment in which something is written for it.

A request looks at its container when it comes, and an upload may end hours later. So whoever changes names in a container looks
again, and binds the change to what was seen: where a container of the account was changed in between, nothing is written, and
the rules are looked at anew. What this datacenter was told of is never passed; what another one says holds when it is here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ambry.errors import Unavailable
from frontend.container import Container
from frontend.containers.registers import untold
from frontend.containers.resolver import Containers
from frontend.metadata.store import Conflict, Require

T = TypeVar("T")
ATTEMPTS = 8


class StandingRules:
    """That of the containers of one frontend; `datacenter` is the number of its metadata store's."""

    def __init__(self, containers: Containers, *, datacenter: int) -> None:
        self._containers = containers
        self._datacenter = datacenter

    def of(self, container: Container) -> Require:
        """What binds a change to what this container is known to be in this moment."""
        told = self._containers.directory.told.get(container.account_id)
        return untold(container.account_id, told, self._datacenter)

    async def write(self, container: Container, write: Callable[[Container, Require], Awaitable[T]]) -> T:
        """Call `write` with the container as it is now, and with what goes along in its group.

        It raises where the container does not let it, and otherwise hands the group to the store; a Conflict about what goes
        along comes through to here. Raises AccessDenied for a container that is switched off; Unavailable where it changes all
        the time, and what asking the store raises.
        """
        for _ in range(ATTEMPTS):
            now = self._containers.now(container)
            now.check_active()
            require = self.of(now)
            try:
                return await write(now, require)
            except Conflict as conflict:
                if conflict.change != require:
                    raise
            if self._containers.refresh is not None:
                await self._containers.refresh()
        raise Unavailable(f"what holds for the container {container} changes all the time; retry", retry_after_s=1)
