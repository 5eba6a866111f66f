"""MLflow beside our versions and aliases: a registry of MLflow that is our datasets, so that there is nothing to keep in step.

    mlflow.set_tracking_uri("sqlite:///tracking.sqlite")      # runs, parameters, metrics
    mlflow.set_registry_uri("ambry://team/models")            # models, versions, aliases: datasets of that container
    mlflow.pyfunc.load_model("models:/fraud@champion")

MLflow finds both plugins by itself where it and this package are installed (`pip install 'ambry[mlflow,models]'`).
"""

from __future__ import annotations
