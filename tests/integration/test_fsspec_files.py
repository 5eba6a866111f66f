"""Files by URL: what is published when, what names and ids do, and that nobody is told what is not known."""

from __future__ import annotations

import contextlib
import gc
import io
import pickle
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.callbacks import Callback

from ambry import AmbryClient, RetryPolicy, Timeout
from ambry.errors import ChecksumMismatch, InvalidBlobId, PreconditionFailed
from ambry.fs import AmbryFileSystem
from tests.support.content import content

MIB = 1 << 20
BODY = content(5, 20 * MIB + 7)


@pytest.fixture
def fs(dc1: str) -> AmbryFileSystem:
    found: AmbryFileSystem = fsspec.filesystem("ambry", endpoints=[dc1])
    return found


@pytest.fixture
def at() -> str:
    return f"default/default/fs/{uuid.uuid4().hex}"


def test_a_large_file_is_written_in_parts_and_seen_when_it_is_closed(fs: AmbryFileSystem, at: str) -> None:
    with fs.open(at, "wb", content_type="application/x-test", metadata={"run": "7"}) as file:
        for start in range(0, len(BODY), 300_001):
            file.write(BODY[start : start + 300_001])
        assert not fs.exists(at)
    info = fs.info(at)
    assert (info["size"], info["content_type"], info["metadata"]) == (len(BODY), "application/x-test", {"run": "7"})
    with fs.open(at) as file:
        assert file.read() == BODY
        file.seek(-5, 2)
        assert file.read(100) == BODY[-5:]
        file.seek(9 * MIB)
        into = bytearray(100)
        assert file.readinto(into) == 100
        assert into == BODY[9 * MIB : 9 * MIB + 100]
        with pytest.raises(io.UnsupportedOperation):
            file.fileno()


@pytest.mark.parametrize("size", [5, 20 * MIB], ids=["small", "parts"])
@pytest.mark.parametrize(
    "how",
    [
        "binary",
        "text",
        "OpenFile",
        "OpenFile gzip",
        "stack",
        "finally",
        "nobody closes it",
        "nobody closes the text",
        "open",
    ],
)
def test_what_an_exception_interrupts_is_never_published(
    fs: AmbryFileSystem, dc1: str, at: str, how: str, size: int
) -> None:
    fs.pipe_file(at, b"before")
    body = BODY[:size]
    with contextlib.suppress(ZeroDivisionError):
        match how:
            case "binary":
                with fs.open(at, "wb") as file:
                    file.write(body)
                    raise ZeroDivisionError
            case "text":
                with fs.open(at, "w", encoding="latin-1") as text:
                    text.write(body.decode("latin-1"))
                    raise ZeroDivisionError
            case "OpenFile" | "OpenFile gzip":
                compression = "gzip" if "gzip" in how else None
                url = f"ambry://{at}"
                with fsspec.open(url, "wb", compression=compression, endpoints=[dc1]) as file:
                    file.write(body)
                    raise ZeroDivisionError
            case "stack":
                with contextlib.ExitStack() as stack:
                    stack.enter_context(contextlib.closing(fs.open(at, "wb"))).write(body)
                    raise ZeroDivisionError
            case "finally":
                file = fs.open(at, "wb")
                try:
                    file.write(body)
                    raise ZeroDivisionError
                finally:
                    file.close()
            case _:
                if how == "open":
                    file = fsspec.open(f"ambry://{at}", "w", encoding="latin-1", endpoints=[dc1]).open()
                elif "text" in how:
                    file = fs.open(at, "w", encoding="latin-1")
                else:
                    file = fs.open(at, "wb")
                file.write(body if how == "nobody closes it" else body.decode("latin-1"))
                with pytest.warns(ResourceWarning, match="never closed"):
                    del file
                    gc.collect()
    assert fs.cat_file(at) == b"before"


def test_what_is_read_stays_what_it_was_when_it_was_opened(fs: AmbryFileSystem, at: str) -> None:
    fs.pipe_file(at, BODY)
    with fs.open(at) as file:
        begin = file.read(10)
        fs.pipe_file(at, b"another one")
        assert begin + file.read() == BODY
    again = pickle.loads(pickle.dumps(fs))
    assert again.cat_file(at) == b"another one"


def test_x_makes_only_what_is_not_there_and_a_makes_a_blob_of_both(fs: AmbryFileSystem, at: str) -> None:
    with fs.open(at, "xb") as file:
        file.write(b"one")
    with pytest.raises(FileExistsError):
        fs.open(at, "xb")
    with fs.open(at, "ab") as file:
        file.write(b" two")
    assert fs.cat_file(at) == b"one two"
    with pytest.raises(PreconditionFailed), fs.open(at, "ab") as file:
        file.write(b" three")
        fs.pipe_file(at, b"meanwhile")
    assert fs.cat_file(at) == b"meanwhile"
    with fs.open(f"{at}/new", "ab") as file:
        file.write(b"begun")
    assert fs.cat_file(f"{at}/new") == b"begun"


def test_a_transaction_is_seen_as_a_whole_or_not_at_all(fs: AmbryFileSystem, at: str) -> None:
    with contextlib.suppress(ZeroDivisionError), fs.transaction:
        with fs.open(f"{at}/a", "wb") as file:
            file.write(BODY)
        with fs.open(f"{at}/b", "wb") as file:
            file.write(b"b")
        raise ZeroDivisionError
    assert not fs.exists(at)
    with fs.transaction:
        with fs.open(f"{at}/a", "wb") as file:
            file.write(BODY)
        with fs.open(f"{at}/b", "wb") as file:
            file.write(b"b")
        assert not fs.exists(at)
    assert fs.find(at) == [f"{at}/a", f"{at}/b"]
    assert fs.cat_file(f"{at}/a") == BODY


def test_a_move_keeps_the_blob_and_a_copy_is_another_one(fs: AmbryFileSystem, at: str) -> None:
    fs.pipe({f"{at}/old/x": b"x", f"{at}/old/deep/y": b"y"})
    ids = {name: fs.ukey(f"{at}/old/{name}") for name in ("x", "deep/y")}
    fs.mv(f"{at}/old", f"{at}/new", recursive=True)
    assert fs.find(at) == [f"{at}/new/deep/y", f"{at}/new/x"]
    assert {name: fs.ukey(f"{at}/new/{name}") for name in ids} == ids
    fs.mv(f"{at}/new/x", f"{at}/new/deep/y")
    assert fs.find(at) == [f"{at}/new/deep/y"], "it takes the place of what was there"
    fs.cp_file(f"{at}/new/deep/y", f"{at}/copy")
    assert fs.ukey(f"{at}/copy") not in ids.values()
    fs.rm_file(f"{at}/new/deep/y")
    assert fs.cat_file(f"{at}/copy") == b"x"
    with pytest.raises(IsADirectoryError):
        fs.mv(at, f"{at}2")


@pytest.mark.parametrize("how", ["cp_file", "copy", "mv", "mv elsewhere", "append", "cp_file in parts"])
def test_what_is_said_of_a_blob_goes_with_it(fs: AmbryFileSystem, at: str, how: str) -> None:
    """A copy lived for ever, whatever it was a copy of; what was appended to had no type and no metadata any more."""
    said: dict[str, Any] = {"content_type": "text/x-test", "metadata": {"run": "7"}, "filename": "x.txt", "ttl": 5000}
    body = BODY if "parts" in how else b"x"
    fs.pipe_file(at, body, **said)
    source = fs.client.head(fs.name_of(at))
    elsewhere = f"default/said-{uuid.uuid4().hex[:8]}"
    fs.mkdir(elsewhere)
    target = {"mv elsewhere": f"{elsewhere}/x", "append": at}.get(how, f"{at}-2")
    match how.partition(" ")[0]:
        case "append":
            with fs.open(at, "ab") as file:
                file.write(b"y")
        case "mv":
            fs.mv(at, target)
            assert not fs.exists(at)
        case "copy":
            fs.copy(at, target)
        case _:
            fs.cp_file(at, target)
    info = fs.client.head(fs.name_of(target))
    assert (info.content_type, dict(info.metadata), info.filename) == ("text/x-test", {"run": "7"}, "x.txt")
    assert source.expires is not None and info.expires is not None
    assert abs((info.expires - source.expires).total_seconds()) <= 60
    assert fs.cat_file(target) == (b"xy" if how == "append" else body)


def test_blobs_are_read_by_their_ids_and_never_written(fs: AmbryFileSystem, dc1: str) -> None:
    with AmbryClient([dc1]) as client:
        blob = client.put(BODY).id
    url = f"ambry+id://{blob}"
    with fsspec.open(url, "rb", endpoints=[dc1]) as file:
        assert file.read() == BODY
    assert fs.cat_file(url, start=3, end=9) == BODY[3:9]
    assert fs.unstrip_protocol(str(blob)) == url
    with pytest.raises(PermissionError, match="never changes"):
        fs.open(url, "wb")
    with pytest.raises(InvalidBlobId):
        fs.cat_file("ambry+id://" + str(blob)[:-1] + ("A" if str(blob)[-1] != "A" else "B"))


def test_ranges_as_python_means_them(fs: AmbryFileSystem, at: str) -> None:
    fs.pipe_file(at, BODY[:1000])
    for start, end in ((0, 10), (990, None), (-10, None), (None, -990), (-20, -10), (5, 5), (1000, None), (990, 2000)):
        assert fs.cat_file(at, start, end) == BODY[:1000][start:end], (start, end)
    spans = [(0, 10), (500, 700), (3, 4), (999, 1000)]
    pieces = fs.cat_ranges([at] * 4, [start for start, _ in spans], [end for _, end in spans])
    assert pieces == [BODY[start:end] for start, end in spans]
    missing = fs.cat_ranges([at, f"{at}-none"], 0, 5)
    assert missing[0] == BODY[:5]
    assert isinstance(missing[1], FileNotFoundError)


def test_files_go_and_come_with_their_progress(fs: AmbryFileSystem, at: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here.bin", tmp_path / "sub" / "there.bin"
    here.write_bytes(BODY)
    up, down = Callback(), Callback()
    fs.put_file(str(here), at, callback=up)
    fs.get_file(at, str(there), callback=down)
    assert there.read_bytes() == BODY
    assert (up.size, up.value, down.size, down.value) == (len(BODY),) * 4


def test_names_that_mean_something_to_a_shell_or_a_url(fs: AmbryFileSystem, at: str) -> None:
    for name in ("a b", "100%25", "x=ä/part-0", "q#1", "über", "a+b&c"):
        path = f"{at}/{name}"
        fs.pipe_file(path, name.encode())
        assert fs.cat_file(path) == name.encode()
        assert fs.cat_file(fs.unstrip_protocol(path)) == name.encode()
        assert path in fs.find(at)


def test_where_nothing_is_it_says_so_and_where_nobody_knows_it_does_not(fs: AmbryFileSystem, at: str) -> None:
    for missing in (at, f"default/{uuid.uuid4().hex}/x", f"{uuid.uuid4().hex[:20]}/default/x"):
        assert not fs.exists(missing) and not fs.isdir(missing) and not fs.isfile(missing)
        with pytest.raises(FileNotFoundError):
            fs.open(missing)
        with pytest.raises(FileNotFoundError):
            fs.ls(missing)
        with pytest.raises(FileNotFoundError):
            fs.rm(missing, recursive=True)
    away = AmbryFileSystem(
        endpoints=["http://127.0.0.1:9"], retry=RetryPolicy(max_attempts=1), skip_instance_cache=True
    )
    for asked in (away.exists, away.isdir, away.isfile):
        with pytest.raises(ConnectionError):
            asked(at)


def test_above_all_names_are_containers_and_accounts(fs: AmbryFileSystem, at: str) -> None:
    assert "default" in fs.ls("", detail=False)
    assert "default/default" in fs.ls("default", detail=False)
    assert fs.isdir("default") and fs.isdir("default/default")
    made = f"default/made-{uuid.uuid4().hex[:8]}"
    fs.mkdir(made)
    assert fs.ls(made) == []
    with pytest.raises(FileExistsError):
        fs.makedirs(made)
    fs.makedirs(made, exist_ok=True)
    with pytest.raises(FileExistsError):
        fs.mkdir(made)
    for whole in ("default", ""):
        with pytest.raises(PermissionError):
            fs.rm(whole, recursive=True)
    with pytest.raises(PermissionError):
        fs.rmdir(made)
    with pytest.raises(FileNotFoundError, match="is a directory"):
        fs.pipe_file("default/default", b"x")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"endpoint": "http://127.0.0.1:9"}, "did you mean endpoints"),
        ({"profil": "x"}, "did you mean profile"),
        ({"acount": "y"}, "did you mean account"),
        ({"anon": True}, "there are account, auth"),
    ],
)
def test_an_option_that_is_none_is_refused(options: dict[str, Any], said: str) -> None:
    """Such options were passed over: what was to go to one cluster was read from and written to another one."""
    for asked in (fsspec.filesystem, fsspec.open):
        with pytest.raises(TypeError, match=f"no storage option '{next(iter(options))}': {said}"):
            asked("ambry" if asked is fsspec.filesystem else "ambry://default/default/x", **options)


def test_what_fsspec_says_to_all_file_systems_is_no_misspelt_option(dc1: str) -> None:
    for said in ({"use_listings_cache": False}, {"asynchronous": True}, {"block_size": 1 << 20}, {"auto_mkdir": False}):
        AmbryFileSystem(endpoints=[dc1], skip_instance_cache=True, **said)


def test_a_key_file_is_a_storage_option_of_which_only_the_path_goes_elsewhere(tmp_path: Path, dc1: str) -> None:
    file = tmp_path / "key"
    file.write_text(f"ambry_{'a' * 16}_{'b' * 43}\n")
    file.chmod(0o600)
    files = AmbryFileSystem(endpoints=[dc1], key_file=str(file), skip_instance_cache=True)
    assert files.client._auth is not None and "b" * 43 in files.client._auth.key()
    again = pickle.loads(pickle.dumps(files))
    assert "b" * 43 in again.client._auth.key() and b"b" * 43 not in pickle.dumps(files)
    with pytest.raises(TypeError, match="say one of them"):
        AmbryFileSystem(endpoints=[dc1], key_file=str(file), key="ambry_x", skip_instance_cache=True)


def test_writing_to_a_container_that_was_misspelt_makes_none(fs: AmbryFileSystem, dc1: str) -> None:
    """`to_csv` and `fsspec.open(url, "wb")` have the parent made of what they write: it was the container."""
    typo = f"default/typo-{uuid.uuid4().hex[:8]}"
    for mode in ("wb", "w"):
        with pytest.raises(FileNotFoundError, match="no such container"):
            fsspec.open(f"ambry://{typo}/a.csv", mode, endpoints=[dc1]).open()
    with pytest.raises(FileNotFoundError, match="no such container"):
        fs.makedirs(typo, exist_ok=True)
    assert not fs.exists(typo) and typo not in fs.ls("default", detail=False)


def test_a_whole_read_in_pieces_is_held_against_the_digest_unless_that_is_not_wanted(
    fs: AmbryFileSystem, dc1: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs.pipe_file(at, BODY)
    right = AmbryClient.get_bytes

    def wrong(self: AmbryClient, *args: Any, **kwargs: Any) -> bytes:
        data = bytearray(right(self, *args, **kwargs))
        data[-1] ^= 1
        return bytes(data)

    monkeypatch.setattr(AmbryClient, "get_bytes", wrong)
    with fs.open(at, block_size=8 * MIB) as file, pytest.raises(ChecksumMismatch):
        while file.read(3 * MIB):
            pass
    careless = AmbryFileSystem(endpoints=[dc1], verify="never", skip_instance_cache=True)
    with careless.open(at, block_size=8 * MIB) as file:
        assert sum(len(piece) for piece in iter(lambda: file.read(3 * MIB), b"")) == len(BODY)


def test_a_timeout_is_that_of_a_file_that_is_read_too(fs: AmbryFileSystem, at: str) -> None:
    fs.pipe_file(at, b"x")
    with fs.open(at, timeout=Timeout(total=1e-9)) as file, pytest.raises(TimeoutError):
        file.read()


def test_a_directory_that_was_made_is_there_for_who_made_it(fs: AmbryFileSystem, dc1: str, at: str) -> None:
    """Lightning's logger makes one, looks whether it is there, and says `Missing folder`."""
    fs.makedirs(f"{at}/a/b", exist_ok=True)
    assert fs.isdir(f"{at}/a/b") and fs.exists(f"{at}/a") and fs.ls(f"{at}/a/b") == []
    assert fs.find(at) == [] and fs.ls(at, detail=False) == [f"{at}/a"]
    other = AmbryFileSystem(endpoints=[dc1], skip_instance_cache=True)
    assert not other.exists(f"{at}/a")
    fs.mv(f"{at}/a/b", f"{at}/c", recursive=True)
    assert fs.isdir(f"{at}/c") and not fs.exists(f"{at}/a/b")
    fs.pipe_file(f"{at}/c/x", b"x")
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir(f"{at}/c")
    fs.rm_file(f"{at}/c/x")
    fs.rmdir(f"{at}/c")
    assert not fs.exists(f"{at}/c")
    fs.mkdir(f"{at}/d")
    fs.rm(at, recursive=True)
    assert not fs.exists(f"{at}/d")


def test_what_a_file_is_not_written_with_is_said_when_it_is_opened(fs: AmbryFileSystem, at: str) -> None:
    """It was said when all had been written, and all was lost; and an encoding of None, for bytes, was such a thing."""
    with pytest.raises(TypeError, match="not written with flavour, but with content_type"):
        fs.open(at, "wb", flavour="sweet")
    with fs.open(at, "wb", encoding=None, errors=None, newline=None) as file:
        file.write(b"x")
    assert fs.cat_file(at) == b"x"


def test_a_directory_is_deleted_in_few_requests_and_nothing_beside_it(fs: AmbryFileSystem, at: str) -> None:
    fs.pipe({f"{at}/d/{number}": b"x" for number in range(30)} | {f"{at}/d2": b"stays"})
    with pytest.raises(IsADirectoryError):
        fs.rm(f"{at}/d")
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir(f"{at}/d")
    fs.rm(f"{at}/d", recursive=True)
    assert fs.find(at) == [f"{at}/d2"]
    fs.rmdir(f"{at}/d")
    with pytest.raises(FileNotFoundError):
        fs.rm_file(f"{at}/d")


def test_a_name_that_is_a_directory_too_goes_with_what_is_beneath(fs: AmbryFileSystem, at: str) -> None:
    fs.pipe({f"{at}/model": b"itself", f"{at}/model/cfg": b"beneath"})
    assert fs.find(f"{at}/model") == [f"{at}/model", f"{at}/model/cfg"]
    fs.cp(f"{at}/model", f"{at}/copy", recursive=True)
    fs.mv(f"{at}/model", f"{at}/old", recursive=True)
    assert fs.find(at) == [f"{at}/copy", f"{at}/copy/cfg", f"{at}/old", f"{at}/old/cfg"]
    fs.mv(f"{at}/copy", f"{at}/one")
    assert fs.find(at) == [f"{at}/copy/cfg", f"{at}/old", f"{at}/old/cfg", f"{at}/one"]
    fs.rm(f"{at}/old", recursive=True)
    assert fs.find(at) == [f"{at}/copy/cfg", f"{at}/one"]
