"""`ambry key` and `ambry sign`, and the clients beneath them, against a frontend that asks for keys."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import click
import pytest
from click.testing import CliRunner, Result

from ambry import (
    AccessDenied,
    AlreadyExists,
    AmbryClient,
    AsyncAmbryClient,
    Grant,
    InvalidRequest,
    KeyLimits,
    KeyNotFound,
    TransferConfig,
    Unauthenticated,
)
from ambry.cli.grants import GrantType
from ambry.cli.main import cli
from ambry.clock import SystemClock
from ambry.rest.access import key_text
from tests.support.access import access_with, fresh_key
from tests.support.named_frontend import named_frontend
from tests.support.wrong_clocks import DAYS, set_wrong


class Shell:
    """Commands for one frontend, with the administrator's key or another."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key

    def __call__(self, *arguments: str, key: str | None = None) -> Result:
        env = {"AMBRY_ENDPOINTS": self.url, "AMBRY_KEY": key or self.key}
        return CliRunner().invoke(cli, arguments, prog_name="ambry", env=env)

    def client(self, key: str | None = None) -> AmbryClient:
        return AmbryClient(self.url, key=key or self.key)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    root = fresh_key()
    with named_frontend(tmp_path / "m", access=access_with(root, SystemClock())) as url:
        yield Shell(url, key_text(root))


def test_a_key_is_made_shown_once_changed_rotated_and_revoked(shell: Shell, tmp_path: Path) -> None:
    made = shell("key", "create", "job", "--grant", "read,write@default/default", "--expires", "30d", "--json")
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    text, id = told["key"], told["id"]
    assert told["may"] == ["read,write@default/default"] and told["expires"] != "never"
    with shell.client(text) as client:
        blob = client.put(b"hello").id
        assert client.get(blob).read() == b"hello"
        with pytest.raises(AccessDenied):
            client.delete(blob)
    for command in (("key", "ls"), ("key", "show", id), ("key", "ls", "--json")):
        shown = shell(*command)
        assert id in shown.output and text not in shown.output
    own = shell("key", "show", key=text)
    assert "job" in own.output
    changed = shell("key", "change", id, "--grant", "all@default", "--requests", "50", "--expires", "never")
    assert changed.exit_code == 0 and "all@default/*" in changed.output and "50" in changed.output
    out = tmp_path / "new.key"
    rotated = shell("key", "rotate", id, "--out", str(out))
    assert rotated.exit_code == 0 and out.stat().st_mode & 0o777 == 0o600
    new = out.read_text().strip()
    assert new != text and new not in rotated.output
    refused = shell("key", "show", key=text)
    assert refused.exit_code != 0 and text not in refused.output
    assert shell("key", "show", key=new).exit_code == 0
    assert shell("key", "revoke", id).exit_code == 0
    assert shell("key", "show", key=new).exit_code != 0


def test_a_grant_of_a_prefix_that_may_be_meant_otherwise_is_told(shell: Shell) -> None:
    """`runs` opened `runs-secret` too, and `runs/*` nothing, and neither was said."""
    for place, told in (("ml/m/runs", "'runs-other' too; 'runs/' is"), ("ml/m/runs/*", "the * stands for itself")):
        made = shell("key", "create", "job", "--grant", f"read@{place}", "--json")
        assert made.exit_code == 0 and told in made.stderr
        changed = shell("key", "change", json.loads(made.stdout)["id"], "--grant", f"read@{place}")
        assert changed.exit_code == 0 and told in changed.stderr
    for place in ("ml/m/runs/", "ml/m", "*"):
        assert "begin" not in shell("key", "create", "job", "--grant", f"read@{place}", "--json").stderr


def test_a_key_for_some_names_lets_their_blobs_live_longer(shell: Shell) -> None:
    """The command looked the name up and asked by the blob's id, which such a key may not (403)."""
    made = shell("key", "create", "runs", "--grant", "read,write,name@default/default/runs/", "--json")
    text = json.loads(made.stdout)["key"]
    with shell.client(text) as client:
        client.put(b"x", name="runs/a b", ttl=60)
    with shell.client() as client:
        client.put(b"x", name="others", ttl=60)
    longer = shell("ttl", "runs/a b", "1h", "--json", key=text)
    assert longer.exit_code == 0, longer.output
    with shell.client() as client:
        told = client.head("runs/a b")
        assert told.expires and told.created and told.expires - told.created > timedelta(minutes=50)
    refused = shell("ttl", "others", "1h", key=text)
    assert refused.exit_code == 7, refused.output


def test_a_file_that_is_there_is_not_written_over_and_no_key_is_made_for_it(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "file"
    out.write_text("mine")
    refused = shell("key", "create", "x", "--grant", "all", "--out", str(out))
    assert refused.exit_code == 1 and "no key was made" in refused.output and out.read_text() == "mine"
    assert '"x"' not in shell("key", "ls", "--json").output
    failed = shell(
        "key",
        "create",
        "x",
        "--grant",
        "all",
        "--expires",
        "30d",
        "--out",
        str(tmp_path / "other"),
        key=key_text(fresh_key()),
    )
    assert failed.exit_code != 0 and not (tmp_path / "other").exists()


@pytest.mark.parametrize("grant", ["", "owner", "read@", "@ml", "read,owner@ml"])
def test_a_grant_that_says_nothing_is_refused_before_anything_is_asked(grant: str) -> None:
    told = CliRunner().invoke(
        cli, ["key", "create", "x", "--grant", grant], env={"AMBRY_ENDPOINTS": "http://127.0.0.1:1"}
    )
    assert told.exit_code == 2 if grant != "read@" else told.exit_code != 0


def test_an_administrator_for_a_configuration_is_made_without_asking_anybody(tmp_path: Path) -> None:
    out = tmp_path / "admin.key"
    told = CliRunner().invoke(cli, ["key", "new", "ops", "--out", str(out)])
    line = told.stdout.strip()
    from frontend.access.verified import Access

    access = Access(clock=SystemClock(), root_keys=[line])
    assert access.of(f"Bearer {out.read_text().strip()}").name == "ops"


@pytest.mark.parametrize("name", ['x"]\nenabled = false', 'x"y', "x'y", "x\\y", "x\x1b[2J", "", " x", "x" * 129])
def test_an_administrator_whose_name_would_say_more_in_a_configuration_is_not_made(tmp_path: Path, name: str) -> None:
    """The line to copy had two lines, the second of which asked for no keys at all."""
    out = tmp_path / "admin.key"
    told = CliRunner().invoke(cli, ["key", "new", name, "--out", str(out)])
    assert (told.exit_code, told.stdout, out.exists()) == (2, "", False)
    assert "printable ASCII" in told.stderr


def test_a_limit_that_is_not_said_stays(shell: Shell) -> None:
    """`--bytes` alone took the bound of the requests off."""
    made = shell(
        "key", "create", "x", "--grant", "all", "--requests", "5", "--bytes", "10MiB", "--burst", "2", "--json"
    )
    id = json.loads(made.stdout)["id"]

    def limits(*said: str) -> tuple[object, ...]:
        changed = shell("key", "change", id, *said, "--json")
        assert changed.exit_code == 0, changed.output
        told = json.loads(changed.stdout)
        return told["requests_per_s"], told["bytes_per_s"], told["burst_s"]

    assert limits("--bytes", "1K") == (5, 1024, 2)
    assert limits("--requests", "none") == (None, 1024, 2)
    assert limits("--name", "y") == (None, 1024, 2)
    assert limits("--burst", "none", "--bytes", "none", "--requests", "0.5") == (0.5, None, None)
    for wrong in (("--requests", "0"), ("--bytes", "many"), ("--burst", "-1"), ("--requests", "inf")):
        assert shell("key", "change", id, *wrong).exit_code == 2


def test_lists_show_what_keys_may_ask_for_and_a_second_key_of_a_name_is_told(shell: Shell) -> None:
    first = shell("key", "create", "twin", "--grant", "read@default", "--bytes", "100MB", "--json")
    id = json.loads(first.stdout)["id"]
    assert "twin" not in first.stderr
    second = shell("key", "create", "twin", "--grant", "read@default", "--json")
    assert f"{id} has the name 'twin' too" in second.stderr
    renamed = shell("key", "create", "other", "--grant", "read@default", "--json")
    changed = shell("key", "change", json.loads(renamed.stdout)["id"], "--name", "twin")
    assert id in changed.stderr and json.loads(second.stdout)["id"] in changed.stderr
    listed = shell("key", "ls")
    assert listed.stdout.splitlines()[0].split()[-2:] == ["REQUESTS/S", "BYTES/S"]
    assert next(line for line in listed.stdout.splitlines() if id in line).split()[-2:] == ["-", str(100 << 20)]
    shown = shell("key", "show", id)
    assert next(line for line in shown.stdout.splitlines() if line.startswith("may")).split() == [
        "may",
        "read@default/*",
    ]
    by_name = shell("key", "change", "twin", "--requests", "1")
    assert by_name.exit_code == 2 and "ambry key ls" in by_name.stderr


def test_what_was_said_of_privacy_can_be_unsaid(shell: Shell) -> None:
    """--private was another thing than what stood there before --no-private."""
    shell.client().create_container("default", "c")

    def told(*said: str) -> object:
        changed = shell("container", "set", "default/c", *said, "--json")
        assert changed.exit_code == 0, changed.output
        with shell.client() as client:
            return client.container("default", "c").settings.is_private

    assert [told(said) for said in ("--no-private", "--private", "--unsay-private")] == [False, True, None]
    assert shell("container", "set", "default/c", "--private", "--unsay-private").exit_code == 2


def test_a_key_expires_on_a_day_that_is_said(shell: Shell) -> None:
    day = f"{datetime.now(UTC).year + 1}-01-31"
    for said, expires in ((day, f"{day}T00:00+00:00"), (f"{day}T12:00:00+01:00", f"{day}T11:00+00:00")):
        made = shell("key", "create", "x", "--grant", "read", "--expires", said, "--json")
        assert json.loads(made.stdout)["expires"] == expires
    changed = shell("key", "change", json.loads(made.stdout)["id"], "--expires", day, "--json")
    assert json.loads(changed.stdout)["expires"] == f"{day}T00:00+00:00"
    assert shell("key", "create", "x", "--grant", "read", "--expires", "2027-13-01").exit_code == 2


@pytest.mark.parametrize("roles", ["write,name", "read,write,name,delete"])
def test_a_key_for_some_names_puts_large_files_there(shell: Shell, tmp_path: Path, roles: str) -> None:
    """It was 403: an upload in parts took `write` in the whole container, and its end a look at the blob by its id."""
    shell.client().create_container("default", "c")
    told = shell("key", "create", "x", "--grant", f"{roles}@default/c/x/", "--json")
    key = json.loads(told.stdout)["key"]
    file = tmp_path / "large"
    file.write_bytes(bytes(range(256)) * 4096 * 3)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "one").write_bytes(file.read_bytes())
    transfer = TransferConfig(threshold=1 << 20, part_size=1 << 20)
    with shell.client(key) as client:
        made = client.put_file(file, name="ambry://default/c/x/large", transfer=transfer, content_type="a/b")
        assert (made.size, made.name, made.account, made.container) == (3 << 20, "x/large", "default", "c")
        assert made.content_type == "a/b"
        with client.start_upload(name="ambry://default/c/x/slow") as upload:
            upload.write_part(1, b"part")
            again = client.resume_upload(upload.id)
            assert [each.part for each in again.parts()] == [1]
            assert upload.complete().name == "x/slow"
        upload = client.start_upload(name="ambry://default/c/x/later", content_type="a/b")
        upload.write_part(1, b"part")
        later = type(upload).resume(client, json.loads(json.dumps(upload.state()))).complete()
        assert (later.name, later.content_type) == ("x/later", "a/b")
        with shell.client() as root:
            [used] = [each for each in root.usage().keys if each.name == "x"]
            assert used.refused == 0, "each upload asked for its blob, which is refused to who writes alone"
        with pytest.raises(AccessDenied):
            client.put_file(file, name="ambry://default/c/y", transfer=transfer)
        with pytest.raises(AlreadyExists):
            client.put_file(file, name="ambry://default/c/x/large", if_absent=True, transfer=transfer)
        with pytest.raises(AccessDenied):
            client.put_file(file, transfer=transfer)
    put = shell("put", str(file), "--name", "ambry://default/c/x/cli", "--part-size", "1M", key=key)
    assert put.exit_code == 0, put.output
    copied = shell("cp", str(file), "ambry://default/c/x/copied", key=key)
    assert copied.exit_code == 0, copied.output
    if "read" in roles:
        for _ in range(2):
            synced = shell("sync", str(tmp_path / "tree"), "ambry://default/c/x/tree", key=key)
            assert synced.exit_code == 0, synced.output
            verified = shell("verify", str(tmp_path / "tree"), "ambry://default/c/x/tree", key=key)
            assert verified.exit_code == 0, verified.output
    with shell.client() as root:
        for name in ("large", "cli", "copied"):
            assert root.get(f"ambry://default/c/x/{name}").read() == file.read_bytes()
    writer = json.loads(shell("key", "create", "w", "--grant", "write@default/default", "--json").stdout)["key"]
    with shell.client(writer) as client:
        assert client.put_file(file, transfer=transfer).size == 3 << 20, "without a name, and without read"


def test_the_page_on_keys_runs_as_it_stands(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing told how to make a key with the command."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[4] / "docs" / "keys.md").read_text()
    id, ran = "", 0
    for line in page.partition("## Day to day")[2].splitlines():
        if line.startswith("    ambry "):
            done = shell(*line.replace(" ID", f" {id}").split()[1:])
            assert done.exit_code == 0, (line, done.output)
            if not id and "key create trainer" in line:
                with shell.client() as client:
                    [id] = [each.id for each in client.keys.list() if each.name == "trainer"]
            ran += 1
    assert ran >= 12
    with shell.client() as client:
        assert id not in [each.id for each in client.keys.list()]


def test_a_key_that_cannot_be_revoked_keeps_none_of_the_others(shell: Shell) -> None:
    """The first that was not known ended the command, and those behind it went on opening."""
    ids = [json.loads(shell("key", "create", "x", "--grant", "read", "--json").stdout)["id"] for _ in range(2)]
    told = shell("key", "revoke", ids[0], "a" * 16, "typo", ids[1])
    assert told.exit_code == 3 and "a" * 16 in told.output and "typo" in told.output
    assert all(f"{id} is revoked" in told.output for id in ids)
    assert not any(id in shell("key", "ls").output for id in ids)


def test_a_key_with_delete_alone_deletes_by_name_and_by_id(shell: Shell) -> None:
    """`ambry rm NAME` looked at the name first, which takes `read`."""
    with shell.client() as client:
        named = client.put(b"a", name="ambry://default/default/x")
        blob = client.put(b"b").id
    key = json.loads(shell("key", "create", "d", "--grant", "delete", "--json").stdout)["key"]
    for ref in ("ambry://default/default/x", str(blob)):
        told = shell("rm", ref, key=key)
        assert told.exit_code == 0, told.output
    with shell.client() as client:
        assert not client.exists(named.id) and not client.exists(blob)


def test_a_grant_of_a_place_that_is_not_there_is_told(shell: Shell) -> None:
    """A mistyped account or container was found out when the job was refused."""
    there = shell("key", "create", "k", "--grant", "read@default/default", "--grant", "read@default", "--grant", "all")
    assert there.exit_code == 0 and "there is no" not in there.stderr
    id = json.loads(shell("key", "create", "k", "--grant", "read", "--json").stdout)["id"]
    for command in (("create", "k"), ("change", id)):
        told = shell("key", *command, "--grant", "read@default/modles", "--grant", "read@acmee", "--json")
        assert told.exit_code == 0 and json.loads(told.stdout)["id"]
        assert (
            "there is no container default/modles yet" in told.stderr and "there is no account acmee yet" in told.stderr
        )


def test_who_has_no_key_or_none_that_may_is_told_by_the_exit_code(shell: Shell) -> None:
    """It was 1, as whatever else fails."""
    writes = json.loads(shell("key", "create", "w", "--grant", "write", "--json").stdout)["key"]
    with shell.client() as client:
        blob = str(client.put(b"a").id)
    for told in (shell("stat", blob, key=writes), shell("stat", blob, key="ambry_aaaaaaaaaaaaaaaa_" + "a" * 43)):
        assert told.exit_code == 7, told.output
    assert "does not have read" in shell("stat", blob, key=writes).stderr


def test_who_makes_a_container_public_is_told_so(shell: Shell) -> None:
    told = shell("container", "create", "open", "--no-private")
    assert told.exit_code == 0 and "without a key" in told.stderr
    assert "without a key" in shell("container", "set", "open", "--no-private").stderr
    assert "without a key" not in shell("container", "set", "open", "--private").stderr


def test_usage_is_of_the_account_and_container_that_are_named(shell: Shell) -> None:
    """`--account nope` showed everything."""
    assert shell("container", "create", "one").exit_code == 0
    assert shell("usage", "--container", "one").stdout.count("default/") == 1
    assert shell("usage", "--account", "nope").exit_code == 3
    assert shell("usage", "--container", "nope").exit_code == 3
    assert shell("usage", "--keys", "--account", "default").exit_code == 2


@pytest.mark.parametrize("days", DAYS)
def test_a_key_expires_by_the_time_of_the_store(shell: Shell, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """With a clock days behind it opened nothing from the beginning, and with one ahead for so much longer."""
    set_wrong(monkeypatch, days)
    with shell.client() as client:
        made = client.keys.create("for an hour", Grant(roles=("read",)), expires=3_600)
        changed = client.keys.change(made.info.id, expires=timedelta(hours=2))
    for info, seconds in ((made.info, 3_600), (changed, 7_200)):
        assert info.expires is not None and abs(info.expires.timestamp() - time.time() - seconds) < 600


def test_the_client_administers_keys(shell: Shell) -> None:
    with shell.client() as client:
        grant = Grant(roles=("read",), account="ml")
        made = client.keys.create("one", grant, expires=timedelta(days=1), limits=KeyLimits(requests_per_s=5))
        assert "secret" in repr(made.text) and str(made.text) not in repr(made)
        assert made.info in client.keys.list() and client.keys.show(made.info.id) == made.info
        assert client.keys.change(made.info.id, bytes_per_s=7).limits == KeyLimits(requests_per_s=5, bytes_per_s=7)
        assert client.keys.change(made.info.id, bytes_per_s=None).limits == KeyLimits(requests_per_s=5)
        with pytest.raises(TypeError, match="no 'bytes' to change"):
            client.keys.change(made.info.id, bytes=7)  # type: ignore[call-arg]
        soon = client.keys.create("soon", grant, expires=3_600).info.expires
        assert soon is not None and abs(soon.timestamp() - time.time() - 3_600) < 600
        changed = client.keys.change(made.info.id, expires=None)
        assert changed.expires is None and changed.limits.requests_per_s == 5 and changed.grants == (grant,)
        assert client.keys.rotate(made.info.id, overlap=5).text != made.text
        client.keys.revoke(made.info.id)
        client.keys.revoke(made.info.id, missing_ok=True)
        with pytest.raises(KeyNotFound):
            client.keys.revoke(made.info.id)
        with pytest.raises(InvalidRequest, match="keep the rest of it to yourself") as refused:
            client.keys.show(str(made.text))
        assert str(made.text) not in str(refused.value)
    with shell.client(str(made.text)) as stranger, pytest.raises(Unauthenticated):
        stranger.keys.show()


async def test_the_awaiting_client_does_the_same(shell: Shell) -> None:
    async with AsyncAmbryClient(shell.url, key=shell.key) as client:
        made = await client.keys.create("one", Grant(roles=("read",)))
        assert made.info in await client.keys.list()
        await client.keys.revoke(made.info.id)
        url = await client.presign("PUT", max_size=5)
        assert url.startswith(shell.url)


def test_a_command_takes_no_key_as_an_argument(shell: Shell) -> None:
    assert shell("key", "ls", "--key", shell.key).exit_code == 2


def test_whoever_has_a_signed_url_makes_one_call_without_a_key(shell: Shell) -> None:
    with shell.client() as client:
        blob = client.put(b"hello").id
    told = shell("sign", "GET", str(blob), "--expires", "10m")
    assert told.exit_code == 0, told.output
    with urlopen(told.stdout.strip()) as answer:
        assert answer.read() == b"hello"
    upload = shell("sign", "PUT", "ambry://default/default/x/y", "--max-size", "5", "--if-absent").stdout.strip()
    with urlopen(Request(upload, data=b"12345", method="PUT", headers={"Content-Type": "application/octet-stream"})):
        pass
    with shell.client() as client:
        assert client.get("ambry://default/default/x/y").read() == b"12345"
    typed = shell("sign", "PUT", "ambry://default/default/x/typed", "--content-type", "image/png")
    assert typed.stderr == "ambry: curl -T FILE 'URL' uploads to it\n", (
        "and not the URL, which is a password, into a log"
    )
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(typed.stdout.strip(), data=b"1", method="PUT"))  # as curl --data-binary
    assert refused.value.code == 403 and b"curl -T FILE" in refused.value.read()
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(upload, data=b"123456", method="PUT"))
    assert refused.value.code in (400, 409, 413)
    with pytest.raises(HTTPError) as refused:
        urlopen(upload.replace("x/y", "x/z"))
    assert refused.value.code == 401
    assert shell("sign", "GET", str(blob), "--expires", "never").exit_code == 2


@pytest.mark.parametrize("place", ["@", "@/", "@/models", "@ml/", "@ml//x"])
def test_a_grant_whose_place_is_left_empty_gives_nothing_away(place: str) -> None:
    """A variable that was not set: `delete@$ACCOUNT` was a grant for the whole store."""
    with pytest.raises(click.BadParameter, match="write \\* for all of them"):
        GrantType().convert(f"delete{place}", None, None)


@pytest.mark.parametrize("place", ["", "@*", "@*/*", "@ml", "@ml/*", "@ml/models/x/"])
def test_a_grant_for_all_says_so(place: str) -> None:
    grant = GrantType().convert(f"delete{place}", None, None)
    assert (grant.account == "*") == (place in ("", "@*", "@*/*"))
