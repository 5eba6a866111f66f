"""Tensors of safetensors files in the store: one of them, a part of one, or a whole model (`pip install 'ambry[tensors]'`).

    from ambry import tensors

    with tensors.open("ambry://team/models/bert/model.safetensors") as model:
        print(model.keys())
        weight = model.get("encoder.layer.0.output.dense.weight")
        rows = model.get_slice("embeddings.word_embeddings.weight")[1000:1010]
    mapped = tensors.safe_open("ambry://team/models/bert/model.safetensors")     # a file of the local cache, by safetensors
    everything = tensors.load("ambry://team/models/bert/model.safetensors", framework="torch")
    tensors.load_into("ambry://team/models/bert/model.safetensors", network.state_dict())      # memory that is there already

The index of a sharded model (`model.safetensors.index.json`) is opened in the same way, by its name. A blob never changes, so
what is said of its tensors is asked for once. Formats that may run code when they are read, such as pickles, are not read here.
"""

from __future__ import annotations

from ambry.tensors.model import TensorModel, safe_open
from ambry.tensors.model import load_model as load
from ambry.tensors.model import load_model_into as load_into
from ambry.tensors.model import open_model as open

__all__ = ["TensorModel", "load", "load_into", "open", "safe_open"]
