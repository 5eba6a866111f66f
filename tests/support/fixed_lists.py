"""What a pyarrow of an older release, as MLflow's package asks for, does not read from Parquet."""

from __future__ import annotations

import pyarrow as pa
import pytest

from ambry.ml.arrow_errors import FIXED_LISTS_SINCE, reads_fixed_lists

LACKS_FIXED_LISTS = (
    f"pyarrow {pa.__version__} does not read dense tensors of which some are missing; {FIXED_LISTS_SINCE} does"
)
needs_fixed_lists = pytest.mark.skipif(not reads_fixed_lists(), reason=LACKS_FIXED_LISTS)
