"""What a process's own certificates are worth: until when they are good, and whether the cluster's other nodes would take them.

A process cannot see how others judge it, but they have the same files. So it shakes hands with itself, in memory, as two
nodes would: OpenSSL says what it says to them, of a certificate that was revoked, has expired or is of no authority any more,
and of a list of revoked certificates that has ended. Nobody lets in whom that refuses, and what such a node has open ends
within seconds.

The front's certificate is judged by its dates alone: clients trust whom they like, and look at no list.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

from ambry.clock import Clock, iso_utc
from ambry.service import metrics
from ambry.service.logs import get_logger
from ambry.service.tls import DAY_MS, LOOK_EVERY_S, SOON_MS, NodeTls, ReloadingTls, TlsSection

log = get_logger()

TOLD_EVERY_MS = DAY_MS
JUDGED_EVERY_MS = 10_000
"""What ends by itself is noticed after so long; files that change, at the next look."""
_NO_CHECK_TIME = 0x20_0000
"""X509_V_FLAG_NO_CHECK_TIME (X509_VERIFY_PARAM_set_flags(3)), which `ssl` does not name."""

EXPIRES = metrics.Gauge(
    "ambry_certificate_expires_timestamp_seconds",
    "When a certificate that this process shows expires, in seconds since 1970.",
    ["certificate"],
    registry=metrics.registry,
)
REFUSED = metrics.Gauge(
    "ambry_certificate_refused",
    "1 where nobody who looks at the certificate takes it: revoked, expired, not good yet, of no authority; else 0.",
    ["certificate"],
    registry=metrics.registry,
)

# X509_V_ERR_* of openssl/x509_vfy.h.
_REASONS = {
    3: ("node_tls.revoked has no list of the authority that issued it", "give out authority.crt and revoked.pem again"),
    9: ("it is not good yet", "set the clock of this machine, or of the authority's"),
    10: ("it has expired", "`ambry certs rotate`; it is read without a restart"),
    12: ("the list of revoked certificates has ended", "give out a newer revoked.pem to every node"),
    18: ("it is of no authority in node_tls.authority", "issue it with the cluster's own authority"),
    19: ("it is of no authority in node_tls.authority", "issue it with the cluster's own authority"),
    20: ("it is of no authority in node_tls.authority", "issue it with the cluster's own authority"),
    21: ("it is of no authority in node_tls.authority", "issue it with the cluster's own authority"),
    23: ("it was revoked", "`ambry certs rotate NAME` makes another one; it is read without a restart"),
}


class Dates(NamedTuple):
    """Between which a certificate is good, wall time in milliseconds."""

    since_ms: int
    until_ms: int


def dates_of(context: ssl.SSLContext, certificate: str) -> Dates | None:
    """Those of what a server with this context shows, which came from this file; None where that is another one by now."""
    looks = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    looks.check_hostname = False
    # It is trusted as it is, whoever issued it, and whenever: this reads it, and judges nothing.
    looks.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    try:
        looks.load_verify_locations(certificate)
        client = _shaken(context, looks)
    except OSError:
        return None
    shown = client.getpeercert() or {}
    since, until = shown.get("notBefore"), shown.get("notAfter")
    if not (isinstance(since, str) and isinstance(until, str)):
        return None
    return Dates(ssl.cert_time_to_seconds(since) * 1000, ssl.cert_time_to_seconds(until) * 1000)


def refusal_of(serving: ssl.SSLContext, calling: ssl.SSLContext) -> tuple[str, str]:
    """Why a node would not let in another that shows what these show, and what to do; both empty where it would."""
    try:
        _shaken(serving, calling, whole=True)
    except ssl.SSLCertVerificationError as refused:
        return _REASONS.get(refused.verify_code, (refused.verify_message, "`ambry certs issue` makes another one"))
    except ssl.SSLError as refused:
        return refused.reason or str(refused), "`ambry certs issue` makes another one"
    return "", ""


def _shaken(serving: ssl.SSLContext, calling: ssl.SSLContext, *, whole: bool = False) -> ssl.SSLObject:
    """The caller's end of a handshake in memory, when it has taken what the server shows; `whole`, when both have taken all."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    client = calling.wrap_bio(to_client, to_server)
    turns: list[Callable[[], None]] = [client.do_handshake, server.do_handshake]
    while turns:
        turn = turns.pop(0)
        try:
            turn()
        except ssl.SSLWantReadError:
            turns.append(turn)
        else:
            if not whole and turn == client.do_handshake:
                break
    return client


class OwnCertificate:
    """One of them, as it was found the last time. `key` names it, as the configuration does."""

    def __init__(self, key: str, *, now_ms: Callable[[], int]) -> None:
        self._key = key
        self._now_ms = now_ms
        self.dates: Dates | None = None
        self._refusal = ("", "")
        self._told_ms: int | None = None
        """When it was told the last time that it ends soon."""

    def found(self, dates: Dates | None, refusal: tuple[str, str]) -> None:
        """Take up what was found, and tell what is new of it."""
        if dates != self.dates:
            self._told_ms = None
        before, self.dates, self._refusal = self.refused, dates, refusal
        refused = self.refused
        EXPIRES.labels(self._key).set(math.nan if dates is None else dates.until_ms / 1000)
        REFUSED.labels(self._key).set(bool(refused))
        if refused and refused != before:
            log.error("own certificate is not good", reason=refused)
        elif before and not refused:
            log.info("own certificate is good again", certificate=self._key)
        soon, now_ms = self.ends_soon, self._now_ms()
        if soon and (self._told_ms is None or now_ms - self._told_ms >= TOLD_EVERY_MS):
            self._told_ms = now_ms
            log.warning("own certificate ends soon", reason=soon)

    @property
    def refused(self) -> str:
        """Why nobody who looks at it takes it, and what to do, for people; empty where it is good."""
        reason, remedy = self._refusal
        dates, now_ms = self.dates, self._now_ms()
        if not reason and dates is not None and not dates.since_ms <= now_ms < dates.until_ms:
            reason, remedy = _REASONS[10 if now_ms >= dates.until_ms else 9]
        if not reason:
            return ""
        when = "" if dates is None else f" (good from {_day(dates.since_ms)} to {_day(dates.until_ms)})"
        return f"{self._key}: {reason}{when}; {remedy}"

    @property
    def ends_soon(self) -> str:
        """Empty where it is good for long, or not at all."""
        if self.dates is None or self.refused:
            return ""
        left_ms = self.dates.until_ms - self._now_ms()
        if left_ms >= SOON_MS:
            return ""
        left = f"{left_ms // DAY_MS} days" if left_ms >= 2 * DAY_MS else f"{left_ms // 3_600_000} h"
        return (
            f"{self._key} expires in {left}, on {iso_utc(self.dates.until_ms)}; `ambry certs rotate`, and give it out"
        )


def _day(wall_ms: int) -> str:
    return iso_utc(wall_ms)[:10]


class OwnCertificates:
    """Those of one process, looked at as they change and as time passes."""

    def __init__(self, *, node: NodeTls | None, front: ReloadingTls[TlsSection] | None, clock: Clock) -> None:
        self._clock = clock
        self._node_tls, self._front_tls = node, front
        self._node = OwnCertificate("node_tls.certificate", now_ms=clock.wall_ms)
        self._front = OwnCertificate("tls.certificate", now_ms=clock.wall_ms)
        self._seen: list[Any] = []
        """The contexts that were judged the last time."""
        self._judged_ms = 0

    async def tick(self) -> float:
        """As a worker; seconds until the next look."""
        contexts = [
            *(() if self._node_tls is None else (self._node_tls.serving.context, self._node_tls.calling.context)),
            *(() if self._front_tls is None else (self._front_tls.context,)),
        ]
        # By themselves: contexts have no equality of their own.
        others = contexts != self._seen
        if others or abs(self._clock.wall_ms() - self._judged_ms) >= JUDGED_EVERY_MS:
            self._seen, self._judged_ms = contexts, self._clock.wall_ms()
            # On a thread: a handshake is some milliseconds.
            await asyncio.to_thread(self._judge, others)
        return LOOK_EVERY_S

    def _judge(self, others: bool) -> None:
        """`others`: they show others than before."""
        if (node := self._node_tls) is not None:
            serving, calling = node.serving.context, node.calling.context
            dates = dates_of(serving, node.section.certificate) if others else self._node.dates
            self._node.found(dates, refusal_of(serving, calling))
        if (front := self._front_tls) is not None:
            self._front.found(
                dates_of(front.context, front.section.certificate) if others else self._front.dates, ("", "")
            )

    def refused(self) -> list[str]:
        """Why other nodes let this one in no more; empty where they do."""
        return [refused] if (refused := self._node.refused) else []

    def warnings(self) -> list[str]:
        """What somebody should see to, though it keeps nobody from being answered."""
        found = (self._node.refused, self._front.refused, self._node.ends_soon, self._front.ends_soon)
        return [each for each in found if each]
