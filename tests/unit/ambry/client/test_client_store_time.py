"""What is old enough to go, and how long something lives, is said by the store's clock, whatever this machine's says."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from ambry import AmbryClient
from ambry.cli.main import cli
from ambry.client.copying import copy_blob
from ambry.client.refs import NameRef
from ambry.clock import SystemClock
from ambry.fs.filesystem import AmbryFileSystem
from ambry.rest.access import key_text
from tests.support.access import access_with, fresh_key
from tests.support.named_frontend import LosingLink, named_frontend
from tests.support.wrong_clocks import DAYS, set_wrong


@pytest.mark.parametrize("days", DAYS)
def test_it_is_the_time_of_what_is_stored_there(
    client: AmbryClient, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    set_wrong(monkeypatch, days)
    before = client.put(b"before").created
    now = client.store_time()
    after = client.put(b"after").created
    assert before is not None and after is not None
    # A blob is of a whole second.
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


def test_the_time_needs_no_key_where_what_is_read_needs_none(tmp_path: Path) -> None:
    """It was asked of `/usage`: copies of what lives for a week, appends and `find --newer` of a public container ended so."""
    root = fresh_key()
    week = 7 * 86_400
    with named_frontend(tmp_path / "m", access=access_with(root, SystemClock())) as url:
        with AmbryClient(url, key=key_text(root)) as owner:
            owner.create_account("pub")
            owner.create_container("pub", "open", is_private=False)
            made = owner.put(b"for a week", name=NameRef("a", "pub", "open"), ttl=week)
            with AmbryClient(url) as anybody:
                times = {anybody.store_time() for _ in range(20)}
                assert len(times) > 1 and max(times) - min(times) < timedelta(minutes=1)  # Milliseconds.
                copied = copy_blob(anybody, owner, made.id, NameRef("copy", "default", "default"))
                assert copied.expires is not None
                assert abs(copied.expires - anybody.store_time() - timedelta(seconds=week)) < timedelta(minutes=1)
        env = {"AMBRY_ENDPOINTS": url, "AMBRY_ACCOUNT": "pub", "AMBRY_CONTAINER": "open", "AMBRY_KEY": ""}
        found = CliRunner().invoke(cli, ["find", "--newer", "1d"], prog_name="ambry", env=env)
        assert found.exit_code == 0 and found.stdout == "a\n", found.output


@pytest.mark.parametrize("days", (8, -8))
def test_a_proxy_that_writes_the_date_shortens_the_life_of_no_copy(
    url: str, client: AmbryClient, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """nginx does unless it is told not to. By one 8 days ahead a copy lived for a second, and `ambry mv` lost the blob."""

    def dated(data: bytes) -> bytes:
        head, end, body = data.partition(b"\r\n\r\n")
        line, _, told = head.partition(b"\r\nDate: ")
        when, _, more = told.partition(b"\r\n")
        if not when:
            return data
        wrong = format_datetime(parsedate_to_datetime(when.decode()) + timedelta(days=days), usegmt=True)
        return line + f"\r\nDate: {wrong}\r\n".encode() + more + end + body

    week = 7 * 86_400
    made = client.put(b"for a week", name=f"proxied{days}", ttl=week)
    with LosingLink(url) as link, AmbryClient(link.url) as proxied:
        link.alter = dated
        now = client.store_time()
        assert made.expires is not None
        assert abs(proxied.store_time() - now) < timedelta(minutes=1)
        for info in (
            proxied.head(made.id),
            proxied.head(f"proxied{days}"),
            proxied.put(b"small"),
            proxied.put(bytes(9 << 20)),
        ):
            assert info.answered is not None and abs(info.answered - now) < timedelta(minutes=1)
        copied = copy_blob(proxied, proxied, made.id, NameRef(f"proxied-copy{days}", "default", "default"))
        assert copied.expires is not None and abs(copied.expires - made.expires) < timedelta(minutes=1)
        client.create_container("default", f"moved{days}")
        monkeypatch.setenv("AMBRY_ENDPOINTS", link.url)
        place = f"ambry://default/default/proxied{days}", f"ambry://default/moved{days}/a"
        moved = CliRunner().invoke(cli, ["mv", *place], prog_name="ambry")
        assert moved.exit_code == 0, moved.output
    kept = client.head(NameRef("a", "default", f"moved{days}"))
    assert kept.expires is not None and abs(kept.expires - made.expires) < timedelta(minutes=1)


def test_a_copy_asks_for_no_time(url: str, client: AmbryClient) -> None:
    """Each asked all partitions what they hold: 50 copies took 2.1 s in place of 0.9 s."""
    made = client.put(b"for a week", name="asked-once", ttl=7 * 86_400)
    with LosingLink(url) as link, AmbryClient(link.url) as reading:
        copy_blob(reading, client, made.id, NameRef("asked-copy", "default", "default"))
        assert [line.split()[0] for line in link.seen] == ["HEAD", "GET"]
