"""The same training in TensorFlow: a loop of its own under MultiWorkerMirroredStrategy (Keras's `fit` fails under it).

`tf.train.Checkpoint` writes to a directory here, by TensorFlow's own file systems, and the chief puts that into the store.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from ambry.ml import training

BATCH = 32
RATE = 0.1


def restored(folder: training.CheckpointFolder, state: Any, strategy: Any) -> int:
    """The step of the newest checkpoint, whose values the variables have on return."""
    newest = strategy.reduce("mean", strategy.run(lambda: tf.constant(float(folder.latest() or 0))), axis=None)
    step = int(newest)
    if step:
        with tempfile.TemporaryDirectory() as here:
            folder.fetch(step, Path(here))
            state.read(f"{here}/state").assert_consumed()
    return step


def evaluate(folder: training.CheckpointFolder, data: Any, target: Any, last: int) -> None:
    """What an evaluator does: tell how good each checkpoint is, until the last one."""
    weights, bias = tf.Variable(tf.zeros([64, 10])), tf.Variable(tf.zeros([10]))
    state, seen = tf.train.Checkpoint(weights=weights, bias=bias), 0
    while seen < last:
        newest = folder.latest() or 0
        if newest == seen:
            time.sleep(0.2)
            continue
        with tempfile.TemporaryDirectory() as here:
            folder.fetch(newest, Path(here))
            state.read(f"{here}/state").assert_consumed()
        seen = newest
        accuracy = float(((data @ weights.numpy() + bias.numpy()).argmax(1) == target).mean())
        print(f"evaluated step {seen}: accuracy {accuracy:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--die-at", type=int, default=-1)
    parser.add_argument("--once", type=Path, default=Path("died"))
    parser.add_argument("--also-kill", type=int, default=0)
    said = parser.parse_args()

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    job = training.current()
    rank, world = job.role.rank or 0, job.role.world
    digits = load_digits()
    data, target = (digits.data / 16).astype("float32"), digits.target
    if job.role.is_evaluator:
        with job.connect() as client:
            evaluate(job.checkpoint_folder(client), data, target, said.steps)
        return
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        weights, bias = tf.Variable(tf.zeros([64, 10])), tf.Variable(tf.zeros([10]))
    state = tf.train.Checkpoint(weights=weights, bias=bias)

    def of_replica(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, tf.matmul(x, weights) + bias)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [weights, bias])
        replica = tf.distribute.get_replica_context()
        for variable, gradient in zip((weights, bias), replica.all_reduce("mean", gradients), strict=True):
            variable.assign_sub(RATE * gradient)

    def one_step(x: Any, y: Any) -> None:
        strategy.run(of_replica, args=(x, y))

    compiled = tf.function(one_step)
    with job.connect() as client:
        folder = job.checkpoint_folder(client)
        first = restored(folder, state, strategy)
        print(f"worker {rank} of {world} begins at step {first}, by {job.role.launcher}", flush=True)
        for step in range(first, said.steps):
            if step == said.die_at and rank == world - 1 and not said.once.exists():
                said.once.touch()
                if said.also_kill:
                    os.kill(said.also_kill, signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
            rows = np.random.default_rng(step * world + rank).integers(len(data), size=BATCH)
            compiled(tf.constant(data[rows]), tf.constant(target[rows]))
            if (step + 1) % said.every == 0:
                with tempfile.TemporaryDirectory() as here:
                    state.write(f"{here}/state")  # By all workers, of which the chief's counts.
                    if job.role.is_chief:
                        folder.put(step + 1, Path(here))
    arrays = {"weights": weights.numpy(), "bias": bias.numpy()}
    accuracy = float(((data @ arrays["weights"] + arrays["bias"]).argmax(1) == target).mean())
    digest = hashlib.sha256(b"".join(each.tobytes() for each in arrays.values())).hexdigest()
    if job.role.is_chief:
        print(f"parameters {digest}", flush=True)
    job.hand_in(arrays, metrics={"accuracy": accuracy}, params={"parameters": digest})


if __name__ == "__main__":
    main()
