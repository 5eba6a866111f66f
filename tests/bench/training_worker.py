"""One of the workers of tests.bench.training: the same steps as the other one, and rank 0 tells how long each took."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ambry import AmbryClient
from ambry.ml.training.torch_checkpoints import TorchCheckpoints

PARAMETERS = 16


def main(directory: Path, size: int, rounds: int) -> None:
    torch = import_module("torch")
    distributed = import_module("torch.distributed")
    dcp = import_module("torch.distributed.checkpoint")
    distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    rank = distributed.get_rank()
    model = torch.nn.ParameterDict(
        {f"p{number}": torch.nn.Parameter(torch.empty(size // 4 // PARAMETERS)) for number in range(PARAMETERS)}
    )
    half, local = directory / f"half-{rank}", directory / "local"
    found: dict[str, list[float]] = {}

    def timed(step: str, call: Callable[[], object]) -> None:
        distributed.barrier()
        began = time.perf_counter()
        call()
        distributed.barrier()
        found.setdefault(step, []).append(time.perf_counter() - began)

    def fill(number: int) -> None:
        torch.manual_seed(number)
        with torch.no_grad():
            for each in model.values():
                each.normal_()

    def state() -> dict[str, Any]:
        return {"model": model.state_dict()}

    with AmbryClient.from_env() as client, TorchCheckpoints("bench/checkpoints", client=client, keep=1) as checkpoints:
        for number in range(rounds):
            half.write_bytes(os.urandom(1 << 20) * (size // 2 >> 20))
            timed("put", lambda: client.put_file(half, name=f"bench/half-{rank}"))
            half.unlink()
            fill(number)
            if rank == 0:
                shutil.rmtree(local, ignore_errors=True)
            dcp.save(state(), checkpoint_id=str(local))
            dcp.load(state(), checkpoint_id=str(local))
            timed("save", lambda number=number: checkpoints.save(number + 1, model))  # type: ignore[misc]
            digest = [float(each.sum()) for each in model.values()]
            timed("kept", checkpoints.wait)
            fill(rounds + 1)
            timed("resume", lambda: checkpoints.restore(model))
            if [float(each.sum()) for each in model.values()] != digest:
                raise RuntimeError("what a restarted worker loads is not what was saved")
            timed("local", lambda: dcp.load(state(), checkpoint_id=str(local)))
            if rank == 0:
                shutil.rmtree(directory / "cache", ignore_errors=True)
            timed("cold", lambda: checkpoints.restore(model))
            fill(rounds + 1)
            timed("warm", lambda: checkpoints.restore(model))
            if [float(each.sum()) for each in model.values()] != digest:
                raise RuntimeError("what was loaded is not what was saved")
    if rank == 0:
        print(json.dumps(found), flush=True)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
