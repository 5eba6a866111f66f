"""A script as somebody trains with it: two layers on scikit-learn's digits, data-parallel, with checkpoints in the store.

It runs unchanged by `ambry train submit` with torchrun, TonY or Spark. `--die-at` lets the last worker kill itself there, once:
the file `--once` says that it did. `--also-kill` is the process that it takes along, a data node say.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch.nn.parallel import DistributedDataParallel

from ambry.ml import training

BATCH = 32


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))


def sha256_of(model: Any) -> str:
    """Of all parameters, in their order."""
    return hashlib.sha256(b"".join(each.detach().numpy().tobytes() for each in model.parameters())).hexdigest()


def die_once(said: argparse.Namespace, step: int, rank: int, world: int) -> None:
    if step != said.die_at or rank != world - 1 or said.once.exists():
        return
    said.once.touch()
    if said.also_kill:
        os.kill(said.also_kill, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def summary_writer(place: str, rank: int) -> Any:
    """TensorBoard's, as it comes, in the store; of one worker, and None where it is not installed."""
    if rank != 0 or find_spec("tensorboard") is None:
        return None
    return import_module("torch.utils.tensorboard").SummaryWriter(place, flush_secs=600)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--die-at", type=int, default=-1)
    parser.add_argument("--once", type=Path, default=Path("died"))
    parser.add_argument("--also-kill", type=int, default=0)
    said = parser.parse_args()

    torch.set_num_threads(1)
    job = training.current()
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    digits = load_digits()
    data = torch.tensor(digits.data / 16, dtype=torch.float32)
    target = torch.tensor(digits.target)

    model = DistributedDataParallel(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with job.torch_checkpoints() as checkpoints:
        found = checkpoints.restore(model, optimizer)
        first = found.step if found else 0
        print(f"worker {rank} of {world} begins at step {first}, by {job.role.launcher}", flush=True)
        writer = summary_writer(job.logs, rank)
        for step in range(first, said.steps):
            die_once(said, step, rank, world)
            source = torch.Generator().manual_seed(step * world + rank)
            rows = torch.randint(len(data), (BATCH,), generator=source)
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(data[rows]), target[rows])
            loss.backward()
            optimizer.step()
            if (step + 1) % said.every == 0:
                checkpoints.save(step + 1, model, optimizer, loss=loss.item())
                if writer is not None:
                    writer.add_scalar("loss", loss.item(), step + 1)
                    writer.flush()
        if writer is not None:
            writer.close()
    with torch.no_grad():
        accuracy = float((model(data).argmax(1) == target).float().mean())
    digest = sha256_of(model)
    if rank == 0:
        print(f"parameters {digest}", flush=True)
    job.hand_in(model.module.state_dict(), metrics={"accuracy": accuracy}, params={"parameters": digest})
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
