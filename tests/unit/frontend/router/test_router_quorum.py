"""Quorums: every order of outcomes of every small cluster, judged by counting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.router.quorum import Answer, Candidate, ReadTracker, Verdict, WriteTracker, absent_target, write_target

OWN, ORIGIN, OTHER = 1, 2, 3


def test_targets_overlap_so_that_absence_cannot_miss_a_written_blob() -> None:
    assert [(write_target(n, 2), absent_target(n, 2)) for n in range(5)] == [(0, 0), (1, 1), (2, 1), (2, 2), (2, 3)]
    for replicas, target in product(range(1, 8), range(1, 8)):
        assert write_target(replicas, target) + absent_target(replicas, target) > replicas
        assert absent_target(replicas, target) >= 1


# --- writes ---


def write_to(
    local: Sequence[str], target: int, remote: Sequence[str] = (), remote_target: int = 0
) -> WriteTracker[str]:
    return WriteTracker(waiting=set(local), missing=target, remote_left=list(remote), remote_missing=remote_target)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_local_write_is_done_at_the_target_and_failed_exactly_when_it_cannot_be_reached(count: int) -> None:
    names = [f"n{number}" for number in range(count)]
    for target in range(1, count + 1):
        for order, outcomes in product(permutations(names), product([True, False], repeat=count)):
            tracker = write_to(names, target)
            assert tracker.verdict is Verdict.PENDING
            confirmed = 0
            for heard, (name, outcome) in enumerate(zip(order, outcomes, strict=True), 1):
                assert tracker.record(name, outcome) == []
                confirmed += outcome
                possible = confirmed + count - heard
                expected = (
                    Verdict.DONE if confirmed >= target else Verdict.FAILED if possible < target else Verdict.PENDING
                )
                assert tracker.verdict is expected, (order, outcomes, heard)


def _geo_histories(local: int, remote: int) -> Iterator[tuple[dict[str, bool], list[int]]]:
    """Every outcome of every replica, with every choice of whose answer comes next (as an index into those asked)."""
    names = [f"l{number}" for number in range(local)] + [f"r{number}" for number in range(remote)]
    for outcomes in product([True, False], repeat=len(names)):
        for picks in product(range(local + 1), repeat=len(names)):
            yield dict(zip(names, outcomes, strict=True)), list(picks)


@pytest.mark.parametrize(("local", "local_target", "remote"), [(1, 1, 1), (2, 2, 2), (3, 2, 1), (3, 2, 2), (2, 2, 3)])
def test_a_geo_write_needs_its_local_target_and_one_remote_and_asks_remotes_one_by_one(
    local: int, local_target: int, remote: int
) -> None:
    locals_ = [f"l{number}" for number in range(local)]
    remotes = [f"r{number}" for number in range(remote)]
    for outcomes, picks in _geo_histories(local, remote):
        tracker = write_to(locals_, local_target, remotes, 1)
        asked = [*locals_, *tracker.next_remote()]
        assert asked == [*locals_, remotes[0]]
        sent = set(asked)
        confirmed: set[str] = set()
        for pick in picks:
            if not asked:
                break
            name = asked.pop(pick % len(asked))
            if outcomes[name]:
                confirmed.add(name)
            more = tracker.record(name, outcomes[name])
            assert not sent & set(more)
            sent |= set(more)
            asked += more
            assert len([waiting for waiting in asked if waiting.startswith("r")]) <= 1
            here = len([name for name in confirmed if name.startswith("l")])
            there = len(confirmed) - here
            possible_here = here + len([name for name in asked if name.startswith("l")])
            possible_there = there + len([name for name in asked if name.startswith("r")]) + len(set(remotes) - sent)
            if here >= local_target and there >= 1:
                expected = Verdict.DONE
            elif possible_here < local_target or possible_there < 1:
                expected = Verdict.FAILED
            else:
                expected = Verdict.PENDING
            assert tracker.verdict is expected, (outcomes, picks, name)


def test_a_geo_write_without_any_remote_replica_cannot_succeed() -> None:
    assert write_to(["a", "b", "c"], 2, [], 1).fails_without(set())


@pytest.mark.parametrize(
    ("confirmed", "silent", "lost"),
    [
        ([], ["a"], False),
        ([], ["a", "b"], True),
        (["c"], ["a"], False),
        (["c"], ["a", "b"], True),
        (["b", "c"], ["a"], False),
    ],
)
def test_a_local_write_is_lost_without_the_silent_when_the_others_are_too_few(
    confirmed: list[str], silent: list[str], lost: bool
) -> None:
    tracker = write_to(["a", "b", "c"], 2)
    for name in confirmed:
        tracker.record(name, True)
    assert tracker.fails_without(set(silent)) is lost


def test_a_geo_write_goes_on_to_the_next_remote_while_one_is_silent_and_takes_the_first_answer() -> None:
    tracker = write_to(["a"], 1, ["x", "y", "z"], 1)
    assert tracker.next_remote() == ["x"]
    tracker.record("a", True)
    assert tracker.next_remote(silent={"x"}) == ["y"]
    assert tracker.next_remote(silent={"x"}) == []
    assert not tracker.fails_without({"x", "y"}), "z was not asked yet"
    assert tracker.next_remote(silent={"x", "y"}) == ["z"]
    assert tracker.fails_without({"x", "y", "z"})
    assert tracker.record("x", True) == []
    assert tracker.verdict is Verdict.DONE


# --- reads ---


def candidates(**names: int) -> list[Candidate[str]]:
    return [Candidate(name, datacenter) for name, datacenter in names.items()]


THREE = candidates(a=OWN, b=OWN, c=OWN)


def judge(answers: Sequence[Answer], replicas: Sequence[Candidate[str]], **options: object) -> tuple[Verdict, int]:
    """Ask in order, one at a time, until there is a verdict; also how many were asked."""
    counts: dict[int, int] = {}
    for replica in replicas:
        counts[replica.datacenter_id] = counts.get(replica.datacenter_id, 0) + 1
    tracker = ReadTracker(
        replicas,
        own=OWN,
        origin=int(str(options.get("origin", OWN))),
        absent_targets={number: absent_target(count, 2) for number, count in counts.items()},
    )
    asked = 0
    for answer in answers:
        name = tracker.next_replica()
        if name is None:
            break
        asked += 1
        assert name == replicas[asked - 1].replica
        tracker.record(name, answer)
    return tracker.verdict, asked


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_order_of_answers_of_one_datacenter(count: int) -> None:
    """The blob's own datacenter alone: found wins until enough said otherwise; 404 and 410 need agreement (decision 0003)."""
    replicas = THREE[:count]
    target = absent_target(count, 2)
    for answers in product(Answer, repeat=count):
        expected = Verdict.PENDING
        heard = 0
        for heard, answer in enumerate(answers, 1):
            so_far = answers[:heard]
            gone = so_far.count(Answer.GONE)
            if answer is Answer.FOUND or gone >= target:
                expected = Verdict.DONE
            elif so_far.count(Answer.ABSENT) >= target:
                expected = Verdict.DONE if gone else Verdict.ABSENT
            elif heard == count:
                expected = Verdict.DONE if gone else Verdict.FAILED
            if expected is not Verdict.PENDING:
                break
        assert judge(answers, replicas) == (expected, heard), answers


def test_one_stale_deletion_does_not_hide_a_living_blob() -> None:
    assert judge([Answer.GONE, Answer.FOUND], THREE) == (Verdict.DONE, 2)
    assert judge([Answer.GONE, Answer.FAILED], THREE)[0] is Verdict.PENDING
    assert judge([Answer.GONE, Answer.ABSENT], THREE)[0] is Verdict.PENDING


SIX = candidates(a=OWN, b=OWN, c=OWN, x=ORIGIN, y=ORIGIN, z=ORIGIN)
F, G, A, X = Answer.FOUND, Answer.GONE, Answer.ABSENT, Answer.FAILED


@pytest.mark.parametrize(
    ("answers", "expected", "asked"),
    [
        ([A, A, A, A, A, A], Verdict.ABSENT, 5),
        ([A, X, A, X, A, A], Verdict.ABSENT, 6),
        ([A, A, A, A, X, X], Verdict.FAILED, 6),
        ([A, X, X, A, A, A], Verdict.FAILED, 6),
        ([A, A, A, F, A, A], Verdict.DONE, 4),
        ([X, X, X, X, X, F], Verdict.DONE, 6),
        ([G, G, A, A, A, A], Verdict.DONE, 2),
    ],
)
def test_404_of_a_blob_from_elsewhere_needs_its_origin_too(
    answers: list[Answer], expected: Verdict, asked: int
) -> None:
    assert judge(answers, SIX, origin=ORIGIN) == (expected, asked)


def test_gone_is_agreed_on_by_our_own_replicas_and_not_with_the_help_of_another_datacenter() -> None:
    """A remote replica that has not heard of an undelete made here must not outvote two silent local ones."""
    assert judge([G, X, X, G], SIX, origin=ORIGIN)[0] is Verdict.PENDING
    assert judge([G, X, X, G, F], SIX, origin=ORIGIN) == (Verdict.DONE, 5)
    assert judge([G, X, X, G, X, X], SIX, origin=ORIGIN) == (Verdict.DONE, 6)


def test_other_datacenters_cannot_prove_absence() -> None:
    replicas = candidates(a=OWN, b=OWN, c=OWN, o=OTHER, p=OTHER, q=OTHER)
    assert judge([A, X, X, A, A, A], replicas) == (Verdict.FAILED, 6)
    assert judge([A, A], replicas) == (Verdict.ABSENT, 2)


def test_nothing_is_proven_where_neither_own_nor_origin_has_a_replica() -> None:
    """Once the first failure was taken for an absence here: both targets were 0, and so already met."""
    replicas = candidates(o=OTHER, p=OTHER, q=OTHER)
    for answers in product([A, X], repeat=3):
        assert judge(answers, replicas, origin=ORIGIN) == (Verdict.FAILED, 3), answers
    assert judge([X, F], replicas, origin=ORIGIN) == (Verdict.DONE, 2)


def test_our_own_replicas_alone_cannot_prove_that_a_blob_of_an_unknown_origin_is_absent() -> None:
    """An id that names a datacenter of no layout was 404 once; its blobs may be on their way from there."""
    for answers in product([A, X], repeat=3):
        assert judge(answers, THREE, origin=ORIGIN) == (Verdict.FAILED, 3), answers
    assert judge([A, A, F], THREE, origin=ORIGIN) == (Verdict.DONE, 3)
    assert judge([G, G], THREE, origin=ORIGIN) == (Verdict.DONE, 2)


def test_a_partition_without_replicas_has_no_answer() -> None:
    tracker: ReadTracker[str] = ReadTracker([], own=OWN, origin=OWN, absent_targets={})
    assert tracker.verdict is Verdict.FAILED
    assert tracker.next_replica() is None


def test_a_verdict_stays_whatever_comes_late() -> None:
    tracker = ReadTracker(THREE, own=OWN, origin=OWN, absent_targets={OWN: 2})
    assert [tracker.next_replica() for _ in range(4)] == ["a", "b", "c", None]
    assert tracker.record("a", A) is Verdict.PENDING
    assert tracker.record("b", A) is Verdict.ABSENT
    assert tracker.record("c", F) is Verdict.ABSENT


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[Candidate[str]], int]:
    counts = draw(st.tuples(*[st.integers(0, 3)] * 3).filter(any))
    names = [Candidate(f"{dc}-{number}", dc) for dc, count in enumerate(counts, 1) for number in range(count)]
    return draw(st.permutations(names)), draw(st.sampled_from([OWN, ORIGIN]))


@given(layouts(), st.data())
def test_verdicts_hold_for_any_layout_any_overlap_of_calls_and_any_order_of_answers(
    layout: tuple[list[Candidate[str]], int], data: st.DataObject
) -> None:
    replicas, origin = layout
    where = {each.replica: each.datacenter_id for each in replicas}
    counts = {dc: list(where.values()).count(dc) for dc in set(where.values())}
    targets = {dc: absent_target(count, 2) for dc, count in counts.items()}
    tracker = ReadTracker(replicas, own=OWN, origin=origin, absent_targets=targets)
    waiting: list[str] = []
    heard: dict[str, Answer] = {}
    left = len(replicas)
    while tracker.verdict is Verdict.PENDING:
        assert left or waiting, "nobody is asked, nobody is left, and there is no verdict"
        if left and (not waiting or data.draw(st.booleans())):
            name = tracker.next_replica()
            assert name is not None
            waiting.append(name)
            left -= 1
            continue
        name = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
        heard[name] = data.draw(st.sampled_from(Answer))
        tracker.record(name, heard[name])
    said = {
        answer: {dc: sum(heard[n] is answer and where[n] == dc for n in heard) for dc in (1, 2, 3)} for answer in Answer
    }
    everybody = len(heard) == len(replicas)
    gone = any(said[Answer.GONE].values())
    deciding = {dc for dc in (OWN, origin) if dc in targets}
    proven = origin in targets and all(said[Answer.ABSENT][dc] >= targets[dc] for dc in deciding)
    found = any(said[Answer.FOUND].values())
    if tracker.verdict is Verdict.ABSENT:
        assert proven and not gone and not found
    elif tracker.verdict is Verdict.FAILED:
        assert everybody and not proven and not gone and not found
    elif not found:
        assert gone
        if OWN in targets:
            assert said[Answer.GONE][OWN] >= targets[OWN] or proven or everybody
