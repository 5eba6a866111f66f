"""Artifacts of MLflow in the store (`pip install 'ambry[mlflow]'`): `ambry://account/container/path` as an artifact location.

    mlflow.create_experiment("fraud", artifact_location="ambry://team/models/mlflow")
    mlflow server --serve-artifacts --artifacts-destination ambry://team/models/mlflow

MLflow finds it by itself where both are installed. Which cluster, and with which key: as `AmbryClient.from_env()` finds them.
"""

from __future__ import annotations
