"""TLS (RFC 8446, RFC 5246): contexts from files, read again when the files change, without losing a connection.

The front has a certificate that clients trust. Between nodes both ends show one, of an authority that is the cluster's own, and
it says who they are in its subjectAltName (RFC 5280 section 4.2.1.6):

    URI:ambry://<cluster>/<datanode | frontend | operator>/<name>

What a node may ask of another by that is in ambry/network/identity.py. Connections between nodes of whom one would not be let
in any more end soon after the files have changed (ambry/service/trust.py), and none outlives what was shown on it.
"""

from __future__ import annotations

import asyncio
import enum
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote, unquote, urlsplit

import msgspec

from ambry.errors import ConfigInvalid
from ambry.service.credentials import of_others
from ambry.service.logs import get_logger
from ambry.service.trust import Trust

log = get_logger()

LOOK_EVERY_S = 1.0
DAY_MS = 86_400_000
SOON_MS = 30 * DAY_MS
"""A certificate that ends sooner is told."""
HANDSHAKE_S = 10.0
"""Time for a handshake, seconds."""
Section = TypeVar("Section", bound="TlsSection")
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of 1.3 are all sound."""


class TlsSection(msgspec.Struct, frozen=True):
    """Files in PEM: what one end shows."""

    certificate: str = ""
    key: str = ""

    @property
    def wanted(self) -> bool:
        return bool(self.files)

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that are named."""
        return tuple(Path(each) for each in msgspec.structs.astuple(self) if each)


class NodeTlsSection(TlsSection, frozen=True):
    """The same where both ends show one: whose certificates are taken, and which are not any more."""

    authority: str = ""
    revoked: str = ""


class NodeRole(enum.Enum):
    """What a certificate lets its owner be."""

    DATANODE = "datanode"
    FRONTEND = "frontend"
    OPERATOR = "operator"
    """Reads admin pages, and is no node."""


class NodeIdentity(NamedTuple):
    """Who a certificate says its owner is."""

    cluster: str
    role: NodeRole
    name: str

    @property
    def uri(self) -> str:
        """As it stands in the certificate."""
        return f"ambry://{quote(self.cluster, safe='')}/{self.role.value}/{quote(self.name, safe='')}"


def identity_of_uri(uri: str) -> NodeIdentity | None:
    """None for a URI of something else."""
    parts = urlsplit(uri)
    role, slash, name = parts.path.removeprefix("/").partition("/")
    if parts.scheme != "ambry" or not slash or not name or "/" in name or role not in {each.value for each in NodeRole}:
        return None
    return NodeIdentity(unquote(parts.netloc), NodeRole(role), unquote(name))


def identity_of(certificate: Mapping[str, Any] | None) -> NodeIdentity | None:
    """Who shows this certificate, as `SSLObject.getpeercert` gives it; None unless it says so, and once."""
    names: Sequence[tuple[str, str]] = (certificate or {}).get("subjectAltName", ())
    found = [identity for kind, value in names if kind == "URI" and (identity := identity_of_uri(value)) is not None]
    return found[0] if len(found) == 1 else None


def front_context(section: TlsSection) -> ssl.SSLContext:
    """What clients meet. Raises ConfigInvalid."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return _with_own(context, section, "tls")


def serving_context(section: NodeTlsSection) -> ssl.SSLContext:
    """What nodes meet that connect to this one: they must show a certificate of the authority. Raises ConfigInvalid."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Who resumes a session shows no certificate again, and nobody would look whether it is still good.
    context.num_tickets = 0
    return _mutual(context, section)


def calling_context(section: NodeTlsSection) -> ssl.SSLContext:
    """What this node connects to others with. Raises ConfigInvalid."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Whom it reaches is told by the certificate's URI, which the caller looks at.
    context.check_hostname = False
    return _mutual(context, section)


def operator_context(certificate: Path) -> ssl.SSLContext:
    """What an operator asks nodes with; the key, authority.crt, and revoked.pem if there is one, stand beside the certificate.

    Raises ConfigInvalid.
    """
    revoked = certificate.with_name("revoked.pem")
    section = NodeTlsSection(
        certificate=str(certificate),
        key=str(certificate.with_suffix(".key")),
        authority=str(certificate.with_name("authority.crt")),
        revoked=str(revoked) if revoked.exists() else "",
    )
    return calling_context(section)


def _mutual(context: ssl.SSLContext, section: NodeTlsSection) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    if not section.authority:
        raise ConfigInvalid("node_tls.authority must name the certificate of the cluster's own authority")
    try:
        context.load_verify_locations(section.authority)
        if section.revoked:
            context.load_verify_locations(section.revoked)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except (OSError, ssl.SSLError) as cause:
        raise ConfigInvalid(f"node_tls: {section.authority} or {section.revoked} cannot be used: {cause}") from cause
    return _with_own(context, section, "node_tls")


def _with_own(context: ssl.SSLContext, section: TlsSection, name: str) -> ssl.SSLContext:
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if not section.certificate or not section.key:
        raise ConfigInvalid(f"{name}.certificate and {name}.key must both be set: files in PEM")
    try:
        mode = Path(section.key).stat().st_mode
        if mode & of_others(Path(section.key)):
            raise ConfigInvalid(f"{name}.key: others may read {section.key}; chmod 600 it")
        context.load_cert_chain(section.certificate, section.key, password=_no_password)
    except (OSError, ssl.SSLError) as cause:
        raise ConfigInvalid(f"{name}: {section.certificate} and {section.key} cannot be used: {cause}") from cause
    return context


def _no_password() -> str:
    raise ConfigInvalid(
        "the private key is encrypted, and nobody is there to be asked; keep it in the clear, mode 0600"
    )


class ReloadingTls(Generic[Section]):
    """A context that follows its files: connections that come use what they hold then, those that are there stay."""

    def __init__(self, section: Section, make: Callable[[Section], ssl.SSLContext]) -> None:
        """Raises ConfigInvalid."""
        self.section = section
        self._make = make
        self._seen = self._stamps()
        self._failed: list[tuple[int, ...] | None] = []
        """Those that could not be used the last time."""
        self.context = make(section)

    def look(self, *, asked: bool = False) -> bool:
        """Read the files again if they changed, or if somebody `asked` for it; whether the context is another one.

        What cannot be used changes nothing.
        """
        stamps = self._stamps()
        if stamps == self._seen and not asked:
            return False
        try:
            self.context = self._make(self.section)
        except ConfigInvalid as error:
            if stamps == self._failed or asked:
                log.error("changed certificates cannot be used; the ones before stay", error=error.message)
                self._seen = stamps
            # Else somebody may be between two files: a key is written before its certificate.
            self._failed = stamps
            return False
        self._seen = stamps
        log.info("certificates read again", certificate=self.section.certificate)
        return True

    async def tick(self) -> float:
        """As a worker; seconds until the next look."""
        self.look()
        return LOOK_EVERY_S

    async def read_again(self) -> None:
        """At once, whether or not the files seem to have changed."""
        self.look(asked=True)

    def _stamps(self) -> list[tuple[int, ...] | None]:
        return [_stamp(path) for path in self.section.files]


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class NodeTls:
    """What a node shows, and asks to be shown, at both ends."""

    def __init__(self, section: NodeTlsSection) -> None:
        """Raises ConfigInvalid."""
        self.section = section
        self._list_at_first = self._list()
        self.serving = ReloadingTls(section, serving_context)
        self.calling = ReloadingTls(section, calling_context)
        self.trust: Trust | None = None
        """By what those are judged that were let in; None while nothing has changed."""

    async def tick(self) -> float:
        """As a worker."""
        await self._look(asked=False)
        return LOOK_EVERY_S

    async def read_again(self) -> None:
        """At once, whether or not the files seem to have changed."""
        await self._look(asked=True)

    async def _look(self, *, asked: bool) -> None:
        if not self.serving.look(asked=asked) | self.calling.look(asked=asked):
            return
        try:
            # On a thread: it may take a library that is not loaded yet.
            self.trust = await asyncio.to_thread(self._read)
        except (ConfigInvalid, OSError, ValueError) as cause:
            log.error("the list of revoked certificates cannot be read; whom it names stays", error=str(cause))

    def _read(self) -> Trust:
        taken_back = self._list()
        # Whom the first list names was never let in.
        taken_back = b"" if taken_back == self._list_at_first else taken_back
        return Trust(frozenset(self.serving.context.get_ca_certs(binary_form=True)), taken_back)

    def _list(self) -> bytes:
        try:
            return Path(self.section.revoked).read_bytes() if self.section.revoked else b""
        except OSError as cause:
            raise ConfigInvalid(f"node_tls.revoked: {self.section.revoked} cannot be read: {cause}") from cause

    def refuses(self, shown: ssl.SSLObject, until_ms: int, now_ms: int) -> str:
        """Why a connection should end whose other end has shown this, good until then; empty where it may stay."""
        if until_ms <= now_ms:
            return "it has expired"
        return "" if self.trust is None else self.trust.refuses(shown)


def node_tls(section: NodeTlsSection) -> NodeTls | None:
    """None where nodes speak in the clear. Raises ConfigInvalid."""
    return NodeTls(section) if section.wanted else None


class Certificates:
    """All that one process follows, and SIGHUP has it read at once."""

    def __init__(self, *followed: ReloadingTls[Any] | NodeTls | None) -> None:
        self._followed = [each for each in followed if each is not None]
        self._reading: asyncio.Task[None] | None = None

    def read_again(self) -> None:
        """On the event loop. While they are being read they are not read once more."""
        if not self._followed:
            log.info("nothing to read again: no certificates are set")
        elif self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read_all())

    async def _read_all(self) -> None:
        for each in self._followed:
            await each.read_again()
