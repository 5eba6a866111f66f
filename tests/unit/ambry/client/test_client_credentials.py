"""Keys of the client: sent to its endpoints, and shown nowhere."""

from __future__ import annotations

import io
import os
import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest

from ambry import (
    AccessDenied,
    AmbryClient,
    AsyncAmbryClient,
    Auth,
    ConfigInvalid,
    InvalidRequest,
    KeyFile,
    TLSConfig,
    Unauthenticated,
)
from ambry.client.credentials import checked_key, read_key
from ambry.rest.access import KeyText, key_text
from tests.support.stub_frontend import StubFrontend
from tests.support.twins import Twins

SECRET = "s3cret" + "-" * 37
KEY = key_text(KeyText("a" * 16, SECRET))
OTHER = key_text(KeyText("b" * 16, "o" * 43))


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_every_request_carries_the_key(twins: Twins, stub: StubFrontend) -> None:
    client = twins.connect(stub.url, key=KEY)
    info = client.put(b"bytes")
    assert client.get_bytes(info.id) == b"bytes"
    client.delete(info.id)
    assert client.health().ok
    assert len(stub.requests) >= 4
    assert {each.headers.get("authorization") for each in stub.requests} == {f"Bearer {KEY}"}


class Vault(Auth):
    """Keys that come from elsewhere: another one for each request, until there is none."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)

    def key(self) -> str:
        if not self.keys:
            raise AccessDenied("the vault is sealed")
        return self.keys.pop(0)


def test_the_key_of_an_auth_is_asked_for_before_each_request(twins: Twins, stub: StubFrontend) -> None:
    client = twins.connect(stub.url, auth=Vault(KEY, OTHER, "nonsense"))
    info = client.put(b"bytes")
    assert client.get_bytes(info.id) == b"bytes"
    assert [each.headers["authorization"] for each in stub.requests] == [f"Bearer {KEY}", f"Bearer {OTHER}"]
    with pytest.raises(InvalidRequest, match="what was given as key is none"):
        client.head(info.id)
    with pytest.raises(AccessDenied, match="the vault is sealed"):
        client.head(info.id)
    assert len(stub.requests) == 2


def test_what_a_process_needs_to_do_the_same_is_told(tmp_path: Path) -> None:
    trusted = TLSConfig(ca=tmp_path / "authority.crt")
    url = "https://store.example:17100"
    with AmbryClient([url], key=KEY) as keyed, AmbryClient([url], auth=Vault(OTHER, KEY)) as asked:
        assert (keyed.current_key, asked.current_key, asked.current_key) == (KEY, OTHER, KEY)
        with pytest.raises(AccessDenied, match="the vault is sealed"):
            _ = asked.current_key
    with AmbryClient([url], tls=trusted) as open_to_all:
        assert (open_to_all.current_key, open_to_all.tls, keyed.tls) == ("", trusted, None)


def test_a_key_file_that_changes_is_read_again(twins: Twins, stub: StubFrontend, tmp_path: Path) -> None:
    path = written(tmp_path / "store.key", f"{KEY}\n")
    client = twins.connect(stub.url, auth=KeyFile(path))
    blob = client.put(b"bytes").id
    written(tmp_path / "new.key", f"{OTHER}\n").replace(path)
    assert client.get_bytes(blob) == b"bytes"
    written(path, "half of a k")  # Somebody is writing it.
    assert client.get_bytes(blob) == b"bytes"
    path.unlink()
    assert client.get_bytes(blob) == b"bytes"
    assert [each.headers["authorization"][-43:] for each in stub.requests] == [SECRET, *["o" * 43] * 3]


def test_a_key_file_is_one_from_the_beginning_and_travels_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot read"):
        KeyFile(tmp_path / "none.key")
    path = written(tmp_path / "store.key", f"{KEY}\n")
    assert repr(KeyFile(path)) == f"KeyFile('{path}')"
    pickled = pickle.dumps(AmbryClient("http://127.0.0.1:1", auth=KeyFile(path)))
    assert SECRET.encode() not in pickled
    assert pickle.loads(pickled)._auth.key() == KEY


def test_a_client_has_one_key() -> None:
    with pytest.raises(InvalidRequest, match="say one of them"):
        AmbryClient(key=KEY, auth=Vault(KEY))
    with pytest.raises(TypeError, match="auth is a KeyFile"):
        AmbryClient(auth=KEY)  # type: ignore[arg-type]


def test_without_a_key_no_request_speaks_of_one(twins: Twins, stub: StubFrontend) -> None:
    twins.connect(stub.url).put(b"bytes")
    assert "authorization" not in stub.requests[0].headers


def test_an_answer_that_leads_elsewhere_is_not_followed(twins: Twins, stub: StubFrontend, other: StubFrontend) -> None:
    stub.fail("GET", "status", status=307, code="", detail=other.url)
    with pytest.raises(Exception, match="307"):
        twins.connect(stub.url, key=KEY).get_bytes(stub.add(b"x"))
    assert other.requests == []


@pytest.mark.parametrize(
    ("status", "code", "cls"), [(401, "Unauthenticated", Unauthenticated), (403, "", AccessDenied)]
)
def test_a_refusal_is_not_repeated(
    twins: Twins, stub: StubFrontend, status: int, code: str, cls: type[Exception]
) -> None:
    stub.fail("GET", "status", status=status, code=code or "AccessDenied", detail="the key aaaa does not have read")
    with pytest.raises(cls, match="does not have read") as told:
        twins.connect(stub.url, key=KEY).get_bytes(stub.add(b"x"))
    assert isinstance(told.value, PermissionError) and len(stub.requests) == 1


def test_a_refused_head_says_what_is_wrong(twins: Twins, stub: StubFrontend) -> None:
    """Its answer has no body: no more was said than that there are no credentials, or that it was refused with 403."""
    for status, code, why in (
        (401, "Unauthenticated", "the key k has expired"),
        (403, "AccessDenied", "k has no read"),
    ):
        stub.fail("HEAD", "status", status=status, code=code, detail=why)
        with pytest.raises(PermissionError, match=why):
            twins.connect(stub.url, key=KEY).head(stub.add(b"x"))


@pytest.mark.parametrize("cls", [AmbryClient, AsyncAmbryClient])
def test_a_key_is_shown_by_nothing_and_travels_in_a_pickle(cls: type[AmbryClient]) -> None:
    client = cls("http://a:1", key=KEY)
    shown = [repr(client), repr(client._options), repr(client._common), repr(vars(client))]
    assert not any(SECRET in text for text in shown)
    assert pickle.loads(pickle.dumps(client))._common["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("given", ["", "ambry_", KEY[:-1], f"Bearer {KEY}", f"{KEY}\nx-evil: 1", KEY.upper()])
def test_what_is_no_key_is_refused_unseen(given: str) -> None:
    with pytest.raises(InvalidRequest) as told:
        AmbryClient(key=given)
    lines = "".join(traceback.format_exception(told.value))
    assert "cut off" in lines and SECRET not in lines
    with pytest.raises(TypeError, match="the text of a key"):
        AmbryClient(key=KEY.encode())  # type: ignore[arg-type]


def test_a_key_is_the_first_line_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "admin.key", f"  {KEY}  \n# whose\n")
    assert read_key(path) == KEY == read_key(str(path)) == checked_key(f"{KEY}\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{KEY}\nmore"))
    assert read_key("-") == KEY == read_key("-")  # As a command asks that makes several clients.


def test_a_key_may_come_through_a_pipe() -> None:
    """`--key-file <(vault read ...)`: /dev/fd/N is no file with a mode of its own."""
    reads, writes = os.pipe()
    os.write(writes, f"{KEY}\n".encode())
    os.close(writes)
    try:
        assert read_key(f"/dev/fd/{reads}") == KEY
    finally:
        os.close(reads)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602])
def test_a_key_that_others_may_read_or_change_is_not_used(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "admin.key", KEY, mode)
    with pytest.raises(ConfigInvalid, match=f"mode {mode:04o}.*chmod 600 {path}"):
        read_key(path)


@pytest.mark.parametrize("text", ["", "\n", "not a key", f"x {KEY}", "x" * 5000])
def test_a_file_without_a_key_is_named_and_not_quoted(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "admin.key", text)
    with pytest.raises(ConfigInvalid, match=str(path)) as told:
        read_key(path)
    assert SECRET not in "".join(traceback.format_exception(told.value))
    with pytest.raises(ConfigInvalid, match="No such file"):
        read_key(tmp_path / "none")


def test_a_traceback_with_variables_has_no_key(stub: StubFrontend) -> None:
    stub.fail("GET", "status", status=401, code="Unauthenticated", detail="no")
    with pytest.raises(Unauthenticated) as told:
        AmbryClient(stub.url, key=KEY).get_bytes(stub.add(b"x"))
    frames: list[Any] = [frame.f_locals for frame, _ in traceback.walk_tb(told.value.__traceback__)]
    ours = [{name: value for name, value in each.items() if name != "self"} for each in frames[1:]]
    assert SECRET not in repr(ours)
