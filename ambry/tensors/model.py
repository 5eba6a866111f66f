"""A model as its tensors: one safetensors file, or the many that an index names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from io import SEEK_END
from pathlib import Path
from posixpath import dirname, join
from types import TracebackType
from typing import Any, Self

from ambry.client.model import BatchResult, check_type
from ambry.client.refs import SCHEME, NameRef, Ref, found_as, parse_uri
from ambry.client.sync import waiting
from ambry.client.sync.client import AmbryClient
from ambry.errors import InvalidRequest, must_have
from ambry.shown_urls import shown_place
from ambry.tensors.file import TensorFile, nothing
from ambry.tensors.frameworks import Framework, framework_of, memory_of
from ambry.tensors.header import SIZE_BYTES, TensorInfo, header_end, parse_index
from ambry.tensors.spans import Index

INDEX_SUFFIX = ".index.json"
INDEX_BYTES_MAX = 64 << 20
AT_ONCE = 4
"""Requests at a time, of a load."""


class TensorSlice:
    """A tensor of which nothing was read: `part[3]`, `part[10:20, :5]` reads what that needs, in one request."""

    def __init__(self, file: TensorFile, tensor: TensorInfo, framework: Framework) -> None:
        self._file = file
        self._tensor = tensor
        self._framework: Framework = framework

    @property
    def shape(self) -> tuple[int, ...]:
        return self._tensor.shape

    @property
    def dtype(self) -> str:
        """As safetensors names it, such as `BF16`."""
        return self._tensor.dtype

    def __getitem__(self, index: Index | tuple[Index, ...]) -> Any:
        """As of numpy, with numbers and slices. Raises IndexError, TypeError; what a get of the blob raises."""
        return self._file.cut(self._tensor, index, self._framework)


class TensorModel:
    """The tensors of a model in the store, by name. What a name pointed to when it was opened is read from then on; so it is
    with the names of all files of a sharded model.

    Usable by threads. Close it, or use it in a `with`; a client that was passed stays open.
    """

    def __init__(self, client: AmbryClient, ref: Ref, framework: str, *, owned: bool) -> None:
        """Raises InvalidRequest for what is no safetensors file and no index; what a get of the blob raises."""
        self._framework: Framework = framework_of(framework)
        self._client = client
        self._owned = owned
        self._files: dict[str, TensorFile] = {}
        self._opening: Callable[[str], TensorFile] | None = None
        self._file_of: Mapping[str, str]
        index = _index_of(ref)
        if index is not None:
            self._file_of = parse_index(client.get_bytes(index, max_size=INDEX_BYTES_MAX))
            files = list(dict.fromkeys(self._file_of.values()))
            places = [_beside(index, file) for file in files]
            found = dict(zip(files, zip(places, client.head_many(places), strict=True), strict=True))
            self._opening = lambda file: TensorFile(client, _as_found(*found[file]))
        else:
            self._files[""] = whole = TensorFile(client, ref)
            self._file_of = dict.fromkeys(whole.header.tensors, "")

    def keys(self) -> list[str]:
        """The names of all tensors."""
        return list(self._file_of)

    def __contains__(self, name: object) -> bool:
        return name in self._file_of

    @property
    def metadata(self) -> Mapping[str, str]:
        """What its file says beside the tensors; nothing of a model of many files."""
        whole = self._files.get("")
        return {} if whole is None else whole.header.metadata

    def get(self, name: str) -> Any:
        """A tensor: one request, and before the first of a file one or two for its header. Raises KeyError."""
        file = self._file(name)
        return file.get(file.header.tensors[name], self._framework)

    def get_slice(self, name: str) -> TensorSlice:
        """A tensor, to be cut. Raises KeyError."""
        file = self._file(name)
        return TensorSlice(file, file.header.tensors[name], self._framework)

    def load(self, names: Iterable[str] | None = None, *, at_once: int = AT_ONCE) -> dict[str, Any]:
        """All tensors, or these.

        Of all, each file comes in parts, `at_once` of them at a time, into one piece of memory that its tensors share, and is
        verified by its digest where it has one.

        Raises KeyError, ChecksumMismatch.
        """
        if names is not None:
            wanted = list(names)
            return dict(zip(wanted, waiting.at_once(self.get, wanted, at_once, nothing), strict=True))
        return self._load_all(at_once)

    def load_into(self, arrays: Mapping[str, Any], *, at_once: int = AT_ONCE) -> None:
        """These tensors into memory that is there already: arrays of numpy or tensors of torch, by the names of the tensors.

        Each has the type and the shape of its tensor, and is contiguous in memory of the CPU. Nothing is copied on the way, but
        for what is below 1 MiB, which comes several tensors in a request. A file of which all tensors are wanted is verified by
        its digest where it has one. Where it raises, what is in the arrays is not the model. Raises KeyError, InvalidRequest
        before anything is written; ChecksumMismatch.
        """
        of_files: dict[str, dict[str, memoryview]] = {}
        for name, array in arrays.items():
            tensor = self._file(name).header.tensors[name]
            memory = memory_of(name, array, tensor.dtype, tensor.shape)
            of_files.setdefault(self._file_of[name], {})[name] = memory
        for file_name, memories in of_files.items():
            self._files[file_name].fill_arrays(memories, at_once)

    def _load_all(self, at_once: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for file_name in dict.fromkeys(self._file_of.values()):
            of_file = [name for name, where in self._file_of.items() if where == file_name]
            file = self._file(of_file[0])
            found |= file.views(file.load(at_once), of_file, self._framework)
        return {name: found[name] for name in self._file_of}

    def _file(self, name: str) -> TensorFile:
        where = self._file_of.get(name)
        if where is None:
            raise KeyError(f"there is no tensor {name!r}; keys() has the names of all {len(self._file_of)}")
        file = self._files.get(where)
        if file is None:
            file = self._files.setdefault(where, must_have(self._opening, "how a file of the index is opened")(where))
        if name not in file.header.tensors:
            raise InvalidRequest(f"the index says that the tensor {name!r} is in {where!r}, and it is not")
        return file

    def close(self) -> None:
        if self._owned:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_model(ref: Ref, *, client: AmbryClient | None = None, framework: str = "numpy") -> TensorModel:
    """Open a safetensors file, or the index of a sharded model, by its id or its name.

    `client`: `AmbryClient.from_env()` where none is passed. `framework` is "numpy", "torch", "jax" or "tensorflow", or as
    safetensors has it "np", "pt", "flax" or "tf".
    """
    own = _client_of(client)
    try:
        return TensorModel(own, ref, framework, owned=client is None)
    except BaseException:
        if client is None:
            own.close()
        raise


def load_model(
    ref: Ref, *, client: AmbryClient | None = None, framework: str = "numpy", at_once: int = AT_ONCE
) -> dict[str, Any]:
    """All tensors of a model, as `TensorModel.load` has them."""
    with open_model(ref, client=client, framework=framework) as model:
        return model.load(at_once=at_once)


def load_model_into(
    ref: Ref, arrays: Mapping[str, Any], *, client: AmbryClient | None = None, at_once: int = AT_ONCE
) -> None:
    """Tensors of a model into memory that is there already, as `TensorModel.load_into` does it."""
    with open_model(ref, client=client) as model:
        model.load_into(arrays, at_once=at_once)


def safe_open(
    ref: Ref,
    *,
    client: AmbryClient | None = None,
    framework: str = "numpy",
    device: str = "cpu",
    verify: bool = False,
) -> Any:
    """What `safetensors.safe_open` makes of a blob's file in the local cache: mapped, and not downloaded again.

    With `verify` all its bytes are read first, and fetched again if they changed on this machine.
    `client`: `AmbryClient.from_env()` where none is passed. Raises ModuleNotFoundError without safetensors; InvalidRequest for
    what is no safetensors file, and for the index of a sharded model; what `cached_path` raises.
    """
    try:
        from safetensors import safe_open as opened
    except ModuleNotFoundError:
        raise ModuleNotFoundError("this takes safetensors: pip install 'ambry[tensors]'", name="safetensors") from None
    if _index_of(ref) is not None:
        raise InvalidRequest(
            f"{shown_place(ref)}: it is the index of a sharded model, whose tensors `ambry.tensors.open` reads"
        )
    own = _client_of(client)
    try:
        path = own.cached_path(ref, verify=verify)
        with Path(path).open("rb") as file:
            header_end(file.read(SIZE_BYTES + 1), file.seek(0, SEEK_END))
        return opened(path, framework=framework, device=device)
    except InvalidRequest as error:
        error.message = f"{shown_place(ref)}: {error.message}"
        raise
    finally:
        if client is None:
            own.close()


def _client_of(client: AmbryClient | None) -> AmbryClient:
    """Raises TypeError for one that is awaited."""
    if client is not None:
        check_type("client", client, AmbryClient, "an AmbryClient, which blocks: tensors have no calls to be awaited")
    return client or AmbryClient.from_env()


def _index_of(ref: Ref) -> NameRef | None:
    """The name of an index; None for what is called otherwise."""
    if isinstance(ref, str):
        if not ref.endswith(INDEX_SUFFIX):
            return None
        return parse_uri(ref) if ref.startswith(SCHEME) else NameRef(ref)
    return ref if isinstance(ref, NameRef) and ref.name.endswith(INDEX_SUFFIX) else None


def _beside(index: NameRef, file: str) -> NameRef:
    return NameRef(join(dirname(index.name), file), index.account, index.container)


def _as_found(place: NameRef, result: BatchResult) -> Ref:
    """What a file of a sharded model is read by. Raises what looking it up gave."""
    if result.error is not None:
        raise result.error
    return place if result.info is None else found_as(result.info)
