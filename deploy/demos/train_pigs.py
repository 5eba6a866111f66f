"""A script as somebody trains with it: a small network on a typed snapshot, data-parallel, with checkpoints in the store.

It runs by `ambry train submit --snapshot SNAPSHOT` with torchrun, TonY or Spark, and finds its rows by the job alone: the
features and the response are its arguments, by URN.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ambry import AmbryClient
from ambry.ml import snapshots, training

EVERY = 100
"""Steps between checkpoints."""


class WeightNetwork(torch.nn.Module):  # type: ignore[misc]  # Of torch, which is not always there.
    """One hidden layer, between what inputs and outputs are scaled by."""

    def __init__(self, rows: Any, response: Any, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        scale = rows.std(0)
        for name, value in (
            ("mean", rows.mean(0)),
            ("scale", torch.where(scale > 0, scale, torch.ones_like(scale))),
            ("out_mean", response.mean()),
            ("out_scale", response.std()),
        ):
            self.register_buffer(name, value)
        self.hidden = torch.nn.Linear(rows.shape[1], 16, dtype=torch.float64)
        self.out = torch.nn.Linear(16, 1, dtype=torch.float64)

    def forward(self, rows: Any) -> Any:
        """In units of the response's deviation."""
        return self.out(torch.tanh(self.hidden((rows - self.mean) / self.scale)))[:, 0]

    def predict(self, rows: Any) -> Any:
        return self.forward(rows) * self.out_scale + self.out_mean


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--feature", dest="features", action="append", required=True)
    parser.add_argument("--response", required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()

    torch.set_num_threads(1)
    job = training.current()
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    with AmbryClient.from_env() as client, snapshots.open(client, job.snapshot) as snapshot:
        keys = snapshot.table([said.response]).column(snapshot.about.entity)
        rows, response = (
            torch.tensor(snapshot.reader(urns).matrix(keys, np.float64)) for urns in (said.features, [said.response])
        )
        definitions = snapshot.about.definitions
    response = response[:, 0]
    model = DistributedDataParallel(WeightNetwork(rows, response, said.seed))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    wanted = (response - model.module.out_mean) / model.module.out_scale
    with job.torch_checkpoints() as checkpoints:
        found = checkpoints.restore(model, optimizer)
        first = found.step if found else 0
        print(f"worker {rank} of {world} begins at step {first} of {job.snapshot}", flush=True)
        for step in range(first, said.steps):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(rows[rank::world]), wanted[rank::world])
            loss.backward()
            optimizer.step()
            if (step + 1) % EVERY == 0:
                checkpoints.save(step + 1, model, optimizer, loss=loss.item())
    with torch.no_grad():
        error = float((model.module.predict(rows) - response).abs().mean())
    job.hand_in(
        model.module.state_dict(),
        metrics={"error": error},
        features=said.features,
        definitions=definitions,
        params={"seed": said.seed},
        note="a network of what is known of any pig",
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
