"""Files of strangers, changed at random by a seed, read in a process of their own with a bound of memory.

A change is a few bytes flipped, put in, taken out or copied, or a number written over eight of them. What is read of a changed
file is a value or an error of ours: never another exception, an end of the process, or more memory or time than is there.

    python -m tests.support.mutated READER FILE SEED COUNT
"""

from __future__ import annotations

import random
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

MEMORY_MAX = 3 << 30
SECONDS_MAX = 30
NUMBERS = (
    0,
    1,
    7,
    8,
    255,
    1 << 15,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    1 << 60,
    (1 << 63) - 1,
    (1 << 64) - 1,
)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """`data` with one to four changes; of a zip half of them within a file, whose sum is right again."""
    if data.startswith(b"PK") and chance.randrange(2):
        return _zip_with_a_change(data, chance)
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if not changed:
            break
        place, count = chance.randrange(len(changed)), chance.choice((1, 1, 2, 4, 8, 64))
        match chance.randrange(8):
            case 0 | 1:
                changed[place] ^= 1 << chance.randrange(8)
            case 2:
                changed[place : place + count] = chance.randbytes(len(changed[place : place + count]))
            case 3:
                changed[place:place] = chance.randbytes(count)
            case 4:
                del changed[place : place + count]
            case 5:
                del changed[place:]
            case 6:
                other = chance.randrange(len(changed))
                changed[place : place + count] = changed[other : other + count]
            case _:
                size = chance.choice((2, 4, 8))
                number = chance.choice(NUMBERS) & ((1 << 8 * size) - 1)
                place -= place % chance.choice((1, 4, 8))
                changed[place : place + size] = number.to_bytes(size, chance.choice(("little", "little", "big")))
    return bytes(changed)


def _zip_with_a_change(data: bytes, chance: random.Random) -> bytes:
    with ZipFile(BytesIO(data)) as there:
        files = {name: there.read(name) for name in there.namelist()}
    chosen = chance.choice(sorted(files))
    made = BytesIO()
    with ZipFile(made, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name, mutated(content, chance) if name == chosen else content)
    return made.getvalue()


class _Local:
    """What a snapshot asks of a client, out of files."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def cached_path(self, ref: Any, **_: Any) -> Path:
        return self._files[str(ref)] if str(ref) in self._files else self._files[""]

    def get_ranges(self, ref: Any, spans: list[tuple[int, int]], **_: Any) -> list[bytes]:
        data = self._files[""].read_bytes()
        return [data[begin:end] for begin, end in spans]

    def open(self, ref: Any, **_: Any) -> Any:
        return self._files[""].open("rb")


def _snapshot(file: Path, index: Path | None) -> None:
    """By ranges, fetched, and by the reader: who gives an answer gives that of the others."""
    from ambry.client.refs import VersionRef
    from ambry.errors import AmbryError
    from ambry.ml.features.urn import FeatureUrn
    from ambry.ml.snapshots.reading import Snapshot
    from ambry.ml.snapshots.writing import INDEX_KEY
    from tests.support.mutated_files import KEYS, METADATA

    said = {} if index is None else {INDEX_KEY: "index"}
    files = {"": file} if index is None else {"": file, "index": index}
    info: Any = SimpleNamespace(metadata=said, size=file.stat().st_size, id="id", checksum="", version="1", name="")
    opened: Any = _Local(files)
    answers: list[Any] = []
    errors: list[AmbryError] = []
    for fetched in (False, True):
        try:
            with Snapshot(opened, VersionRef("x", "1"), info, METADATA) as snapshot:
                urns: list[FeatureUrn | str] = list(snapshot.urns)
                if fetched:
                    snapshot.fetch()
                answers.append(snapshot.read(urns, KEYS))
        except AmbryError as error:
            errors.append(error)
    if len(answers) == 2 and not _same(*answers):
        raise AssertionError(f"by ranges and fetched are not the same: {answers}")
    with Snapshot(opened, VersionRef("x", "1"), info, METADATA) as snapshot:
        snapshot.table()
        for urn in snapshot.urns:
            with suppress(AmbryError):
                snapshot.arrays(urn)
                list(snapshot._content.own_views(snapshot.column(urn), snapshot.resolve(urn)))
            with suppress(AmbryError):
                found = snapshot.reader([urn]).read(KEYS)
                if answers and (there := answers[0].column(snapshot.column(urn)).is_valid().to_numpy()).any():
                    assert found.found[there & snapshot.table([urn]).num_rows > 0].all() or found.missing
    if errors:
        raise errors[0]


def _same(one: Any, other: Any) -> bool:
    return bool(one.equals(other)) or str(one.to_pydict()) == str(other.to_pydict())


def _model(kind: str) -> Callable[[Path], None]:
    def read(file: Path) -> None:
        from ambry.ml.models.reading import LOADERS

        part = SimpleNamespace(path=file.name)
        try:
            LOADERS[kind](file.parent, SimpleNamespace(parts=[part]), "numpy", False)  # type: ignore[arg-type]
        except Exception as error:  # StoredModel.load tells of each as DataCorrupt.
            raise _Told(repr(error)[:200]) from None

    return read


class _Told(Exception):
    """What a reader's caller makes a sentence of."""


def _table(file: Path) -> None:
    from ambry.ml.tables import read_file

    for batch in read_file(file).batches:
        batch.validate(full=True)


def _rows(file: Path) -> None:
    from ambry.ml.snapshots.files import rows_of_file

    for piece in rows_of_file(file, {}):
        list(piece) if hasattr(piece, "__next__") else piece


def _package(file: Path) -> None:
    from ambry.ml.features.package import unpack

    unpack(file.read_bytes())


def _parquet_source(file: Path) -> None:
    from ambry.ml.sources.parquet import ParquetSource
    from tests.support.mutated_files import KEYS, METADATA, URNS

    ParquetSource(file, METADATA, entity="member").read(URNS, KEYS)


def _avro_source(file: Path) -> None:
    from ambry.ml.avro_reading import avro_errors, read_avro

    try:
        with file.open("rb") as opened:
            list(read_avro(opened, gathered=True).records)
    except avro_errors() as error:
        raise _Told(repr(error)[:200]) from None


READERS: dict[str, Callable[[Path], None]] = {
    "snapshot.arrow": lambda file: _snapshot(file, file.with_name("index")),
    "index": lambda file: _snapshot(file.with_name("snapshot.arrow"), file),
    "snapshot.parquet": lambda file: _snapshot(file, None),
    "model.safetensors": _model("safetensors"),
    "model.skops": _model("sklearn"),
    "model.avro": _model("avro"),
    "model.arrow": _model("arrow"),
    "model.onnx": _model("onnx"),
    "table.parquet": _table,
    "table.arrow": _table,
    "rows.parquet": _rows,
    "rows.arrow": _rows,
    "source.parquet": _parquet_source,
    "source.avro": _avro_source,
    "features.zip": _package,
}


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS_MAX} s")


def main(reader: str, file: str, seed: int, count: int) -> None:
    """Prints each number before it is read, and what is wrong of it behind."""
    from ambry.errors import AmbryError

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    signal.signal(signal.SIGALRM, _too_long)
    source = Path(file)
    data, read = source.read_bytes(), READERS[reader]
    values = told = 0
    with tempfile.TemporaryDirectory() as made:
        for other in source.parent.iterdir():
            (Path(made) / other.name).write_bytes(other.read_bytes())
        target = Path(made) / source.name
        read(target)
        for number in range(seed, seed + count):
            print(f"{number}", end="", flush=True)
            target.write_bytes(mutated(data, random.Random(number)))
            signal.alarm(SECONDS_MAX)
            try:
                read(target)
                values += 1
            except (AmbryError, _Told):
                told += 1
            except BaseException as error:
                print(f" {type(error).__name__}: {str(error)[:300]!r}", end="")
            finally:
                signal.alarm(0)
            print(flush=True)
    print(f"values={values} told={told}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
