"""Training on the store: jobs whose sources, environment, checkpoints and model lie in it, on whichever launcher.

In a script, which runs unchanged by torchrun, by TonY on YARN, and by Spark:

    from ambry.ml import training

    job = training.current()                       # who I am, and where things go
    checkpoints = job.torch_checkpoints()
    found = checkpoints.restore(model, optimizer)
    ...
    checkpoints.save(step, model, optimizer)
    job.hand_in(model.state_dict(), metrics={"accuracy": 0.97})

From outside it is `ambry train submit`, or:

    wanted = training.WhatToRun(script=Path("train.py"), workers=2, publish="digits")
    launcher = TorchrunLauncher()
    training.run_job(client, training.prepare_job(client, wanted, launcher=launcher), launcher)
"""

from __future__ import annotations

from ambry.ml.training.checkpoints import CheckpointFolder, CheckpointMark
from ambry.ml.training.current import CurrentJob, current
from ambry.ml.training.jobs import TrainingJob
from ambry.ml.training.launchers import LaunchFailed
from ambry.ml.training.roles import RoleUnclear, WorkerRole, role_of
from ambry.ml.training.submitting import EndedJob, WhatToRun, prepare_job, run_job

__all__ = [
    "CheckpointFolder",
    "CheckpointMark",
    "CurrentJob",
    "EndedJob",
    "LaunchFailed",
    "RoleUnclear",
    "TrainingJob",
    "WhatToRun",
    "WorkerRole",
    "current",
    "prepare_job",
    "role_of",
    "run_job",
]
