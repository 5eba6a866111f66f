"""What a check holds back is told from what was said wrongly, on the command line by its exit code."""

from __future__ import annotations

import pytest

from ambry.cli.failures import EXIT_HELD_BACK, EXIT_USAGE, exit_code
from ambry.errors import InvalidRequest
from ambry.ml.experiments.decision import DecisionRefused
from ambry.ml.features.publishing import ChangeRefused
from ambry.ml.health.gate import PromotionHeld
from ambry.ml.held_back import HeldBack


@pytest.mark.parametrize("kind", [PromotionHeld, DecisionRefused, ChangeRefused])
def test_every_check_has_the_same_exit_code(kind: type[HeldBack]) -> None:
    """A promotion that was held back could not be told from a mistyped option: both were exit code 2."""
    assert issubclass(kind, HeldBack) and exit_code(kind.__new__(kind)) == EXIT_HELD_BACK != EXIT_USAGE
    assert exit_code(InvalidRequest("mistyped")) == EXIT_USAGE
