"""Threads that leave together, whatever they wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ambry.client.stopping import Stopped
from ambry.client.sync.crew import Crew, current, waiting_for
from ambry.client.sync.waiting import SyncMemoryGate, at_once, pause


class Silence:
    """A server that says nothing."""

    def __init__(self) -> None:
        self._ends = threading.Event()
        self.begun = threading.Event()

    def listen(self) -> None:
        with waiting_for(self):
            self.begun.set()
            assert self._ends.wait(120), "nobody interrupted it"

    def interrupt(self) -> None:
        self._ends.set()


def nothing() -> None:
    pass


def test_results_are_in_the_order_of_the_items_and_no_more_go_at_a_time_than_are_to() -> None:
    meeting, lock = threading.Barrier(3, timeout=120), threading.Lock()
    inside = [0, 0]

    def call(number: int) -> int:
        with lock:
            inside[0] += 1
            inside[1] = max(inside)
        if number < 3:
            meeting.wait()
        with lock:
            inside[0] -= 1
        return number * 10

    assert at_once(call, range(20), 3, nothing) == [number * 10 for number in range(20)]
    assert inside[1] == 3 and at_once(call, [], 3, nothing) == []


@pytest.mark.parametrize("wait", ["server", "pause", "memory", "others"])
def test_one_that_fails_ends_what_the_others_wait_for(wait: str) -> None:
    """A section that failed for good waited for those whose server said nothing: for all their timeouts and attempts."""
    silence, gate, ready = Silence(), SyncMemoryGate(10), threading.Barrier(2, timeout=120)
    waits: dict[str, Callable[[], object]] = {
        "server": silence.listen,
        "pause": lambda: pause(600),
        "memory": lambda: gate.hold(10).__enter__(),
        "others": lambda: at_once(lambda each: each.listen(), [silence], 1, nothing),
    }
    stopped: list[bool] = []

    def call(number: int) -> None:
        ready.wait()
        if number:
            raise ZeroDivisionError
        try:
            waits[wait]()
        except Stopped:
            stopped.append(True)
            raise

    with gate.hold(10), pytest.raises(ZeroDivisionError):
        at_once(call, [0, 1], 2, nothing)
    assert stopped == [True]
    with gate.hold(10):
        pass


def test_what_is_given_back_is_nobodys_to_interrupt() -> None:
    crew, thing = Crew(), Silence()
    begun = threading.Event()

    def call(number: int) -> None:
        with waiting_for(thing):
            pass
        crew.done()
        begun.set()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crew.run(call, [1], 1, nothing)
    assert begun.is_set() and not thing._ends.is_set()
    with pytest.raises(Stopped):
        crew.waits_for(thing)


def test_nothing_is_begun_after_a_failure() -> None:
    begun: list[int] = []

    def call(number: int) -> None:
        begun.append(number)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        at_once(call, range(1000), 1, nothing)
    assert begun == [0]


def test_a_thread_of_no_crew_waits_as_it_did() -> None:
    with waiting_for(Silence()), SyncMemoryGate(1).hold(100):
        pause(0)


@pytest.mark.parametrize("there", [0, 1])
def test_where_no_more_threads_can_be_begun_those_that_there_are_do_it_all(
    there: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of memory, or of threads, was a traceback."""
    start, begun = threading.Thread.start, [0]

    def limited(thread: threading.Thread) -> None:
        if begun[0] == there:
            raise RuntimeError("can't start new thread")
        begun[0] += 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    before = current()
    assert at_once(lambda number: number * number, range(9), 4, nothing) == [number * number for number in range(9)]
    assert (begun[0], current()) == (there, before)

    def failing(number: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        at_once(failing, range(9), 4, nothing)
    assert current() is before
