"""Health: are the features that are served those that were trained on, and those of today those of yesterday?

    from ambry.ml import health

    training, serving = (health.summarise(health.open_table(client, name)) for name in ("members@1764280000000", "members"))
    report = health.compare(training, serving, health.parse_thresholds("psi_max = 0.1"))
    report.healthy, report.faults
    health.promote_checked(client, "fraud@1.2.0", "members")        # held back where it is not

Needs pyarrow and scipy: pip install 'ambry[experiments]'.
"""

from __future__ import annotations

from ambry.ml.health.comparison import ColumnComparison, HealthReport, compare
from ambry.ml.health.gate import CheckedPromotion, PromotionHeld, check_model, promote_checked
from ambry.ml.health.report import keep_health, render_health
from ambry.ml.health.summaries import ColumnSummary, TableSummary, summarise
from ambry.ml.health.thresholds import ColumnThresholds, Thresholds, parse_thresholds
from ambry.ml.tables import NamedTable, open_table, table_of

__all__ = [
    "CheckedPromotion",
    "ColumnComparison",
    "ColumnSummary",
    "ColumnThresholds",
    "HealthReport",
    "NamedTable",
    "PromotionHeld",
    "TableSummary",
    "Thresholds",
    "check_model",
    "compare",
    "keep_health",
    "open_table",
    "parse_thresholds",
    "promote_checked",
    "render_health",
    "summarise",
    "table_of",
]
