"""Names in a batch: found together, by one read of the metadata store for each container."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ambry.errors import AmbryError, InvalidRequest, Unavailable
from ambry.rest.access import Role
from frontend.container import Container
from frontend.containers.resolver import Containers
from frontend.names.names import Names, NameVersion
from frontend.names.rows import name_key
from frontend.rest.entry import asked_for
from frontend.rest.named_rules import AboutName, check_has_names
from frontend.who import Who, decide, in_container


class FoundName(msgspec.Struct, frozen=True):
    """A name of a container, and what it is now: `version` None where it never was one, here or elsewhere."""

    container: Container
    key: bytes
    version: NameVersion | AmbryError
    """What it points to; or why that is not known, or nothing."""

    @property
    def about(self) -> AboutName:
        """For whoever changes it: as it is known here."""
        newest = self.version if isinstance(self.version, NameVersion) else None
        return AboutName(self.container.scope, self.key, newest)


class BatchNames:
    """Those of one frontend."""

    def __init__(self, names: Names, containers: Containers) -> None:
        self._names = names
        self._containers = containers

    async def find(self, who: Who, texts: Sequence[str], role: Role) -> list[FoundName | AmbryError]:
        """Each as `account/container/name`, in their order; AccessDenied for those without the role.

        Where the store cannot be asked, that is what is known of each.
        """
        found: dict[int, FoundName | AmbryError] = {}
        containers: dict[int, Container] = {}
        places: dict[int, dict[bytes, list[int]]] = {}
        asked = _Asked(self._containers)
        for number, text in enumerate(texts):
            try:
                container, key = await self._place(who, role, text, asked)
            except AmbryError as error:
                found[number] = error
                continue
            containers[container.scope] = container
            places.setdefault(container.scope, {}).setdefault(key, []).append(number)
        for scope, keys in places.items():
            versions = await self._names.find_many(scope, list(keys))
            for (key, numbers), version in zip(keys.items(), versions, strict=True):
                found.update(dict.fromkeys(numbers, FoundName(containers[scope], key, version)))
        return [found[number] for number in range(len(texts))]

    @staticmethod
    async def _place(who: Who, role: Role, text: str, asked: _Asked) -> tuple[Container, bytes]:
        account, _, rest = text.partition("/")
        name, slash, key = rest.partition("/")
        if not slash:
            raise InvalidRequest(f"a name in a batch is account/container/name, and not {text[:60]!r}")
        container = await asked.container(who, role, account, name)
        decide(who, in_container(role), container, key)
        container.check_active()
        check_has_names(container)
        return container, name_key(key)


class _Asked:
    """Containers of one request: each is asked for once, and none any more after one that nobody can tell of."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._failed: dict[tuple[str, str], AmbryError] = {}
        self._nobody: Unavailable | None = None

    async def container(self, who: Who, role: Role, account: str, name: str) -> Container:
        """As `asked_for`."""
        known = self._containers.known(account, name)
        if known is not None:
            return known
        failed = self._failed.get((account, name)) or self._nobody
        if failed is not None:
            raise failed
        try:
            return await asked_for(who, role, self._containers, account, name)
        except AmbryError as error:
            self._failed[account, name] = error
            if isinstance(error, Unavailable):
                self._nobody = error
            raise
