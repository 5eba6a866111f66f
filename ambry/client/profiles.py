"""Where the options of a client come from: arguments, the environment, and profiles in the user's configuration file.

    ~/.config/ambry/config.toml      or the file that AMBRY_CONFIG names

    endpoints = ["https://store:17100"]     top-level keys are the profile of whoever names none
    key_file = "store.key"                  relative to the file

    [profiles.local]                        AMBRY_PROFILE=local, --profile local; where there are no top-level keys and none
    endpoints = ["http://127.0.0.1:17100"]  is named, this one

A profile takes nothing from another one. Its key and its TLS go to its own endpoints alone, and to those in `trusted`, which
are not used by themselves: whoever names another endpoint does not send it what opens this cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from ambry.client.cache_plan import parse_size
from ambry.client.credentials import checked_key, read_key, refuse_shared
from ambry.client.endpoints import normal_endpoints
from ambry.client.given_options import FoundOptions
from ambry.client.model import (
    CacheConfig,
    ClientOptions,
    TLSConfig,
    Verify,
)
from ambry.client.proxies import Proxies
from ambry.client.sources import read_toml
from ambry.config import convert
from ambry.errors import ConfigInvalid, InvalidRequest
from ambry.home import expanded, home_of

LOCAL = "local"
"""The profile that `ambry cluster up` writes."""
PROFILES = "profiles"
_PLAIN = ("account", "container", "service_id", "verify")
_FILES = ("key_file", "ca", "cert", "cert_key", "cache_dir")
_CACHE = ("cache_max", "offline")


class Profile(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a profile, or the environment as AMBRY_..., may say. `directory` is that of a cluster on this machine."""

    endpoints: str | list[str] | None = None
    account: str | None = None
    container: str | None = None
    service_id: str | None = None
    verify: Verify | None = None
    key: str | None = None
    key_file: str | None = None
    ca: str | None = None
    cert: str | None = None
    cert_key: str | None = None
    trusted: list[str] | None = None
    directory: str | None = None
    cache_dir: str | None = None
    cache_max: int | str | None = None
    offline: bool | Literal["0", "1", "false", "true", "no", "yes"] | None = None

    def tls(self) -> TLSConfig | None:
        """Raises InvalidRequest."""
        if self.ca is self.cert is self.cert_key is None:
            return None
        return TLSConfig(ca=self.ca, cert=self.cert, key=self.cert_key)

    def cache(self, under: CacheConfig) -> CacheConfig:
        """What it says, over what is said without it. Raises InvalidRequest."""
        largest = parse_size(self.cache_max) if isinstance(self.cache_max, str) else self.cache_max
        return CacheConfig(
            directory=under.directory if self.cache_dir is None else self.cache_dir,
            max_bytes=under.max_bytes if largest is None else largest,
            offline=under.offline if self.offline is None else self.offline in (True, "1", "true", "yes"),
        )


def config_path(env: Mapping[str, str]) -> Path:
    """The user's configuration file, whether it is there or not."""
    if named := env.get("AMBRY_CONFIG"):
        return expanded(named)
    return Path(env.get("XDG_CONFIG_HOME") or home_of(env) / ".config") / "ambry" / "config.toml"


def find_options(env: Mapping[str, str], profile: str | None, given: ClientOptions) -> FoundOptions:
    """What a client has that is asked for with `given`: that, then AMBRY_*, then the profile. Raises ConfigInvalid."""
    said = _of_environment(env)
    chosen, name, path, there = _chosen(env, profile or env.get("AMBRY_PROFILE") or None)
    options = cast(ClientOptions, {key: value for key, value in given.items() if value is not None})
    for key in _PLAIN:
        value = getattr(said, key) if getattr(said, key) is not None else getattr(chosen, key)
        if value is not None:
            options.setdefault(key, value)  # type: ignore[misc]
    own = (*normal_endpoints(chosen.endpoints), *(normal_endpoints(chosen.trusted) if chosen.trusted else ()))
    endpoints = next(
        (each for each in (options.get("endpoints"), said.endpoints, chosen.endpoints) if each is not None), None
    )
    unchosen = ""
    if endpoints is not None:
        options["endpoints"] = endpoints
    elif not name and there:
        unchosen = f"{path} has {', '.join(there)}: --profile NAME, AMBRY_PROFILE or from_env(NAME) says which"
    trusted = set(normal_endpoints(endpoints)) <= set(own)
    tls = said.tls() or (chosen.tls() if trusted else None)
    if tls is not None:
        options.setdefault("tls", tls)
    proxies = Proxies.from_environment(env)
    if proxies.http or proxies.https:
        options.setdefault("proxies", proxies)
    cache = _cache_of(said, chosen)
    if cache != CacheConfig():
        options.setdefault("cache", cache)
    if "key" in options or "auth" in options:
        return FoundOptions(options=options, unchosen=unchosen)
    source = next((each for each in (said, chosen) if each.key is not None or each.key_file is not None), None)
    if source is chosen and not trusted:
        which = f"the profile {name}" if name else "the top level"
        return FoundOptions(
            options=options,
            withheld=f"the key of {which} of {path} goes to its own endpoints alone, {', '.join(own)}",
            unchosen=unchosen,
        )
    if source is not None and source.key is not None:
        options["key"] = _key_of(source.key, "AMBRY_KEY" if source is said else str(path))
    elif source is not None and source.key_file is not None:
        if source.directory is not None and not Path(source.directory).exists():
            raise ConfigInvalid(
                f"the profile {name} of {path} is of the cluster in {source.directory}, which is gone: `ambry cluster up` "
                "writes another one; remove it, or name another with AMBRY_PROFILE"
            )
        options["key"] = read_key(source.key_file)
    return FoundOptions(options=options, unchosen=unchosen)


def find_cache(env: Mapping[str, str], profile: str | None) -> CacheConfig:
    """How blobs are kept on this machine: what AMBRY_CACHE_... says, then the profile. Raises ConfigInvalid."""
    return _cache_of(_of_environment(env), _chosen(env, profile or env.get("AMBRY_PROFILE") or None)[0])


def _cache_of(said: Profile, chosen: Profile) -> CacheConfig:
    return said.cache(chosen.cache(CacheConfig()))


def _key_of(text: str, source: str) -> str:
    try:
        return checked_key(text)
    except InvalidRequest as cause:
        raise ConfigInvalid(f"{source}: {cause.message}") from None


def _of_environment(env: Mapping[str, str]) -> Profile:
    names = ("endpoints", *_PLAIN, "key", *_FILES, *_CACHE)
    said = {name: env[f"AMBRY_{name.upper()}"] for name in names if env.get(f"AMBRY_{name.upper()}")}
    return _profile(said, "the environment (AMBRY_...)", None)


def _chosen(env: Mapping[str, str], wanted: str | None) -> tuple[Profile, str, Path, list[str]]:
    """The profile, its name (empty: the top level, or none at all), the file, and the names of all that it has."""
    path = config_path(env)
    tree = read_toml(path)
    if env.get("AMBRY_CONFIG") and not path.exists():
        raise ConfigInvalid(f"AMBRY_CONFIG names {path}, and there is no such file")
    try:
        profiles = msgspec.convert(tree.pop(PROFILES, {}), dict[str, dict[str, Any]])
    except msgspec.ValidationError:
        raise ConfigInvalid(f"{path}: profiles are tables, [{PROFILES}.NAME]") from None
    if isinstance(tree.get("profile"), dict):
        raise ConfigInvalid(f"{path}: a profile is a table [{PROFILES}.NAME], not [profile.NAME]")
    name = wanted or (LOCAL if not tree and LOCAL in profiles else "")
    if name and name not in profiles:
        there = f"it has {', '.join(sorted(profiles))}" if profiles else "it has none"
        raise ConfigInvalid(f"there is no profile {name!r} in {path}; {there}")
    source = f"{path}, [{PROFILES}.{name}]" if name else str(path)
    found = _profile(profiles[name] if name else tree, source, path.parent)
    if found.key is not None:
        refuse_shared(path, path.stat())
    return found, name, path, sorted(profiles)


def _profile(tree: dict[str, Any], source: str, base: Path | None) -> Profile:
    """Checked; the files that it names are absolute, or relative to `base` if that is given."""
    found = convert(Profile, tree, source=source)
    try:
        normal_endpoints(found.endpoints)
        normal_endpoints(found.trusted or None)
        found.tls()
        found.cache(CacheConfig())
    except InvalidRequest as cause:
        raise ConfigInvalid(f"{source}: {cause.message}") from cause
    named = {name: value for name in _FILES if (value := getattr(found, name))}
    placed = {name: str((base or Path()) / expanded(value)) for name, value in named.items()}
    return msgspec.structs.replace(found, **placed)
