"""What the store refuses a worker for good ends its job at once: workers that begin again would be refused again.

The worker tells it in a line when it ends by that, since a line is what all launchers bring to whoever follows the job.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType

from ambry.errors import (
    AccessDenied,
    AccountNotFound,
    AmbryError,
    ConfigInvalid,
    ContainerNotFound,
    InvalidRequest,
    MethodNotAllowed,
    MisdirectedRequest,
    NotDeleted,
    NotSupported,
    QuotaExceeded,
    RangeNotSatisfiable,
    RateLimited,
    Unauthenticated,
)
from ambry.ml.training.unpacking import REFUSED

_FOR_GOOD = (
    AccessDenied,
    AccountNotFound,
    ConfigInvalid,
    ContainerNotFound,
    InvalidRequest,
    QuotaExceeded,
    Unauthenticated,
)
_MAY_PASS = (MethodNotAllowed, MisdirectedRequest, NotDeleted, NotSupported, RangeNotSatisfiable, RateLimited)
"""Of those: what another frontend, a later release or a later moment does not refuse."""
_ERRORS_MAX = 256


def refused_for_good(error: BaseException | None) -> AmbryError | None:
    """What the store refused for good, if an error is that, was raised from it, or is of several of which one is: a group, or
    torch's of a checkpoint.
    """
    ahead, seen = [error], 0
    while ahead and seen < _ERRORS_MAX:
        error, seen = ahead.pop(0), seen + 1
        if isinstance(error, _FOR_GOOD) and not isinstance(error, _MAY_PASS):
            return error
        if error is not None:
            ahead += [error.__cause__, *_within(error)]
    return None


def _within(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return list(error.exceptions)
    failures = getattr(error, "failures", None)  # Of torch's CheckpointException: by rank, with tracebacks.
    told = failures.values() if isinstance(failures, Mapping) else ()
    return [each[0] for each in told if isinstance(each, tuple) and each and isinstance(each[0], BaseException)]


class _Hook:
    """Shows what ends this process as before, and then tells a refusal."""

    def __init__(self) -> None:
        self._before = sys.excepthook

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._before(kind, error, trace)
        if (refused := refused_for_good(error)) is not None:
            said = " ".join(f"{type(refused).__name__}: {refused}".split())
            print(f"{REFUSED}{said}", file=sys.stderr, flush=True)


_hooks: list[_Hook] = []


def tell_refusals() -> None:
    """From now on, of this process; once."""
    if not _hooks:
        _hooks.append(_Hook())
        sys.excepthook = _hooks[0]
