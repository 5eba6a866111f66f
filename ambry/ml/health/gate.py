"""A promotion that is held back where the features that the model would see are not those that it was trained on.

The report is stored beside the model in any case; the move of the alias, or its refusal, says where.
"""

from __future__ import annotations

from dataclasses import dataclass

from ambry.client.datasets import AliasInfo
from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import InvalidRequest
from ambry.ml.health.comparison import HealthReport, compare
from ambry.ml.health.report import keep_health
from ambry.ml.health.summaries import summarise
from ambry.ml.health.thresholds import Thresholds
from ambry.ml.held_back import HeldBack
from ambry.ml.models.histories import CHAMPION
from ambry.ml.models.lifecycle import check_chosen
from ambry.ml.models.loading import StoredModel, open_model
from ambry.ml.places import Place, dataset_text
from ambry.ml.snapshots.schema import columns_of
from ambry.ml.tables import open_table

REASON_CHARACTERS_MAX = 500
_WHY_CHARACTERS_MAX = 1_024
_SHOWN_MAX = 3


class PromotionHeld(HeldBack):
    """The check found what speaks against it; the alias points where it did. `page` is the report that was stored."""

    def __init__(self, message: str, report: HealthReport, page: NameRef) -> None:
        super().__init__(message)
        self.report = report
        self.page = page


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPromotion:
    """An alias points to a model whose check is stored."""

    moved: AliasInfo
    report: HealthReport
    page: NameRef


def check_model(
    client: AmbryClient,
    place: Place,
    current: str,
    *,
    reference: str = "",
    thresholds: Thresholds | None = None,
) -> HealthReport:
    """Compare what a model was trained on with a table of now: a snapshot, a file, or what was scored (`NAME.scored/DAY`).

    `reference` is the snapshot of the model's manifest unless said. Of snapshots, and of what was scored, the features of the
    model are compared, or all columns where it names none. Raises InvalidRequest where nobody says what it was trained on.
    """
    return _checked(client, open_model(client, place), current, reference, thresholds)


def promote_checked(
    client: AmbryClient,
    place: Place,
    current: str,
    *,
    reference: str = "",
    thresholds: Thresholds | None = None,
    alias: str = CHAMPION,
    newest: bool = False,
    expected: str | None = "AS_IT_IS",
    who: str = "",
    why: str = "",
    force: str = "",
) -> CheckedPromotion:
    """Let an alias point to a model if `check_model` finds nothing, or with `force`, a reason; durable on return.

    `place` names a version, an alias or a digest, or with `newest` none of them, as of `models.promote`.

    Raises PromotionHeld, UpdateConflict where the alias moved meanwhile, BlobNotFound, InvalidRequest.
    """
    if len(f"{why}{force}") > REASON_CHARACTERS_MAX:
        raise InvalidRequest(f"the reasons have at most {REASON_CHARACTERS_MAX} characters together")
    check_chosen(place, newest)
    model = open_model(client, place)
    report = _checked(client, model, current, reference, thresholds)
    page = keep_health(client, dataset_text(model.place), report)
    shown = str(page) if page.account else page.name
    faults = report.faults
    if faults and not force:
        more = f"; and {len(faults) - _SHOWN_MAX} more" if len(faults) > _SHOWN_MAX else ""
        raise PromotionHeld(
            f"{model} is held back, {report.current.name} is not {report.reference.name}: "
            f"{'; '.join(faults[:_SHOWN_MAX])}{more}. Look at {shown}",
            report,
            page,
        )
    found = f"{len(faults)} faults" if faults else "healthy"
    told = [*([why] if why else []), *([f"forced: {force}"] if faults else []), f"{found} by {shown}"]
    # Also where the alias points there already: what was found now stands in its history.
    reason = "; ".join(told)[:_WHY_CHARACTERS_MAX]
    moved = client.set_alias(dataset_text(model.place), alias, model.version, expected=expected, who=who, why=reason)
    return CheckedPromotion(moved=moved, report=report, page=page)


def _checked(
    client: AmbryClient, model: StoredModel, current: str, reference: str, thresholds: Thresholds | None
) -> HealthReport:
    reference = reference or model.manifest.snapshot
    if not reference:
        raise InvalidRequest(f"{model} does not say what it was trained on; say the reference")
    tables = [open_table(client, said) for said in (reference, current)]
    features = set(model.manifest.features)
    columns = [features if features and columns_of(table.schema) else None for table in tables]
    before, after = (summarise(table, wanted) for table, wanted in zip(tables, columns, strict=True))
    return compare(before, after, thresholds)
