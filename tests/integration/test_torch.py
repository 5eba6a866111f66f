"""torch and Lightning, unmodified, with checkpoints, runs and tensors in the store (`make libraries` installs them)."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from ambry import AmbryClient, tensors
from ambry.errors import InvalidRequest
from ambry.ml.training.torch_checkpoints import TorchCheckpoints
from ambry.tensorboard import open_by_fsspec

pytestmark = pytest.mark.slow
torch: Any = pytest.importorskip("torch", reason="torch is not installed; `make libraries` does it")


@pytest.fixture
def at(dc1: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AMBRY_ENDPOINTS", dc1)
    open_by_fsspec()
    return f"ambry://default/default/torch/{uuid.uuid4().hex}"


@pytest.fixture
def client(dc1: str) -> Iterator[AmbryClient]:
    with AmbryClient([dc1]) as made:
        yield made


def state() -> dict[str, Any]:
    torch.manual_seed(7)
    return {"weight": torch.randn(1_000, 1_000), "bias": torch.zeros(3), "half": torch.randn(5).bfloat16()}


def same(one: Any, other: Any) -> bool:
    return bool(one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other))


@pytest.mark.parametrize("zip_file", [True, False], ids=["zip", "legacy"])
def test_save_and_load_by_url(at: str, zip_file: bool) -> None:
    made = state()
    with fsspec.open(f"{at}/model.pt", "wb") as file:
        torch.save(made, file, _use_new_zipfile_serialization=zip_file)
    with fsspec.open(f"{at}/model.pt", "rb") as file:
        back = torch.load(file)
    assert all(same(back[name], made[name]) for name in made)


class Runs:
    """What its pickle does when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self._mark,))


@pytest.mark.parametrize("zip_file", [True, False], ids=["zip", "legacy"])
def test_code_in_a_checkpoint_is_never_run_unasked(
    at: str, client: AmbryClient, tmp_path: Path, zip_file: bool
) -> None:
    mark = tmp_path / "it ran"
    body = io.BytesIO()
    torch.save({"weight": Runs(mark)}, body, _use_new_zipfile_serialization=zip_file)
    blob = client.put(body.getvalue(), name=f"{at}/model.safetensors").id
    for opened in (tensors.open, tensors.load):
        with pytest.raises(InvalidRequest, match="may run code"):
            opened(blob, client=client, framework="torch")
    with (
        fsspec.open(f"{at}/model.safetensors", "rb") as file,
        pytest.raises(Exception, match=r"weights_only|Weights only"),
    ):
        torch.load(file)
    assert not mark.exists()


def test_distributed_checkpoints(at: str) -> None:
    from torch.distributed import checkpoint as checkpoints

    made = {**state(), "step": 7}
    fs = fsspec.filesystem("ambry")
    for step in (7, 8):
        made["step"] = step
        checkpoints.save(made, checkpoint_id=f"{at}/last")
        into = {name: torch.empty_like(each) for name, each in made.items() if name != "step"} | {"step": 0}
        checkpoints.load(into, checkpoint_id=f"{at}/last")
        assert into["step"] == step and all(same(into[name], made[name]) for name in made if name != "step")
        assert sorted(Path(each).name for each in fs.find(f"{at}/last")) == [".metadata", "__0_0.distcp"]


def test_distributed_checkpoints_by_the_writer_for_fsspec(at: str) -> None:
    from torch.distributed import checkpoint as checkpoints
    from torch.distributed.checkpoint._fsspec_filesystem import FsspecReader, FsspecWriter

    made = state()
    checkpoints.save(made, storage_writer=FsspecWriter(f"{at}/one", single_file_per_rank=False))
    into = {name: torch.empty_like(each) for name, each in made.items()}
    checkpoints.load(into, storage_reader=FsspecReader(f"{at}/one"))
    assert all(same(into[name], made[name]) for name in made)


def test_a_summary_writer(at: str) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed; `make venv` does it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(f"{at}/runs/a") as writer:
        for step in range(30):
            writer.add_scalar("loss", step, step)
    found: Any = EventAccumulator(f"{at}/runs/a")
    found.Reload()
    assert [each.step for each in found.Scalars("loss")] == list(range(30))


@pytest.mark.parametrize("purge", [False, True])
def test_what_was_flushed_after_the_checkpoint_is_there_once_where_the_writer_says_where_it_begins(
    at: str, purge: bool
) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed; `make venv` does it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    for first, end in ((0, 36), (30, 75)):
        with SummaryWriter(f"{at}/runs/killed-{purge}", purge_step=first if purge and first else None) as writer:
            for step in range(first, end):
                writer.add_scalar("loss", step, step)
    found: Any = EventAccumulator(f"{at}/runs/killed-{purge}")
    found.Reload()
    twice = [] if purge else [30, 31, 32, 33, 34, 35]
    assert sorted(each.step for each in found.Scalars("loss")) == sorted([*range(75), *twice])


def test_lightning_trains_logs_and_goes_on(at: str) -> None:
    """Its logger makes a directory and looks whether it is there before it writes into it."""
    lightning: Any = pytest.importorskip("lightning", reason="lightning is not installed; `make libraries` does it")

    class Line(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.line = torch.nn.Linear(4, 1)
            self.save_hyperparameters()

        def training_step(self, batch: Any, _: int) -> Any:
            loss = self.line(batch[0]).pow(2).mean()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(64, 4)), batch_size=8)
    kept = lightning.pytorch.callbacks.ModelCheckpoint(
        dirpath=f"{at}/kept", monitor="loss", save_top_k=1, save_last=True
    )
    loggers = [
        lightning.pytorch.loggers.TensorBoardLogger(f"{at}/tensorboard"),
        lightning.pytorch.loggers.CSVLogger(f"{at}/csv"),
    ]
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    trainer = lightning.Trainer(max_epochs=3, callbacks=[kept], logger=loggers, default_root_dir=at, **quiet)
    trainer.fit(Line(), batches)
    fs = fsspec.filesystem("ambry")
    written = {Path(each).name for each in fs.find(at)}
    assert {"last.ckpt", "metrics.csv", "hparams.yaml"} <= written
    loaded = Line.load_from_checkpoint(kept.best_model_path)
    assert torch.equal(loaded.line.weight, trainer.model.line.weight)
    again = lightning.Trainer(max_epochs=4, logger=False, enable_checkpointing=False, **quiet)
    again.fit(Line(), batches, ckpt_path=kept.last_model_path)
    assert again.current_epoch == 4


def test_fabric_saves_and_loads(at: str) -> None:
    fabric: Any = pytest.importorskip("lightning.fabric", reason="lightning is not installed; `make libraries` does it")
    made = fabric.Fabric(accelerator="cpu", devices=1)
    model, other = torch.nn.Linear(10, 10), torch.nn.Linear(10, 10)
    made.save(f"{at}/one.ckpt", {"model": model, "step": 3})
    left = made.load(f"{at}/one.ckpt", {"model": other})
    assert left == {"step": 3} and torch.equal(model.weight, other.weight)


KINDS = (
    *("bool", "uint8", "int8", "uint16", "int16", "float16", "bfloat16", "uint32", "int32", "float32"),
    *("uint64", "int64", "float64", "complex64", "float8_e4m3fn", "float8_e5m2"),
)


def test_tensors_of_every_type(client: AmbryClient, at: str) -> None:
    save = pytest.importorskip("safetensors.torch").save
    made = {kind: torch.arange(24).reshape(2, 3, 4).to(getattr(torch, kind)) for kind in KINDS}
    made |= {
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 3),
        "three bytes": torch.tensor([1, 2, 3], dtype=torch.uint8),
    }
    name = f"{at}/model.safetensors"
    client.put(save(made), name=name)
    with tensors.open(name, client=client, framework="torch") as model:
        loaded = model.load()
        for each, whole in made.items():
            for found in (model.get(each), loaded[each]):
                assert found.dtype == whole.dtype and found.shape == whole.shape, each
                assert bytes(found.reshape(-1).view(torch.uint8)) == bytes(whole.reshape(-1).view(torch.uint8)), each
                found.zero_()
        there = {each: torch.zeros_like(whole) for each, whole in made.items()}
        model.load_into(there)
        for each, whole in made.items():
            found = there[each].reshape(-1).view(torch.uint8)
            assert bytes(found) == bytes(whole.reshape(-1).view(torch.uint8)), each
        with pytest.raises(InvalidRequest, match="not contiguous in memory of the CPU"):
            model.load_into({"float32": torch.zeros(4, 3, 2).permute(2, 1, 0)})
        part = model.get_slice("float32")
        assert tuple(part.shape) == (2, 3, 4) and torch.equal(part[1, :2], made["float32"][1, :2])
    with tensors.safe_open(name, client=client, framework="pt") as mapped:
        assert torch.equal(mapped.get_tensor("float32"), made["float32"])


def test_a_module_takes_a_model_into_its_own_memory(client: AmbryClient, at: str) -> None:
    save = pytest.importorskip("safetensors.torch").save
    model, other = (torch.nn.Linear(8, 3) for _ in range(2))
    client.put(save(model.state_dict()), name=f"{at}/linear.safetensors")
    tensors.load_into(f"{at}/linear.safetensors", other.state_dict(), client=client)
    assert torch.equal(model.weight, other.weight) and torch.equal(model.bias, other.bias)


def test_a_module_takes_a_sharded_model(client: AmbryClient, at: str) -> None:
    save = pytest.importorskip("safetensors.torch").save
    model, other = (torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 3)) for _ in range(2))
    whole = model.state_dict()
    file_of = {name: f"model-{name[0]}.safetensors" for name in whole}
    for file in set(file_of.values()):
        client.put(save({name: each for name, each in whole.items() if file_of[name] == file}), name=f"{at}/{file}")
    client.put(json.dumps({"weight_map": file_of}).encode(), name=f"{at}/model.safetensors.index.json")
    other.load_state_dict(tensors.load(f"{at}/model.safetensors.index.json", client=client, framework="torch"))
    assert all(torch.equal(each, whole[name]) for name, each in other.state_dict().items())


def test_a_checkpoint_of_another_model_says_how_to_begin_without_it(at: str, client: AmbryClient) -> None:
    """`Size mismatch between saved` was printed by each restart, and nothing said what to do."""
    with TorchCheckpoints(f"{at}/checkpoints", client=client) as checkpoints:
        checkpoints.save(30, torch.nn.Linear(4, 2))
        for other, why in (
            (torch.nn.Linear(5, 2), "Size mismatch"),
            (torch.nn.Sequential(torch.nn.Linear(4, 2)), "Missing"),
        ):
            with pytest.raises(InvalidRequest, match=rf"step 30 is of another model \({why}.*--fresh.*another --name"):
                checkpoints.restore(other)
