"""Aliases of datasets: names that point to a version, and move."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ambry.client import wire
from ambry.client.aio.calls import AsyncCalls
from ambry.client.aio.pager import AsyncPager
from ambry.client.model import Timeout
from ambry.client.refs import VersionRef, check_version
from ambry.errors import BlobNotFound, InvalidRequest, NameNotFound, UpdateConflict

if TYPE_CHECKING:
    from ambry.client.datasets import AliasInfo

AS_IT_IS = "AS_IT_IS"
"""Where an alias is expected to point: where it does when the call begins."""


class AsyncAliases(AsyncCalls):
    """The calls on aliases. To read what one points to, `get` a `VersionRef(dataset, "@" + alias)`."""

    async def alias(self, dataset: str, alias: str, *, timeout: Timeout | None = None) -> AliasInfo:
        """Where one points, since when, who moved it and why. Raises BlobNotFound.

        >>> made = await client.create_dataset("pointed")
        >>> for version in ("1.0.0", "2.0.0"):
        ...     info = await client.put_version("pointed", b"weights", version)
        >>> moved = await client.set_alias("pointed", "champion", "1.0.0")
        >>> alias = await client.alias("pointed", "champion")
        >>> alias.version
        '1.0.0'
        """
        place = self._dataset(dataset)
        return await self._ask(
            wire.datasets.aliases_request(place, alias=alias), None, partial(wire.datasets.parse_alias, place), timeout
        )

    async def aliases(self, dataset: str, *, timeout: Timeout | None = None) -> list[AliasInfo]:
        """All of a dataset, by name; those that were deleted are left out.

        >>> made = await client.create_dataset("labelled")
        >>> for version in ("1.0.0", "2.0.0"):
        ...     info = await client.put_version("labelled", b"weights", version)
        >>> moved = await client.set_alias("labelled", "champion", "1.0.0")
        >>> [(alias.alias, alias.version) for alias in await client.aliases("labelled")]
        [('champion', '1.0.0')]
        """
        timeout = self._whole(timeout)
        place = self._dataset(dataset)
        request = partial(wire.datasets.aliases_request, place)
        return await AsyncPager(self, request, partial(wire.datasets.parse_aliases, place), timeout).all()

    async def alias_history(self, dataset: str, alias: str, *, timeout: Timeout | None = None) -> list[AliasInfo]:
        """All moves of one, the newest first. Raises BlobNotFound where it never was.

        >>> made = await client.create_dataset("remembered")
        >>> for version in ("1.0.0", "2.0.0"):
        ...     info = await client.put_version("remembered", b"weights", version)
        >>> moved = await client.set_alias("remembered", "champion", "1.0.0")
        >>> moved = await client.set_alias("remembered", "champion", "2.0.0")
        >>> [alias.version for alias in await client.alias_history("remembered", "champion")]
        ['2.0.0', '1.0.0']
        """
        timeout = self._whole(timeout)
        moves = await self._moves(self._dataset(dataset), alias, timeout)
        if not moves:
            raise NameNotFound(f"the dataset {dataset!r} never had an alias {alias!r}; `aliases` lists those it has")
        return moves

    async def set_alias(
        self,
        dataset: str,
        alias: str,
        version: str,
        *,
        expected: str | None = AS_IT_IS,
        who: str = "",
        why: str = "",
        timeout: Timeout | None = None,
    ) -> AliasInfo:
        """Let an alias point to a version, by its number; it is made where there is none.

        Only if it points to `expected` now, None for one that is not there; UpdateConflict says where it does point. Not
        given, `expected` is where it points when this call begins. `who` is the service of the client without one.

        >>> made = await client.create_dataset("promoted")
        >>> info = await client.put_version("promoted", b"weights", "1.0.0")
        >>> moved = await client.set_alias("promoted", "champion", "1.0.0", who="ann", why="better on the holdout")
        >>> await client.get_bytes(VersionRef("promoted", "@champion"))
        b'weights'
        """
        return await self._move(dataset, alias, version, expected, who, why, timeout)

    async def delete_alias(
        self,
        dataset: str,
        alias: str,
        *,
        expected: str | None = AS_IT_IS,
        timeout: Timeout | None = None,
    ) -> None:
        """Delete an alias; its history stays. Raises UpdateConflict as `set_alias`, BlobNotFound where there is none.

        >>> made = await client.create_dataset("unlabelled")
        >>> for version in ("1.0.0", "2.0.0"):
        ...     info = await client.put_version("unlabelled", b"weights", version)
        >>> moved = await client.set_alias("unlabelled", "champion", "1.0.0")
        >>> await client.delete_alias("unlabelled", "champion")
        >>> await client.aliases("unlabelled")
        []
        """
        await self._move(dataset, alias, None, expected, "", "", timeout)

    async def roll_back_alias(
        self,
        dataset: str,
        alias: str,
        *,
        expected: str = AS_IT_IS,
        who: str = "",
        why: str = "",
        timeout: Timeout | None = None,
    ) -> AliasInfo:
        """Let an alias point to the version before; again to the one before that. What was rolled back is not gone to again.

        Where `expected` is given, only if the alias points to it now: of two who take one version back, one is told. Raises
        InvalidRequest where there is nothing before, UpdateConflict where it points elsewhere or is moved in this moment.

        >>> made = await client.create_dataset("rolled-back")
        >>> for version in ("1.0.0", "2.0.0"):
        ...     info = await client.put_version("rolled-back", b"weights", version)
        >>> moved = await client.set_alias("rolled-back", "champion", "1.0.0")
        >>> moved = await client.set_alias("rolled-back", "champion", "2.0.0")
        >>> alias = await client.roll_back_alias("rolled-back", "champion", why="false alarms at night")
        >>> alias.version
        '1.0.0'
        """
        from ambry.client.datasets import version_before

        timeout = self._whole(timeout)
        moves = await self.alias_history(dataset, alias, timeout=timeout)
        before = version_before(moves)
        if moves[0].version is None:
            raise InvalidRequest(f"the alias {alias!r} of {dataset!r} was deleted; set it instead")
        if expected not in (AS_IT_IS, moves[0].version):
            raise UpdateConflict(
                f"the alias {alias!r} of {dataset!r} points to {moves[0].version}, and not to {expected}; nothing was changed"
            )
        if before is None:
            raise InvalidRequest(
                f"the alias {alias!r} of {dataset!r} has no version before {moves[0].version}; set it instead"
            )
        return await self.set_alias(
            dataset, alias, before, expected=moves[0].version, who=who, why=why, timeout=timeout
        )

    async def _move(
        self,
        dataset: str,
        alias: str,
        version: str | None,
        expected: str | None,
        who: str,
        why: str,
        timeout: Timeout | None,
    ) -> AliasInfo:
        timeout = self._whole(timeout)
        from ambry.client.datasets import AliasInfo, own_move

        place = self._dataset(dataset)
        for each in (version, expected):
            if each is not None:
                check_version(each)
        known = await self._moves(place, alias, timeout)
        now = known[0].version if known else None
        if expected == AS_IT_IS:
            expected = now
        if version is None and expected is None:
            raise NameNotFound(f"the dataset {dataset!r} has no alias {alias!r}")
        asked = AliasInfo(dataset=place.dataset, alias=alias, version=version, who=who or self._service_id, why=why)
        try:
            return await self._ask(
                *wire.datasets.move_request(place, asked, expected), partial(wire.datasets.parse_alias, place), timeout
            )
        except UpdateConflict as error:
            # A repetition finds what its first try did, also where others moved it on since.
            if (
                not error.repeated
                or (own := own_move(known, await self._moves(place, alias, timeout), asked, expected)) is None
            ):
                raise
            return own

    async def _moves(self, place: VersionRef, alias: str, timeout: Timeout | None) -> list[AliasInfo]:
        """All moves, the newest first; none where it never was."""
        request = partial(wire.datasets.aliases_request, place, alias=alias, history=True)
        try:
            return await AsyncPager(self, request, partial(wire.datasets.parse_moves, place, alias), timeout).all()
        except BlobNotFound:
            await self._ask(
                wire.datasets.show_request(place), None, wire.datasets.parse_dataset, timeout
            )  # Says that there is no dataset.
            return []
