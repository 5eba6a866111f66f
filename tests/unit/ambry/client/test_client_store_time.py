"""What is old enough to go, and how long something lives, is said by the store's clock, whatever this machine's says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ambry import AmbryClient
from ambry.client.copying import copy_blob
from ambry.client.refs import NameRef
from ambry.client.store_time import store_time
from ambry.fs.filesystem import AmbryFileSystem
from tests.support.named_frontend import named_frontend
from tests.support.wrong_clocks import DAYS, set_wrong


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with named_frontend(tmp_path_factory.mktemp("meta") / "meta.sqlite") as running:
        yield running


@pytest.fixture
def client(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AmbryClient]:
    monkeypatch.setenv("AMBRY_CACHE_DIR", str(tmp_path / "cache"))
    with AmbryClient([url]) as made:
        yield made


@pytest.mark.parametrize("days", DAYS)
def test_it_is_the_time_of_what_is_stored_there(
    client: AmbryClient, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    set_wrong(monkeypatch, days)
    before = client.put(b"before").created
    now = store_time(client)
    after = client.put(b"after").created
    assert before is not None and after is not None
    # An answer tells whole seconds.
    assert before <= now < after + timedelta(seconds=1)


@pytest.mark.parametrize("days", DAYS)
def test_a_copy_lives_as_long_as_what_it_is_of(client: AmbryClient, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """With a clock 400 days ahead it lived for a second, and with one behind for 400 days more."""
    set_wrong(monkeypatch, days)
    made = client.put(b"for a week", name=f"week{days}", ttl=7 * 86_400)
    copies = [copy_blob(client, client, made.id, NameRef(f"copy{days}", "default", "default"))]
    files = AmbryFileSystem(endpoints=client.endpoints)
    with files.open(f"ambry://default/default/week{days}", "ab") as file:
        file.write(b", and longer")
    copies.append(client.head(f"week{days}"))
    assert copies[1].size == 22
    for copied in copies:
        assert made.expires is not None and copied.expires is not None
        assert abs(copied.expires - made.expires) < timedelta(minutes=1)
