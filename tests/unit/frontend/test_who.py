"""The decision, case by case."""

from __future__ import annotations

import pytest

from ambry.errors import AccessDenied, Unauthenticated
from ambry.rest.access import ALL_ROLES, Grant, Role, role_texts
from ambry.rest.accounts import ContainerSettings
from frontend.container import Container, container_of
from frontend.who import ANY_KEY, ANYBODY, NOBODY, OPEN, Who, decide, in_cluster, in_container


def container(account: str = "ml", name: str = "models", **settings: object) -> Container:
    return container_of(
        ContainerSettings(**settings),  # type: ignore[arg-type]
        account_id=hash(account) & 0xFFFF,
        account_name=account,
        container_id=hash(name) & 0xFFFF,
        container_name=name,
    )


def key(*grants: Grant) -> Who:
    return Who(grants, id="abcdefghijklmnop", name="a key")


READER = key(Grant(roles=("read",), account="ml", container="models"))


def test_what_nobody_granted_is_denied() -> None:
    decide(READER, in_container(Role.READ), container())
    for needs, where in (
        (in_container(Role.WRITE), container()),
        (in_container(Role.READ | Role.WRITE), container()),
        (in_container(Role.READ), container(name="others")),
        (in_container(Role.READ), container(account="others")),
        (in_container(Role.READ), None),
        (in_cluster(Role.READ), None),
    ):
        with pytest.raises(AccessDenied):
            decide(READER, needs, where)


def test_nobody_is_asked_for_a_key() -> None:
    for needs in (in_container(Role.READ), in_cluster(Role.ADMIN), ANY_KEY):
        with pytest.raises(Unauthenticated, match="AMBRY_KEY"):
            decide(NOBODY, needs, container())
    decide(NOBODY, OPEN)


def test_a_public_container_is_read_by_everybody_and_written_by_nobody() -> None:
    public = container(is_private=False)
    decide(NOBODY, in_container(Role.READ), public)
    decide(key(Grant(roles=("write",), account="others")), in_container(Role.READ), public)
    for role in (Role.WRITE, Role.DELETE, Role.NAME, Role.ADMIN):
        with pytest.raises(Unauthenticated):
            decide(NOBODY, in_container(role), public)
    for unsaid in (container(), container(is_private=True)):
        with pytest.raises(Unauthenticated):
            decide(NOBODY, in_container(Role.READ), unsaid)


def test_a_prefix_is_good_for_names_beneath_it_and_for_no_id() -> None:
    team = key(Grant(roles=("read", "write"), account="ml", container="models", prefix="fraud/"))
    decide(team, in_container(Role.READ), container(), "fraud/v1")
    for name in (None, "", "fraud", "other/fraud/", "Fraud/v1"):
        with pytest.raises(AccessDenied):
            decide(team, in_container(Role.READ), container(), name)


def test_roles_of_several_grants_are_had_together() -> None:
    both = key(
        Grant(roles=("write",), account="ml"),
        Grant(roles=("name",), account="ml", container="models", prefix="a"),
    )
    decide(both, in_container(Role.WRITE | Role.NAME), container(), "abc")
    with pytest.raises(AccessDenied):
        decide(both, in_container(Role.WRITE | Role.NAME), container(), "b")


def test_where_no_keys_are_asked_for_everybody_may_everything() -> None:
    decide(ANYBODY, in_container(ALL_ROLES), container())
    decide(ANYBODY, in_cluster(Role.ADMIN))


def test_nobody_gives_what_they_do_not_have() -> None:
    admin = key(Grant(roles=tuple(role_texts(ALL_ROLES)), account="ml"))
    assert admin.gives(Grant(roles=("read",), account="ml", container="x", prefix="p"))
    assert not admin.gives(Grant(roles=("read",)))
    assert not READER.gives(Grant(roles=("read", "write"), account="ml", container="models"))
    assert not key(Grant(roles=("read",), prefix="a/")).gives(Grant(roles=("read",), prefix="a"))


def test_a_container_of_which_nobody_knows_the_name_is_not_remembered_as_another() -> None:
    """Its names are its ids as long as it is not known, and a key may be good for the real ones."""
    unknown = container_of(
        ContainerSettings(), account_id=1, account_name="1", container_id=2, container_name="2", known=False
    )
    known = container_of(ContainerSettings(), account_id=1, account_name="ml", container_id=2, container_name="models")
    assert not READER.may(Role.READ, unknown)
    assert READER.may(Role.READ, known)
