"""A checkpoint is read from mapped files as torch itself reads it, to the last bit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from ambry.ml.training import mapped_reader as reader

torch = pytest.importorskip("torch", reason="torch is not installed; `make libraries` does it")
dcp = pytest.importorskip("torch.distributed.checkpoint", reason="torch is not installed; `make libraries` does it")

LARGE = reader.MAPPED_MIN


def state() -> dict[str, Any]:
    """Tensors of many kinds: large ones, views and small ones, and what is no tensor."""
    made = torch.Generator().manual_seed(7)
    wide = torch.randn(1200, 500, generator=made)
    return {
        "wide": wide,
        "turned": wide.t(),
        "rows": wide[100:900:2],
        "one": torch.randn((), generator=made),
        "odd": torch.arange(LARGE + 3, dtype=torch.int8),  # What lies behind it is not aligned.
        "half": torch.randn(LARGE, generator=made).to(torch.bfloat16),
        "double": torch.randn(LARGE // 4, generator=made, dtype=torch.float64),
        "pairs": torch.randn(LARGE // 4, 2, generator=made)[:, 0],
        "complex": torch.randn(LARGE // 4, generator=made, dtype=torch.complex64),
        "turned back": torch.randn(LARGE // 4, generator=made, dtype=torch.complex64).conj(),
        "none": torch.empty(0, 3),
        "flags": torch.randint(0, 2, (LARGE,), generator=made).bool(),
        "parameter": torch.nn.Parameter(torch.randn(LARGE, generator=made)),
        "step": 35,
        "said": {"words": ["a", "b"]},
    }


def empty(like: Any) -> Any:
    if isinstance(like, torch.Tensor):
        return torch.zeros(like.shape, dtype=like.dtype)
    return {key: empty(value) for key, value in like.items()} if isinstance(like, dict) else type(like)()


def test_all_tensors_come_as_torch_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dcp.save(state(), checkpoint_id=str(tmp_path), no_dist=True)
    theirs, ours = empty(state()), empty(state())
    dcp.load(theirs, checkpoint_id=str(tmp_path), no_dist=True)
    seen: list[Any] = []

    def looked(*arguments: Any) -> Any:
        seen.append(whole(*arguments))
        return seen[-1]

    whole = reader.tensor_in
    monkeypatch.setattr(reader, "tensor_in", looked)
    dcp.load(ours, storage_reader=reader.mapped_reader(tmp_path), no_dist=True)
    assert len([each for each in seen if each is not None]) >= 8, "the large ones are copied from the files"
    for key, value in state().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(ours[key], value.detach()) and torch.equal(ours[key], theirs[key]), key
        else:
            assert ours[key] == theirs[key] == value


def test_what_is_not_plain_is_left_to_torch() -> None:
    def saved(value: Any, **more: Any) -> bytes:
        into = io.BytesIO()
        torch.save(value, into, **more)
        return into.getvalue()

    some = torch.randn(LARGE)
    for data in (
        saved([some, some + 1]),
        saved({"a": 1}),
        saved(torch.nn.Parameter(some)),
        saved(some.to_sparse()),
        saved(some, _use_new_zipfile_serialization=False),
        saved(some)[:-1000],
        saved(some).replace(b"PK\x01\x02\x00\x00\x00\x00", b"PK\x01\x02\x00\x00\x63\x00"),  # Of a later zip.
        b"",
        b"PK" + bytes(100),
    ):
        try:
            found = reader.tensor_in(torch, bytearray(data), 0, len(data))
        except Exception as error:  # What torch says of such a file, it says again when all of it is left to it.
            assert type(error).__module__ != "zipfile" and not isinstance(error, NotImplementedError)
        else:
            assert found is None
    behind = bytearray(b"xyz" + saved(some))
    assert torch.equal(reader.tensor_in(torch, behind, 3, len(behind) - 3), some)
