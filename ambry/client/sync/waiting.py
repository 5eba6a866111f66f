"""How this client waits: the few things that its awaiting twin does otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from ambry.clock import SystemClock

ASYNCHRONOUS = False

Sleep = Callable[[float], None]

pause: Sleep = SystemClock().sleep

P = ParamSpec("P")
T = TypeVar("T")


def opening(method: Callable[P, T]) -> Callable[P, T]:
    """A method whose result may be used in a `with`, as it is."""
    return method


def blocking(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what waits for a disk."""
    return function(*args, **kwargs)


def together(calls: Iterable[T]) -> tuple[T, ...]:
    """The results of calls, which are made one after the other as they are taken."""
    return tuple(calls)
