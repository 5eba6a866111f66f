"""The options that a client is given, checked. Where else they come from is in `profiles`, loaded when one is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from ambry.client.credentials import Auth
from ambry.client.model import (
    CacheConfig,
    ClientOptions,
    RetryPolicy,
    Timeout,
    TLSConfig,
    TransferConfig,
    Verify,
    check_type,
)
from ambry.client.proxies import Proxies
from ambry.errors import InvalidRequest

_OF_FILE = ("AMBRY_CONFIG", "XDG_CONFIG_HOME", "HOME")
"""What says where the file with profiles is."""

TIMEOUT = "a Timeout(connect, read, total), in seconds"
TRANSFER = "a TransferConfig(chunk_size=...)"
_KINDS: dict[str, tuple[type, str, bool]] = {
    "timeout": (Timeout, TIMEOUT, False),
    "retry": (RetryPolicy, "a RetryPolicy(max_attempts=...)", False),
    "transfer": (TransferConfig, TRANSFER, False),
    "cache": (CacheConfig, "a CacheConfig(directory=...)", True),
    "auth": (Auth, "a KeyFile(path), or an Auth of your own", True),
    "tls": (TLSConfig, "a TLSConfig(ca=...)", True),
    "proxies": (Proxies, "Proxies(http=..., https=...)", True),
}
"""Of an option: what it is, in words too, and whether it may be None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundOptions:
    """What a client is made with; `withheld` says which key was not sent along, and why, `unchosen` which profiles there are
    where none was named and nothing else says whom to ask."""

    options: ClientOptions
    withheld: str = ""
    unchosen: str = ""


def options_of(env: Mapping[str, str], profile: str | None, given: ClientOptions) -> FoundOptions:
    """What a client has that is made with `given`, checked: that, then the profile where one is named, and no AMBRY_... .

    Raises ConfigInvalid, InvalidRequest, TypeError.
    """
    found = FoundOptions(options=given)
    if profile is not None:
        from ambry.client.profiles import find_options

        found = find_options({name: value for name, value in env.items() if name in _OF_FILE}, profile, given)
    options = found.options
    verify = options.get("verify")
    if verify is not None and verify not in get_args(Verify):
        raise InvalidRequest(f"verify is one of {', '.join(get_args(Verify))}, not {verify!r}")
    for name, (kind, wanted, optional) in _KINDS.items():
        if not optional or options.get(name) is not None:
            check_type(name, options.get(name), kind, wanted)
    if options.get("key") is not None and options.get("auth") is not None:
        raise InvalidRequest("key is the text of a key, and auth where it comes from: say one of them")
    return found
