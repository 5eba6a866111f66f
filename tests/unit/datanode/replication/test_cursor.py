from __future__ import annotations

import random

import pytest

from ambry.clustermap.model import Node, Partition
from ambry.protocol.messages.replication import Known, PartitionChanges
from datanode.replication.cursor import Cursor, Cursors
from datanode.store.index import FindToken
from datanode.store.lineage import Seen

LOG = b"l" * 16


def at(cursor: Cursor) -> tuple[bytes, int]:
    token = cursor.token()
    return token.incarnation, token.lsn


def test_a_new_cursor_has_seen_nothing() -> None:
    cursor = Cursor()
    assert at(cursor) == (b"", 0)
    assert not cursor.caught_up
    cursor.found(b"x")
    assert not cursor.caught_up, "nothing was asked yet"


def test_a_cursor_follows_a_log_to_its_end() -> None:
    cursor = Cursor()
    cursor.follow(LOG)
    cursor.advance(100, 300, {})
    assert (at(cursor), cursor.lag_bytes, cursor.caught_up) == ((LOG, 100), 200, False)
    cursor.advance(300, 300, {})
    assert (at(cursor), cursor.lag_bytes, cursor.caught_up) == ((LOG, 300), 0, True)


def test_the_durable_token_never_passes_a_blob_that_is_not_here() -> None:
    cursor = Cursor()
    cursor.follow(LOG)
    cursor.advance(300, 300, {b"a": 100, b"b": 50})
    assert at(cursor) == (LOG, 50)
    assert cursor.next_lsn == 300
    assert not cursor.caught_up
    cursor.found(b"b")
    assert at(cursor) == (LOG, 100)
    cursor.advance(400, 400, {b"c": 350})
    cursor.found(b"a")
    assert (at(cursor), cursor.caught_up) == ((LOG, 350), False)
    cursor.found(b"c")
    assert (at(cursor), cursor.caught_up) == ((LOG, 400), True)


def test_another_log_starts_over() -> None:
    cursor = Cursor(LOG, 300)
    cursor.follow(LOG)
    assert cursor.next_lsn == 300
    cursor.advance(300, 300, {b"a": 5})
    cursor.follow(b"m" * 16)
    assert at(cursor) == (b"m" * 16, 0)
    assert not cursor.outstanding
    assert not cursor.caught_up


def test_an_answer_from_before_does_not_move_it_back() -> None:
    cursor = Cursor(LOG, 300)
    cursor.advance(200, 400, {})
    assert cursor.next_lsn == 300


def test_a_peer_that_lost_its_tail_is_caught_up_with() -> None:
    """Its end lies before what was seen of it; new records get LSNs beyond."""
    cursor = Cursor(LOG, 300)
    cursor.advance(250, 250, {})
    assert cursor.next_lsn == 300
    assert cursor.lag_bytes == 0
    assert cursor.caught_up


def test_the_token_is_below_everything_missing_in_any_order_of_events() -> None:
    source = random.Random(1)
    for _ in range(200):
        cursor = Cursor()
        cursor.follow(LOG)
        missing: dict[bytes, int] = {}
        end = 0
        for _ in range(30):
            if source.random() < 0.5 or not missing:
                start, end = end, end + source.randint(1, 50)
                failed = (
                    {bytes([source.randrange(200)]): source.randint(start, end - 1)} if source.random() < 0.5 else {}
                )
                failed = {name: lsn for name, lsn in failed.items() if name not in missing}
                cursor.advance(end, end, failed)
                missing |= failed
            else:
                name = source.choice(sorted(missing))
                del missing[name]
                cursor.found(name)
            assert cursor.token().lsn <= min([end, *missing.values()])
            if not missing:
                assert cursor.token().lsn == end


# --- the cursors of a node ---


def partition(*names: str) -> Partition:
    """Replicas by name; the letter is the datacenter."""
    nodes = [
        Node(name=name, datacenter=name[0], datacenter_id=ord(name[0]), host="h", port=number)
        for number, name in enumerate(names)
    ]
    return Partition(id=7, replicas=tuple(nodes))


def test_cursors_go_on_from_the_tokens_of_a_checkpoint() -> None:
    where = partition("a1", "a2", "b1")
    cursors = Cursors(where.replicas[0])
    cursors.restore(where, {"a2": FindToken(LOG, 50), "gone": FindToken(LOG, 5)})
    assert sorted(cursors.of(7)) == ["a2", "b1"]
    assert cursors.tokens_of(7) == {"a2": FindToken(LOG, 50)}
    assert cursors.get("a1", 7) is None
    assert (cursors.of(8), cursors.tokens_of(8)) == ({}, {})
    cursors.restore(where, {})
    assert cursors.tokens_of(7) == {}


def test_a_found_blob_moves_every_peers_cursor() -> None:
    where = partition("a1", "a2", "b1")
    cursors = Cursors(where.replicas[0])
    cursors.restore(where, {"a2": FindToken(LOG, 0), "b1": FindToken(LOG, 0)})
    for cursor in cursors.of(7).values():
        cursor.advance(90, 90, {b"x": 10})
    cursors.found(7, b"x")
    token = FindToken(LOG, 90, complete=True)
    assert cursors.tokens_of(7) == {"a2": token, "b1": token}


@pytest.mark.parametrize(
    ("caught_up", "without_authority", "may"),
    [
        ("", "", False),
        ("a2", "", False),
        ("a2 a3", "", True),
        ("a2 a3", "a3", False),
        ("a2 a3 b1", "a3", True),
        ("a2 b1", "a3", False),
        ("b1", "", False),
    ],
)
def test_a_replica_may_serve_when_it_caught_up_with_those_who_know(
    caught_up: str, without_authority: str, may: bool
) -> None:
    """Its siblings, and the other datacenters too where a sibling has no authority of its own."""
    where = partition("a1", "a2", "a3", "b1")
    cursors = Cursors(where.replicas[0])
    cursors.restore(where, {})
    for name, cursor in cursors.of(7).items():
        cursor.follow(LOG)
        cursor.serving = name not in without_authority.split()
        cursor.advance(5 if name in caught_up.split() else 4, 5, {})
    assert cursors.may_serve(where) == may


def test_a_replica_without_peers_may_serve() -> None:
    where = partition("a1")
    cursors = Cursors(where.replicas[0])
    cursors.restore(where, {})
    assert cursors.may_serve(where)


# --- what peers know of our log ---


def answer(
    incarnation: bytes = LOG, *, serving: bool = True, purged_lsn: int = 0, put_back: bool = False, known_lsn: int = 0
) -> PartitionChanges:
    return PartitionChanges(7, incarnation, 0, 0, [], serving, b"", purged_lsn, Known(LOG, known_lsn, b""), put_back)


def heard(*names: str, tokens: dict[str, FindToken] | None = None) -> tuple[Partition, Cursors]:
    where = partition("a1", *names)
    cursors = Cursors(where.replicas[0])
    cursors.restore(where, tokens or {})
    return where, cursors


@pytest.mark.parametrize(
    ("peers", "answered", "waited", "enough"),
    [
        ("", "", False, True),
        ("a2 a3", "", True, False),
        ("a2 a3", "a2", False, False),
        ("a2 a3", "a2", True, True),
        ("a2 a3", "a2 a3", False, True),
        ("a2 b1 b2", "a2", True, False),
        ("a2 b1 b2", "b1 b2", True, False),
        ("a2 b1 b2", "a2 b2", True, True),
        ("b1 c1", "b1", True, True),
        ("b1 c1", "b1", False, False),
    ],
)
def test_enough_peers_must_have_said_what_they_know(peers: str, answered: str, waited: bool, enough: bool) -> None:
    where, cursors = heard(*peers.split())
    for name in answered.split():
        cursors.of(7)[name].hear(answer(), Seen.HERE)
    assert cursors.vouched(where, waited=waited) is enough


def test_one_that_knows_more_outweighs_all_others() -> None:
    where, cursors = heard("a2", "a3")
    cursors.of(7)["a2"].hear(answer(), Seen.HERE)
    cursors.of(7)["a3"].hear(answer(), Seen.BEYOND)
    assert not cursors.vouched(where, waited=True)


@pytest.mark.parametrize(
    ("token", "put_back", "missed"),
    [
        (FindToken(LOG, 500, complete=True), True, False),
        (FindToken(LOG, 499, complete=True), True, True),
        (FindToken(LOG, 499, complete=True), False, True),
        (FindToken(LOG, 499), True, True),
        (FindToken(LOG, 499), False, False),
        (FindToken(b"", 0), True, True),
        (FindToken(b"", 0), False, False),
        (FindToken(b"m" * 16, 900, complete=True), True, True),
        (FindToken(b"m" * 16, 900, complete=True), False, False),
    ],
)
def test_a_replica_that_missed_a_tombstone_is_told_from_one_that_compares_anew(
    token: FindToken, put_back: bool, missed: bool
) -> None:
    """Only what was put back, or had seen all and not this, holds blobs from before it. The peer has dropped some up to 500."""
    _, cursors = heard("a2", tokens={"a2": token})
    cursors.of(7)["a2"].hear(answer(purged_lsn=500), Seen.HERE)
    assert cursors.must_rebuild(7, put_back=put_back, waited=False) is missed


@pytest.mark.parametrize(("other", "must"), [({"purged_lsn": 0}, False), ({"serving": False}, True)])
def test_one_peer_with_authority_that_dropped_nothing_we_missed_is_enough(other: dict[str, int], must: bool) -> None:
    _, cursors = heard("a2", "a3", tokens={"a2": FindToken(LOG, 10, complete=True)})
    cursors.of(7)["a2"].hear(answer(purged_lsn=500), Seen.HERE)
    cursors.of(7)["a3"].hear(answer(**other), Seen.HERE)  # type: ignore[arg-type]
    assert cursors.must_rebuild(7, put_back=True, waited=False) is must


@pytest.mark.parametrize("put_back", [False, True])
def test_nothing_is_rebuilt_before_all_were_heard_or_had_their_time(put_back: bool) -> None:
    """The first to answer had dropped tombstones, and the second, a moment later, none: a replica was set aside for nothing."""
    _, cursors = heard("a2", "a3", tokens={"a2": FindToken(LOG, 10, complete=True)})
    cursors.of(7)["a2"].hear(answer(purged_lsn=500), Seen.HERE)
    assert not cursors.must_rebuild(7, put_back=put_back, waited=False)
    assert cursors.must_rebuild(7, put_back=put_back, waited=True)


def test_who_proves_that_we_were_put_back_outweighs_one_that_may_have_been_as_well() -> None:
    _, cursors = heard("a2", "a3")
    likewise, late = cursors.of(7).values()
    likewise.hear(answer(), Seen.HERE)
    likewise.advance(100, 100, {})
    late.proves = True
    assert not cursors.witnessed(7, waited=True), "the late one has not told yet what it dropped"
    late.hear(answer(purged_lsn=500), Seen.BEYOND)
    assert cursors.must_rebuild(7, put_back=True, waited=False)


def test_a_replica_that_was_put_back_needs_a_witness_that_it_has_caught_up_with() -> None:
    _, cursors = heard("a2", "a3")
    one, other = cursors.of(7).values()
    assert not cursors.witnessed(7, waited=True)
    one.hear(answer(), Seen.BEYOND)
    assert not cursors.witnessed(7, waited=True)
    one.advance(90, 100, {})
    assert not cursors.witnessed(7, waited=True)
    one.advance(100, 100, {})
    assert cursors.witnessed(7, waited=False)
    one.hear(answer(serving=False), Seen.BEYOND)
    assert not cursors.witnessed(7, waited=True), "the other may have it"
    other.hear(answer(serving=False, put_back=True), Seen.HERE)
    assert not cursors.witnessed(7, waited=False)
    assert cursors.witnessed(7, waited=True), "nobody has it, and somebody must begin"


def test_an_answer_of_one_that_was_put_back_moves_nothing() -> None:
    cursor = Cursor(LOG, 300)
    cursor.hear(answer(b"m" * 16, put_back=True), Seen.HERE)
    assert at(cursor) == (LOG, 300)
    cursor.hear(answer(b"m" * 16), Seen.HERE)
    assert at(cursor) == (b"m" * 16, 0)


@pytest.mark.parametrize(
    ("seen", "known_lsn", "from_lsn"), [(Seen.BEYOND, 9, 700), (Seen.HERE, 300, 300), (Seen.HERE, 900, 700)]
)
def test_what_nobody_else_took_in_goes_over_into_the_fresh_one(seen: Seen, known_lsn: int, from_lsn: int) -> None:
    _, cursors = heard("a2")
    cursors.of(7)["a2"].hear(answer(known_lsn=known_lsn), seen)
    assert cursors.taken_in_lsn(7, 700) == from_lsn


def test_tokens_stay_where_they_tell_that_tombstones_were_missed() -> None:
    """A checkpoint moved them behind what the peer had dropped. After a crash nothing told any more that some never came."""
    opened = FindToken(LOG, 100, complete=True)
    _, cursors = heard("n2", "n3", tokens={"n2": opened, "n3": opened})
    dropped_some, dropped_none = cursors.of(7)["n2"], cursors.of(7)["n3"]
    dropped_some.hear(answer(purged_lsn=500), Seen.HERE)
    dropped_some.advance(900, 900, {})
    dropped_none.hear(answer(purged_lsn=50), Seen.HERE)
    dropped_none.advance(300, 900, {})
    assert cursors.tokens_of(7) == {"n2": opened, "n3": opened}
    dropped_none.advance(900, 900, {})
    assert cursors.tokens_of(7)["n2"].lsn == 900, "the other told all that this one did not"


def test_tokens_of_a_replica_that_was_put_back_stay_until_it_is_another() -> None:
    opened = FindToken(LOG, 100)
    where, cursors = heard("n2", tokens={"n2": opened})
    cursors.hold(7)
    for cursor in cursors.of(7).values():
        cursor.hear(answer(), Seen.HERE)
        cursor.advance(900, 900, {})
    assert cursors.tokens_of(7) == {"n2": opened}
    cursors.restore(where, {})
    cursors.of(7)["n2"].hear(answer(), Seen.HERE)
    cursors.of(7)["n2"].advance(900, 900, {})
    assert cursors.tokens_of(7)["n2"].lsn == 900
