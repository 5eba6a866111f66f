"""A small scoring service: it follows an alias, shadows a challenger, assigns by an experiment and tells how it gets on.

    ambry serve fraud@champion --port 8080

Needs aiohttp and prometheus-client: pip install 'ambry[serving]'.
"""

from __future__ import annotations

from ambry.ml.models.inputs import summary_of
from ambry.ml.serving.app import make_app
from ambry.ml.serving.feature_log import FeatureLog
from ambry.ml.serving.inference import InferenceRequest
from ambry.ml.serving.limits import ServingLimits
from ambry.ml.serving.service import Scored, ScoringService

__all__ = ["FeatureLog", "InferenceRequest", "Scored", "ScoringService", "ServingLimits", "make_app", "summary_of"]
