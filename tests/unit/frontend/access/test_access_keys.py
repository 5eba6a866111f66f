"""Keys are made, changed, rotated and revoked, and every frontend knows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ambry.clock import iso_utc, system_secret
from ambry.errors import AccessDenied, InvalidRequest, KeyNotFound, Unauthenticated
from ambry.rest.access import Grant, Role, hash_of, new_key
from frontend.access import keys
from frontend.access.key_rows import CHANGES, KEYS, LISTED, StoredKey, decode, told_put
from frontend.access.key_sync import KeySync
from frontend.access.key_use import KeyUse
from frontend.access.keys import ChangeOfKey, Keys
from frontend.access.sharing import SHARED_MAX
from frontend.access.verified import Access
from frontend.limits.rates import ChangedRates, Rates
from frontend.metadata.spaces import Space
from frontend.metadata.store import MetadataStore, Put, Version
from frontend.who import Who
from tests.support.access import access_with, bearer, fresh_key
from tests.support.fake_clock import SettableClock
from tests.support.metadata_stores import opened, sqlite_store


def _as(limits: Rates) -> ChangedRates:
    """A change to these, whatever there is now."""
    return ChangedRates(**msgspec.structs.asdict(limits))


READ = [Grant(roles=("read",), account="ml")]


class Seat:
    """One process of a frontend."""

    def __init__(self, store: MetadataStore, clock: SettableClock, access: Access) -> None:
        self.access = access
        self.sync = KeySync(access, store)
        self.keys = Keys(access, self.sync, store, clock=clock, chance=system_secret)
        self.use = KeyUse(access, store, clock=clock)
        self.store = store

    def who(self, text: str) -> Who:
        return self.access.of(bearer(text)["Authorization"])


@contextlib.asynccontextmanager
async def two(path: Path) -> AsyncIterator[tuple[Seat, Seat, Who, SettableClock]]:
    clock, root = SettableClock(), fresh_key()
    async with opened(sqlite_store(path / "m", clock=clock)) as a, opened(sqlite_store(path / "m", clock=clock)) as b:
        one, other = Seat(a, clock, access_with(root, clock)), Seat(b, clock, access_with(root, clock))
        yield one, other, one.access.of(bearer(root)["Authorization"]), clock


async def create(seat: Seat, who: Who, grants: list[Grant] = READ, expires_ms: int | None = None) -> tuple[str, str]:
    made = await seat.keys.create(who, "job", grants, expires_ms=expires_ms, limits=Rates())
    return made.id, made.text


async def test_a_key_is_known_to_others_at_their_next_look_and_gone_at_the_one_after(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other, root, _):
        id, text = await create(one, root)
        assert one.who(text).in_account(Role.READ, "ml")
        await other.sync.tick()
        assert other.who(text).id == id
        await one.keys.revoke(root, id)
        with pytest.raises(Unauthenticated):
            one.who(text)
        await other.sync.tick()
        with pytest.raises(Unauthenticated):
            other.who(text)
        with pytest.raises(KeyNotFound):
            await one.keys.revoke(root, id)


async def test_what_was_revoked_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change of any key had every process read all keys that there ever were: 20,000 revoked ones took it a second."""
    async with two(tmp_path) as (one, other, root, _):
        await other.sync.tick()
        stays, _text = await create(one, root)
        for _again in range(5):
            id, _text = await create(one, root)
            await other.sync.tick()
            await one.keys.revoke(root, id)
        read: list[bytes] = []
        get_many, listing = other.store.get_many, other.store.list

        async def get(space: Space, scope: int, keys: Sequence[bytes]) -> list[Version | None]:
            read.extend(keys)
            return await get_many(space, scope, keys)

        async def listed(space: Space, scope: int, **how: Any) -> list[Version]:
            found = await listing(space, scope, **how)
            read.extend(version.key for version in found if (space, scope) == (Space.KEY, KEYS))
            return found

        monkeypatch.setattr(other.store, "get_many", get)
        monkeypatch.setattr(other.store, "list", listed)
        await other.sync.tick()
        assert id not in other.access.keys
        assert set(read) == {stays.encode(), id.encode()}, "the living, and what was known"
        read.clear()
        latest, text = await create(one, root)
        await other.sync.tick()
        assert other.who(text).id == latest
        assert set(read) == {stays.encode(), latest.encode()}


async def test_whoever_hears_that_a_key_changed_finds_it_whatever_of_the_change_came_so_far(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _, root, _clock):
        id, _text = await create(one, root)
        await one.keys.revoke(root, id)
        log = [(each.scope, each.key) for each in (await one.store.log()).versions if each.space == Space.KEY]
        # What was superseded keeps its place in the log.
        once = [(KEYS, id.encode()), (LISTED, id.encode()), (CHANGES, str(one.store.datacenter).encode())]
        assert log == [*once, *once]


async def test_a_key_that_an_earlier_release_made_is_known_and_changed_though_it_is_not_listed(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other, root, _):
        made = new_key(system_secret)
        stored = StoredKey(name="old", hash=hash_of(made.secret), grants=tuple(READ), created_ms=0, created_by="")
        put = Put(Space.KEY, KEYS, made.id.encode(), msgspec.json.encode(stored))
        await one.store.write([put, told_put(one.store.datacenter)])
        for seat in (one, other):
            await seat.sync.tick()
        await create(one, root)
        await one.keys.change(root, made.id, ChangeOfKey(name="new"))
        await other.sync.tick()
        assert other.access.keys[made.id].name == "new"
        await one.keys.revoke(root, made.id)
        await other.sync.tick()
        assert made.id not in other.access.keys


async def test_a_secret_is_kept_nowhere(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _, root, _clock):
        id, text = await create(one, root)
        secret = text.split("_", 2)[-1].encode()
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        assert secret not in content and text.encode() not in content
    assert id.encode() in b"".join(file.read_bytes() for file in tmp_path.iterdir())


async def test_a_rotated_key_opens_with_both_secrets_for_as_long_as_was_said(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _, root, clock):
        id, old = await create(one, root)
        new = (await one.keys.rotate(root, id, overlap_s=60)).text
        assert one.who(old).id == one.who(new).id == id
        clock.advance(60)
        with pytest.raises(Unauthenticated):
            one.who(old)
        newest = (await one.keys.rotate(root, id, overlap_s=0)).text
        with pytest.raises(Unauthenticated):
            one.who(new)
        assert one.who(newest).id == id


async def test_a_change_says_what_changes_and_keeps_the_rest(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _, root, clock):
        id, text = await create(one, root, expires_ms=clock.wall_ms() + 1_000)
        await one.keys.change(root, id, ChangeOfKey(name="other"))
        assert one.who(text).name == "other" and one.who(text).expires_ms == clock.wall_ms() + 1_000
        await one.keys.change(root, id, ChangeOfKey(expires_ms=None, limits=ChangedRates(requests_per_s=5)))
        assert one.who(text).expires_ms is None and one.who(text).key.limits == Rates(requests_per_s=5)
        await one.keys.change(root, id, ChangeOfKey(grants=[Grant(roles=("write",))]))
        assert not one.who(text).in_account(Role.READ, "ml")


async def test_a_change_of_one_limit_keeps_the_others(tmp_path: Path) -> None:
    """The limits were one value: to bound the bytes took the bound of the requests off."""
    async with two(tmp_path) as (one, _, root, _clock):
        limits = Rates(requests_per_s=5, bytes_per_s=1_000, burst_s=2)
        id = (await one.keys.create(root, "job", READ, expires_ms=None, limits=limits)).id
        changes = [
            (ChangedRates(bytes_per_s=2_000), Rates(requests_per_s=5, bytes_per_s=2_000, burst_s=2)),
            (ChangedRates(requests_per_s=None), Rates(bytes_per_s=2_000, burst_s=2)),
            (ChangedRates(burst_s=3), Rates(bytes_per_s=2_000, burst_s=3)),
            (ChangedRates(), Rates(bytes_per_s=2_000, burst_s=3)),
            (None, Rates()),
        ]
        for change, expected in changes:
            assert (await one.keys.change(root, id, ChangeOfKey(limits=change))).limits == expected


async def test_nobody_gives_more_than_they_have_nor_touches_the_keys_of_others(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _, root, _clock):
        above, _text = await create(one, root, [Grant(roles=("read",))])
        _, text = await create(one, root, [Grant(roles=("read", "admin"), account="ml")])
        team = one.who(text)
        own, _ = await create(one, team)
        for grant in (
            Grant(roles=("read",)),
            Grant(roles=("write",), account="ml"),
            Grant(roles=("read",), account="x"),
        ):
            with pytest.raises(AccessDenied):
                await create(one, team, [grant])
        for call in (one.keys.revoke(team, above), one.keys.find(team, above)):
            with pytest.raises(AccessDenied, match="does not have admin wherever"):
                await call
        assert {id for id, _ in await one.keys.all(team)} == {own, team.id}
        await one.keys.revoke(team, own)
        _, reader = await create(one, root)
        assert [id for id, _ in await one.keys.all(one.who(reader))] == [one.who(reader).id]


async def test_keys_are_made_where_one_has_admin_alone(tmp_path: Path) -> None:
    """A key of any role made others with the same, which stayed when it was revoked itself."""
    async with two(tmp_path) as (one, _, root, _clock):
        _, reader = await create(one, root, READ)
        _, named = await create(one, root, [Grant(roles=("read",), account="ml", container="models", prefix="x/")])
        mixed = [Grant(roles=("read", "admin"), account="ml"), Grant(roles=("read",), account="other")]
        _, text = await create(one, root, mixed)
        elsewhere = Grant(roles=("read",), account="other")
        for who, grant in (
            (reader, READ[0]),
            (reader, Grant(roles=("read",), account="ml", container="models", prefix="x/")),
            (named, Grant(roles=("read",), account="ml", container="models", prefix="x/y")),
            (text, elsewhere),
        ):
            with pytest.raises(AccessDenied, match="does not have admin"):
                await create(one, one.who(who), [grant])
        id, _ = await create(
            one, one.who(text), [Grant(roles=("read",), account="ml", container="models", prefix="x/")]
        )
        with pytest.raises(AccessDenied, match="does not have admin"):
            await one.keys.change(one.who(text), id, ChangeOfKey(grants=[elsewhere]))


@pytest.mark.parametrize(
    "grants",
    [
        [],
        [Grant(roles=())],
        [Grant(roles=("owner",))],
        [Grant(roles=("read",), account="")],
        [Grant(roles=("read",), container="a/b")],
        [Grant(roles=("admin",), prefix="a")],
        [Grant(roles=("read",), prefix="x" * 2_000)],
        READ * 65,
    ],
)
async def test_grants_that_say_nothing_are_refused(tmp_path: Path, grants: list[Grant]) -> None:
    async with two(tmp_path) as (one, _, root, _clock):
        with pytest.raises(InvalidRequest):
            await create(one, root, grants)


async def test_an_administrator_of_the_configuration_is_changed_there(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _, root, _clock):
        with pytest.raises(InvalidRequest, match="configuration"):
            await one.keys.revoke(root, root.id)


async def test_when_a_key_was_used_is_written_down_later(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other, root, clock):
        id, text = await create(one, root)
        assert await other.use.last_ms(id) is None
        one.who(text)
        await one.use.tick()
        assert await other.use.last_ms(id) == clock.wall_ms()


async def test_of_a_key_that_was_revoked_it_is_not_written_down_when_it_was_used(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _, root, _clock):
        id, text = await create(one, root)
        one.who(text)
        await one.keys.revoke(root, id)
        await one.use.tick()
        assert await one.use.last_ms(id) is None


async def test_a_row_that_cannot_be_read_opens_nothing_and_keeps_no_other_from_it(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _, root, _clock):
        await one.store.write([Put(Space.KEY, KEYS, b"a" * 16, b"{}")])
        _, text = await create(one, root)
        assert one.who(text).id and "a" * 16 not in one.access.keys
        with pytest.raises(Exception, match="cannot be read"):
            decode(b"{}")


async def test_nobody_is_given_a_secret_of_a_key_that_may_what_they_may_not(tmp_path: Path) -> None:
    """An administrator without other roles rotated a reader's key, and read with it."""
    async with two(tmp_path) as (one, _, root, _clock):
        id, text = await create(one, root)
        _, admin = await create(one, root, [Grant(roles=("admin",), account="ml")])
        with pytest.raises(AccessDenied, match="cannot give what it does not have itself"):
            await one.keys.rotate(one.who(admin), id, overlap_s=0)
        assert one.who(text).id == id
        await one.keys.revoke(one.who(admin), id)  # takes away, and gives nothing


async def test_a_change_that_comes_with_a_rotation_brings_no_old_secret_back(tmp_path: Path) -> None:
    """What was changed was what this process had known before, under the stamp of what had been written since."""
    async with two(tmp_path) as (one, other, root, _clock):
        id, old = await create(one, root)
        await other.sync.tick()
        rotated: list[str] = []
        get = other.store.get

        async def rotated_before(space: Space, scope: int, key: bytes) -> Version | None:
            if not rotated:
                rotated.append("")
                rotated[0] = (await one.keys.rotate(root, id, overlap_s=0)).text
            return await get(space, scope, key)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(other.store, "get", rotated_before)
            await other.keys.change(root, id, ChangeOfKey(name="other"))
        await one.sync.tick()
        assert one.who(rotated[0]).name == "other"
        with pytest.raises(Unauthenticated):
            one.who(old)


ADMIN = [Grant(roles=("admin", "read"), account="ml")]
HOUR_MS = 3_600_000
BOUNDED = Rates(requests_per_s=10, bytes_per_s=1_000, burst_s=2)


async def bounded_admin(seat: Seat, root: Who, clock: SettableClock) -> tuple[str, Who, int]:
    """A key with admin that expires and has limits: its id, who has it, and until when."""
    until_ms = clock.wall_ms() + HOUR_MS
    made = await seat.keys.create(root, "bounded", ADMIN, expires_ms=until_ms, limits=BOUNDED)
    return made.id, seat.who(made.text), until_ms


WIDER = [
    (None, BOUNDED, "never expires"),
    (1, BOUNDED, "expires at"),
    (0, Rates(), "has limits"),
    (0, Rates(requests_per_s=10), "has limits"),
    (0, Rates(bytes_per_s=1_000), "has limits"),
    (0, Rates(requests_per_s=10.1, bytes_per_s=1_000), "has limits"),
    (0, Rates(requests_per_s=10, bytes_per_s=1_001), "has limits"),
    (0, Rates(requests_per_s=10, bytes_per_s=1_000, burst_s=2.1), "has limits"),
    (0, Rates(requests_per_s=1, bytes_per_s=1, burst_s=2_100), "has limits"),
]


@pytest.mark.parametrize(("later_ms", "limits", "why"), WIDER)
async def test_no_key_outlives_whoever_made_it_nor_may_more_in_a_second(
    tmp_path: Path, later_ms: int | None, limits: Rates, why: str
) -> None:
    async with two(tmp_path) as (one, _, root, clock):
        own, who, until_ms = await bounded_admin(one, root, clock)
        expires_ms = None if later_ms is None else until_ms + later_ms
        fits, _ = await create(one, root)  # wider: made by the configuration's
        narrow = await one.keys.create(who, "job", READ, expires_ms=until_ms, limits=BOUNDED)
        with pytest.raises(AccessDenied, match=why) as told:
            await one.keys.create(who, "job", READ, expires_ms=expires_ms, limits=limits)
        if limits == BOUNDED:
            assert f"opens until {iso_utc(until_ms)}" in told.value.message and "--expires" in told.value.message
        for id in (own, narrow.id, fits):
            with pytest.raises(AccessDenied, match=why):
                await one.keys.change(who, id, ChangeOfKey(grants=READ, expires_ms=expires_ms, limits=_as(limits)))
        wide = await one.keys.create(root, "wide", READ, expires_ms=expires_ms, limits=limits)
        for change in (
            one.keys.rotate(who, wide.id, overlap_s=0),
            one.keys.change(who, wide.id, ChangeOfKey(name="mine")),
        ):
            with pytest.raises(AccessDenied, match=why):
                await change
        changed = await one.keys.change(who, wide.id, ChangeOfKey(expires_ms=until_ms, limits=_as(BOUNDED)))
        assert (changed.expires_ms, changed.limits) == (until_ms, BOUNDED), "narrower it may make it"


async def test_whoever_has_bounds_gives_within_them_and_a_rotation_keeps_them(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _, root, clock):
        own, who, until_ms = await bounded_admin(one, root, clock)
        for limits in (
            BOUNDED,
            Rates(requests_per_s=20 / 3, bytes_per_s=1, burst_s=3),
            Rates(requests_per_s=1, bytes_per_s=1),
        ):
            made = await one.keys.create(who, "job", READ, expires_ms=until_ms - 1, limits=limits)
            again = await one.keys.rotate(who, made.id, overlap_s=60)
            assert (again.stored.expires_ms, again.stored.limits) == (until_ms - 1, limits)
        again = await one.keys.rotate(who, own, overlap_s=60)
        assert (again.stored.expires_ms, again.stored.limits) == (until_ms, BOUNDED)
        who = one.who(again.text)
        await one.keys.revoke(who, (await create(one, root))[0])  # takes away, and gives nothing


async def test_a_secret_that_was_rotated_away_gets_nothing_that_stays(tmp_path: Path) -> None:
    """Whoever had an old secret, while it still opened, rotated the key to one of their own, or made another key."""
    async with two(tmp_path) as (one, _, root, clock):
        id, old = await create(one, root, ADMIN)
        new = (await one.keys.rotate(root, id, overlap_s=60)).text
        with pytest.raises(AccessDenied, match="never expires"):
            await one.keys.rotate(one.who(old), id, overlap_s=60)
        with pytest.raises(AccessDenied, match="never expires"):
            await create(one, one.who(old))
        with pytest.raises(AccessDenied, match="never expires"):
            await one.keys.change(one.who(old), id, ChangeOfKey(name="x"))
        await create(one, one.who(old), expires_ms=clock.wall_ms() + 60_000)
        await one.keys.rotate(one.who(new), id, overlap_s=60)


async def test_a_key_that_is_revoked_elsewhere_makes_none_in_the_second_until_that_is_heard(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other, root, _clock):
        id, text = await create(one, root, ADMIN)
        job, _ = await create(one, root)
        await other.sync.tick()
        who = other.who(text)
        await one.keys.revoke(root, id)
        for change in (
            create(other, who),
            other.keys.rotate(who, job, overlap_s=0),
            other.keys.change(who, job, ChangeOfKey(name="x")),
            other.keys.revoke(who, job),
        ):
            with pytest.raises(Unauthenticated, match="was revoked while this request ran"):
                await change


async def test_a_key_that_one_datacenter_revoked_stays_so_whatever_another_one_changes_of_it_later(
    tmp_path: Path,
) -> None:
    """A rename, or a rotation, in a datacenter that had not heard of it brought it back everywhere."""
    clock, root = SettableClock(), fresh_key()
    async with (
        opened(sqlite_store(tmp_path / "1", datacenter=1, clock=clock)) as a,
        opened(sqlite_store(tmp_path / "2", datacenter=2, clock=clock)) as b,
    ):
        one, other = Seat(a, clock, access_with(root, clock)), Seat(b, clock, access_with(root, clock))
        admin = one.access.of(bearer(root)["Authorization"])
        id, text = await create(one, admin)
        await b.merge((await a.log()).versions)
        await other.sync.tick()
        await one.keys.revoke(admin, id)
        for _ in range(10):
            clock.advance(1)
            rotated = await other.keys.rotate(admin, id, overlap_s=3600)
        for _ in range(2):
            await b.merge((await a.log()).versions)
            await a.merge((await b.log()).versions)
        for seat in (one, other):
            await seat.sync.tick()
            for gone in (text, rotated.text):
                with pytest.raises(Unauthenticated):
                    seat.who(gone)
        with pytest.raises(KeyNotFound):
            await other.keys.rotate(admin, id, overlap_s=0)


async def test_an_administrator_of_one_account_takes_no_room_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound was of the cluster alone: one account's administrator could use it up for everybody."""
    monkeypatch.setattr(keys, "KEYS_SHARE_MAX", 4)
    async with two(tmp_path) as (one, other, root, _):
        admins = []
        for account in ("ml", "ops"):
            _, text = await create(one, root, [Grant(roles=("admin", "read"), account=account)])
            admins.append(one.who(text))
        ml, ops = admins
        first, _ = await create(one, ml)
        await create(one, root)  # counts as well: it is in ml, whoever made it
        await create(one, ml, [Grant(roles=("read",), account="ml", container="c")])
        for _ in range(2):
            with pytest.raises(InvalidRequest, match=r"4 keys already where the key .* has admin, and room for 4"):
                await create(one, ml)
        await create(one, ops, [Grant(roles=("read",), account="ops")])
        await create(one, root)
        await one.keys.revoke(ml, first)
        with pytest.raises(InvalidRequest, match="4 keys already"):
            await create(one, ml)
        await other.sync.tick()
        assert len(other.access.keys) == 7


async def test_what_a_key_with_limits_makes_or_gives_a_secret_shares_them_from_then_on(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _, root, _clock):
        admin, two_a_second = [Grant(roles=("admin", "read"), account="ml")], Rates(requests_per_s=2.0)
        bounded = await one.keys.create(root, "bounded", admin, expires_ms=None, limits=two_a_second)
        maker = one.who(bounded.text)
        made = await one.keys.create(maker, "job", READ, expires_ms=None, limits=two_a_second)
        of_made = one.keys.shares(made.id, made.stored)
        others, _ = await create(one, root)
        narrow = await one.keys.change(root, others, ChangeOfKey(limits=ChangedRates(requests_per_s=1.0)))
        assert (of_made, one.keys.shares(others, narrow)) == ([bounded.id], [])
        turned = await one.keys.rotate(maker, others, overlap_s=0)
        assert one.keys.shares(others, turned.stored) == [bounded.id], "whoever rotates it has its secret"
        own = await one.keys.rotate(root, bounded.id, overlap_s=0)
        assert one.keys.shares(bounded.id, own.stored) == []
        await one.keys.revoke(root, bounded.id)
        left = one.access.keys[made.id]
        assert one.keys.shares(made.id, left) == [bounded.id] and left.shares[0].limits == two_a_second


async def test_keys_are_made_by_keys_of_keys_as_deep_as_limits_are_shared(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _, root, _clock):
        who, grants = root, [Grant(roles=("admin",), account="ml")]
        for _ in range(SHARED_MAX - 1):
            made = await one.keys.create(who, "deep", grants, expires_ms=None, limits=Rates())
            who = one.who(made.text)
        with pytest.raises(InvalidRequest, match="16 deep"):
            await one.keys.create(who, "too deep", grants, expires_ms=None, limits=Rates())


async def test_others_of_a_name_are_told_to_who_administers_them(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _, root, _clock):
        first, _ = await create(one, root)
        second, _ = await create(one, root, [Grant(roles=("read",), account="other")])
        assert one.keys.called(root, "job", besides=second) == [first]
        assert one.keys.called(root, "none", besides=second) == []
        admin = await one.keys.create(
            root, "a", [Grant(roles=("admin",), account="other")], expires_ms=None, limits=Rates()
        )
        assert one.keys.called(one.who(admin.text), "job", besides="") == [second]
