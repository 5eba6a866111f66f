"""A frontend has the keys that its configuration says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ambry.config import convert
from ambry.errors import ConfigInvalid, KeysUnavailable
from frontend.config import EncryptionSection, FrontendConfig, check
from frontend.containers.resolver import Containers
from frontend.containers.sync import ContainerSync
from frontend.encryption.keyring import Keyring
from frontend.encryption.opening import keyring_of
from frontend.metadata.store import MetadataStore
from tests.support.fake_clock import SettableClock
from tests.support.http_frontend import ACCOUNTS
from tests.support.metadata_stores import opened, sqlite_store

DATA, ABOUT = b"d" * 32, b"blob"


def keyring(store: MetadataStore, environment: dict[str, str] | None = None, **section: Any) -> Keyring:
    clock = SettableClock()
    containers = Containers(ACCOUNTS)
    ContainerSync(containers, store, clock=clock)
    made = keyring_of(
        EncryptionSection(**section), store, containers, cluster="test", clock=clock, environment=environment or {}
    )
    assert made is not None
    return made


def key_file(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return str(path)


async def test_one_moves_from_one_provider_to_another(tmp_path: Path) -> None:
    path = key_file(tmp_path / "keys", "1 " + "11" * 32)
    container = Containers(ACCOUNTS).default
    async with opened(sqlite_store(tmp_path / "meta.sqlite")) as store:
        before = keyring(store, provider="file", path=path)
        wrapped = (await before.current_soon(container)).wrap(DATA, ABOUT)
        variable = {"AMBRY_MASTER_KEYS": "7 " + "77" * 32}
        alone = keyring(store, dict(variable), provider="environment")
        with pytest.raises(KeysUnavailable, match="wrapped by the provider file, and this frontend asks environment"):
            await alone.current_soon(container)
        both = keyring(store, dict(variable), provider="environment", also=("file",), path=path)
        assert (await both.current_soon(container)).unwrap(wrapped, ABOUT) == DATA
        assert both.progress() == {"provider": "environment", "away": None, "open": 1, "opening": 0}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
async def test_a_secret_that_others_may_use_keeps_a_frontend_from_starting(tmp_path: Path, mode: int) -> None:
    """It started, was ready, and answered 503 to the first request of a container that is encrypted."""
    path = Path(key_file(tmp_path / "keys", "1 " + "11" * 32))
    path.chmod(mode)
    async with opened(sqlite_store(tmp_path / "meta.sqlite")) as store:
        with pytest.raises(ConfigInvalid, match=r"encryption\.path: others than its owner may use .*; run `chmod 600"):
            keyring(store, provider="file", path=str(path))
        vault: dict[str, Any] = {"url": "https://vault.test", "key": "k", "token_file": str(path)}
        with pytest.raises(ConfigInvalid, match=r"encryption\.token_file: others"):
            keyring(store, provider="vault", **vault)
        path.unlink()
        keyring(store, provider="vault", **vault)
        assert keyring(store, provider="file", path=str(path)).progress()["away"] is None, "it may come yet"


async def test_a_command_keeps_keys(tmp_path: Path) -> None:
    async with opened(sqlite_store(tmp_path / "meta.sqlite")) as store:
        made = keyring(store, provider="command", command=(sys.executable, "-c", 'print(\'{"version": "9"}\')'))
        await made.check()
        with pytest.raises(KeysUnavailable, match="without wrapped in base64"):
            await made.current_soon(Containers(ACCOUNTS).default)


async def test_nobody_keeps_keys_where_none_is_named(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path / "meta.sqlite")
    assert keyring_of(EncryptionSection(), store, Containers(ACCOUNTS), cluster="c", clock=SettableClock()) is None


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ({"provider": "file"}, "encryption.path must be set for the provider file"),
        ({"provider": "command"}, "encryption.command must be set"),
        ({"provider": "vault", "url": "https://v:8200"}, "encryption.key must be set"),
        ({"also": ["file"]}, "names what else opens keys"),
        ({"provider": "environment", "also": ["file"]}, "encryption.path must be set for the provider file"),
        ({"cache_s": 1}, "encryption.cache_s must lie between 10 and"),
        ({"timeout_ms": 1}, "encryption.timeout_ms must lie between"),
        ({"namespace": "a\r\nb"}, "encryption.namespace stands in a header"),
    ],
)
def test_what_cannot_work_is_refused(section: dict[str, Any], why: str) -> None:
    frontend = {"name": "f", "datacenter": "dc1", "layout": __file__}
    config = convert(FrontendConfig, {"frontend": frontend, "encryption": section}, source="test")
    with pytest.raises(ConfigInvalid, match=why):
        check(config)


async def test_keys_cross_no_network_in_the_open() -> None:
    section = EncryptionSection(provider="vault", url="http://vault.example.org", key="k", token_file="t")
    with pytest.raises(ConfigInvalid, match="must be https"):
        keyring_of(section, sqlite_store(Path("none")), Containers(ACCOUNTS), cluster="c", clock=SettableClock())
