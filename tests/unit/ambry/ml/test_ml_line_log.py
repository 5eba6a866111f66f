"""Lines are stored once, whatever became of the answers to puts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient, BlobInfo
from ambry.client.refs import NameRef
from ambry.errors import Unavailable
from ambry.ml import line_log
from ambry.ml.line_log import LineLog
from ambry.streams.windows import over_files
from tests.support.named_frontend import named_frontend

ACTION = {"member": 1, "action": "Click"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[AmbryClient]:
    with named_frontend(tmp_path / "meta.sqlite") as url, AmbryClient(url) as made:
        yield made


def folder(client: AmbryClient) -> NameRef:
    return NameRef("actions/", client.default_account, client.default_container)


class Puts:
    """Of a client: those whose number is among `lost` take effect, and nobody hears of them; `refused` ones do nothing."""

    def __init__(self, client: AmbryClient, lost: set[int], refused: set[int]) -> None:
        self._put, self._lost, self._refused = client.put, lost, refused
        self.count = 0
        self.files: list[tuple[str, bytes]] = []
        """Blobs that a name pointed to, each as often as one was made to."""

    def __call__(self, data: bytes, **named: Any) -> BlobInfo:
        self.count += 1
        if self.count in self._refused:
            raise Unavailable("no frontend answers")
        made = self._put(data, **named)
        if str(made.id) not in dict(self.files):
            self.files.append((str(made.id), data))
        if self.count in self._lost:
            raise Unavailable("the answer was lost; a change may or may not have happened")
        return made


@pytest.mark.parametrize("lost", [{1}, {1, 2}, {2}, {1, 3}])
@pytest.mark.parametrize("refused", [set[int](), {1}, {2}, {3}])
def test_lines_whose_put_was_not_heard_of_count_once(
    client: AmbryClient, monkeypatch: pytest.MonkeyPatch, lost: set[int], refused: set[int]
) -> None:
    """They were put again with those that came since, under the same name, in another blob, and counted twice."""
    puts, log = Puts(client, lost, refused), LineLog(client, folder(client))
    monkeypatch.setattr(client, "put", puts)
    taken = 0
    for _ in range(3):
        log.take(ACTION)
        taken += 1
        try:
            log.flush()
        except Unavailable:
            continue
    for _ in range(5):
        try:
            log.close()
        except Unavailable:
            continue
    counted = over_files(puts.files)
    assert sum(times for days in counted.values() for actions in days.values() for times in actions.values()) == taken
    assert len(puts.files) == len({info.name for info in client.list("actions/")})
    assert log.dropped == 0


def test_what_is_not_known_to_be_stored_is_dropped_first(client: AmbryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_log, "KEPT_MAX", 3)
    monkeypatch.setattr(client, "put", Puts(client, set(), {1, 2}))
    log = LineLog(client, folder(client))
    for _ in range(2):
        log.take(ACTION)
    with pytest.raises(Unavailable):
        log.flush()
    log.take(ACTION)
    with pytest.raises(Unavailable):
        log.flush()
    assert log.dropped == 0
    log.take(ACTION)
    assert log.dropped == 2
    log.close()
    [stored] = client.list("actions/")
    assert client.get_bytes(stored.ref).count(b"Click") == 2
