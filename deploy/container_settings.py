"""What containers of a running cluster let happen, as its frontends tell: who reads them, how durable puts are, what fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ambry.client.accounts import AccountInfo, ContainerInfo
from ambry.client.model import TLSConfig
from ambry.client.sync.client import AmbryClient
from ambry.errors import AmbryError
from ambry.service import diagnosis as rules
from ambry.service.diagnosis import Finding


def ask(endpoints: Sequence[str], *, key: str | None, ca: Path | None) -> Iterator[Finding]:
    """Ask a frontend, and judge its answer; that it does not answer is a finding too."""
    try:
        with AmbryClient(endpoints=list(endpoints), key=key, tls=None if ca is None else TLSConfig(ca=ca)) as client:
            accounts = list(client.accounts())
    except AmbryError as error:
        yield rules.note(
            "containers-unasked", f"no frontend told of its containers: {error.message}", ", ".join(endpoints),
            "quotas, durability and public containers were not looked at", "start one, and ask again",
        )  # fmt: skip
        return
    for account in accounts:
        yield from judge(account)


def judge(account: AccountInfo) -> Iterator[Finding]:
    """By what it says of itself."""
    for container in account.containers:
        yield from _container(account, container)


def _container(account: AccountInfo, container: ContainerInfo) -> Iterator[Finding]:
    where, said = f"container {account.name}/{container.name}", container.settings
    if said.default_durability == "memory":
        yield rules.warning(
            "durability-memory", "puts are acknowledged before they are on a disk", where,
            "a power cut of two machines takes acknowledged blobs", "ambry container set --durability disk",
        )  # fmt: skip
    if said.is_private is False:
        yield rules.note(
            "public", "everybody reads it without a key", where, "that is what isPrivate: false says",
            "ambry container set, where it is not meant",
        )  # fmt: skip
    if "*" in said.access_control_allow_origin:
        yield rules.warning(
            "any-origin", "pages of every origin may use it (CORS)", where,
            "a page of a stranger that has a key acts with it", "list the origins that are ours",
        )  # fmt: skip
    of_account = account.settings
    if said.quota_bytes is None and of_account.quota_bytes is None:
        yield rules.note(
            "no-quota", "nothing bounds how much is put there", where, "one key with `write` fills every disk",
            "ambry container set --quota-bytes, or ambry account set --quota-bytes",
        )  # fmt: skip
