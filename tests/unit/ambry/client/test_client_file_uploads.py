"""Files that go in parts, in both clients, against a frontend with a metadata store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ambry import AlreadyExists, AmbryClient, InvalidRequest, PreconditionFailed, Timeout, TransferConfig
from ambry.client.options import ClientBase
from ambry.client.sections import state_path
from tests.support.content import content
from tests.support.named_frontend import named_frontend
from tests.support.twins import Twins

MIB = 1 << 20
BODY = content(7, 4 * MIB + 5)
SMALL = TransferConfig(threshold=MIB, part_size=MIB, max_concurrency=1)
_numbers = count()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with named_frontend(tmp_path_factory.mktemp("meta") / "meta.sqlite") as running:
        yield running


@pytest.fixture
def name() -> str:
    return f"files/{next(_numbers)}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "big.bin"
    made.write_bytes(BODY)
    return made


def once(do: Callable[[], object]) -> Callable[[int, int | None], None]:
    """A progress that does something when the first part is there."""
    left = [do]

    def progress(done: int, total: int | None) -> None:
        if done >= MIB and left:
            left.pop()()

    return progress


def test_of_several_uploads_of_one_file_at_a_time_none_fails(url: str, name: str, file: Path) -> None:
    """All but one were told that their upload session was complete: they had gone on with the first one's."""
    uploads, done = 3, []
    begun = threading.Barrier(uploads)

    def upload(number: int) -> None:
        with AmbryClient(url) as client:
            info = client.put_file(file, name=f"{name}/{number}", transfer=SMALL, progress=once(lambda: begun.wait(60)))
            done.append((number, client.get_bytes(info.id) == BODY))

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(uploads)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(done) == [(number, True) for number in range(uploads)]
    assert not state_path(file).exists()


def test_the_one_that_holds_the_file_is_the_one_that_is_gone_on_with(
    url: str, name: str, file: Path, twins: Twins
) -> None:
    client = twins.connect(url)

    def breaks() -> None:
        with AmbryClient(url) as other:
            other.put_file(file, transfer=SMALL)
        assert state_path(file).exists(), "the other one remembers nothing, and forgets nothing of this one"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.put_file(file, name=name, transfer=SMALL, progress=once(breaks))
    told: list[tuple[int, int | None]] = []
    client.put_file(file, name=name, transfer=SMALL, resuming=lambda *each: told.append(each))
    assert len(told) == 1 and told[0][0] >= MIB and client.get_bytes(name) == BODY


@pytest.mark.parametrize("how", ["grows", "changes", "gets shorter"])
def test_a_file_that_is_written_to_while_it_goes_is_not_stored(
    url: str, name: str, file: Path, twins: Twins, how: str
) -> None:
    """It was cut, and that was a success."""

    def write() -> None:
        with file.open("r+b") as handle:
            if how == "gets shorter":
                handle.truncate(2 * MIB)
            else:
                handle.seek(0, 2 if how == "grows" else 0)
                handle.write(b"more")

    client = twins.connect(url)
    with pytest.raises(InvalidRequest, match=r"big\.bin (was written to|got shorter) while it was sent"):
        client.put_file(file, name=name, transfer=SMALL, progress=once(write))
    assert not client.exists(name)
    assert client.put_file(file, name=name, transfer=SMALL).size == file.stat().st_size


def test_a_name_that_may_not_point_to_it_is_told_before_a_byte_is_sent(
    url: str, name: str, file: Path, twins: Twins
) -> None:
    """With `if_match` all parts were sent first."""
    client = twins.connect(url)
    there = client.put(b"there", name=name)
    sent: list[int] = []
    said: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"if_absent": True, "name": name}, AlreadyExists, "nothing was sent"),
        ({"if_match": '"other"', "name": name}, PreconditionFailed, "nothing was sent"),
        ({"if_match": '"other"', "name": f"{name}/none"}, PreconditionFailed, "points to nothing; nothing was sent"),
    ]
    for given, error, told in said:
        with pytest.raises(error, match=told):
            client.put_file(file, transfer=SMALL, progress=lambda done, _: sent.append(done), **given)
    assert sent == []
    info = client.put_file(file, name=name, if_match=client.head(name).etag, transfer=SMALL)
    assert info.id != there.id and client.resolve(name) == info.id


def test_all_requests_of_a_call_have_one_total(
    url: str, name: str, file: Path, twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request had the whole of it: a `put_file` with a total of 0.8 s took 3.4 s, and succeeded."""
    seen: list[float | None] = []
    attempts = ClientBase._attempts

    def watched(client: ClientBase, timeout: Timeout | None) -> Any:
        made = attempts(client, timeout)
        seen.append(made.deadline)
        return made

    monkeypatch.setattr(ClientBase, "_attempts", watched)
    client = twins.connect(url)
    total = Timeout(total=600)
    there = client.put(b"bytes of a blob", name=name)
    client.create_dataset(name.replace("/", "-"))
    calls: list[Callable[[], object]] = [
        lambda: client.put_file(file, name=f"{name}/file", transfer=SMALL, timeout=total),
        lambda: client.get_file(f"{name}/file", file.with_name("copy"), transfer=SMALL, timeout=total),
        lambda: client.cached_path(name, cache_dir=file.with_name("cache"), timeout=total),
        lambda: client.get_ranges(name, [(0, 3), (5, 7)], timeout=total),
        lambda: client.bind(f"{name}/bound", there.id, timeout=total),
        lambda: client.rename(f"{name}/bound", f"{name}/renamed", timeout=total),
        lambda: client.update_ttl(name, None, timeout=total),
        lambda: client.delete(f"{name}/renamed", timeout=total),
    ]
    for call in calls:
        seen.clear()
        call()
        assert len(seen) > 1 and len(set(seen)) == 1 and seen[0] is not None
    upload = client.start_upload(name=f"{name}/upload")
    upload.write_part(1, b"part")
    seen.clear()
    upload.complete(timeout=total)
    assert len(seen) > 1 and len(set(seen)) == 1
