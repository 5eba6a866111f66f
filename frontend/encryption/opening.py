"""The keys of a frontend, by its configuration."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import assert_never

from ambry.clock import Clock, system_secret
from frontend.config import EncryptionSection, Provider
from frontend.containers.resolver import Containers
from frontend.encryption import provider
from frontend.encryption.command import CommandKeys
from frontend.encryption.held import key_file, key_variable
from frontend.encryption.keyring import Keyring
from frontend.encryption.master import MasterKeys
from frontend.encryption.secret_files import SecretFile
from frontend.encryption.transit import TransitKeys
from frontend.metadata.store import MetadataStore


def keyring_of(
    section: EncryptionSection,
    store: MetadataStore,
    containers: Containers,
    *,
    cluster: str,
    clock: Clock,
    environment: MutableMapping[str, str] = os.environ,
) -> Keyring | None:
    """None where nobody keeps master keys. Nobody is asked yet. Raises ConfigInvalid."""
    masters = [
        MasterKeys(
            _provider(name, section, environment),
            clock=clock,
            timeout_s=section.timeout_ms / 1000,
            retry_s=section.retry_s,
        )
        for name in section.providers
    ]
    if not masters:
        return None
    return Keyring(
        store,
        containers,
        masters,
        cluster=cluster,
        clock=clock,
        chance=system_secret,
        cache_s=section.cache_s,
    )


def _provider(name: Provider, section: EncryptionSection, environment: MutableMapping[str, str]) -> provider.Provider:
    match name:
        case "file":
            SecretFile(section.path).check_at_start("encryption.path")
            return key_file(section.path, chance=system_secret)
        case "environment":
            return key_variable(section.variable, environment, chance=system_secret)
        case "command":
            return CommandKeys(section.command)
        case "vault":
            if section.token_file:
                SecretFile(section.token_file).check_at_start("encryption.token_file")
            return TransitKeys(
                section.url,
                mount=section.mount,
                key=section.key,
                token_file=section.token_file,
                authority_file=section.authority,
                namespace=section.namespace,
            )
    assert_never(name)
