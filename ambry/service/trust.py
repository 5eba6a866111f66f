"""Who would still be let in, of those that a node let in before: asked after its files have changed.

A handshake is judged by OpenSSL, once. What is judged here are the connections that it left open: whether the authority by
which their certificate was found good is still one, and whether the certificate is in the list of those taken back by now. A
list that is missing, for which OpenSSL would turn away all that its authority issued, ends no connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any


class Trust:
    """What the files hold at one moment. `authorities` are certificates in DER, `taken_back` lists in PEM."""

    def __init__(self, authorities: frozenset[bytes], taken_back: bytes) -> None:
        """Raises ValueError where a list cannot be read."""
        self._authorities = authorities
        self._taken_back = _read_lists(taken_back) if taken_back else frozenset()
        self._known: dict[bytes, str] = {}
        """What was said of a certificate before: there are about as many as nodes."""

    def refuses(self, shown: ssl.SSLObject) -> str:
        """Why whoever showed this certificate would not be let in any more, for people; empty where it would."""
        certificate = shown.getpeercert(binary_form=True) or b""
        reason = self._known.get(certificate)
        if reason is None:
            reason = self._known[certificate] = self._judge(certificate, _anchor_of(shown))
        return reason

    def _judge(self, certificate: bytes, anchor: bytes | None) -> str:
        if anchor is not None and anchor not in self._authorities:
            return "the authority that issued it is not trusted any more"
        return "it was taken back" if self._taken_back and _mark_of(certificate) in self._taken_back else ""


def _anchor_of(shown: ssl.SSLObject) -> bytes | None:
    """The certificate of the authority by which the handshake found another good; None where that is not told."""
    # Public since Python 3.13; before that the object beneath has it.
    tell: Callable[[], Any] | None = getattr(shown, "get_verified_chain", None)
    tell = tell or getattr(getattr(shown, "_sslobj", None), "get_verified_chain", None)
    chain = tell() if tell is not None else None
    if not chain:
        return None
    last = chain[-1]
    return last if isinstance(last, bytes) else ssl.PEM_cert_to_DER_cert(last.public_bytes())


Mark = tuple[bytes, int]
"""The issuer's name and the serial number of a certificate, which are one of it alone."""


def _mark_of(certificate: bytes) -> Mark:
    from cryptography import x509

    found = x509.load_der_x509_certificate(certificate)
    return found.issuer.public_bytes(), found.serial_number


def _read_lists(pem: bytes) -> frozenset[Mark]:
    # Here, as it is large and hardly ever needed.
    from cryptography import x509

    end = b"-----END X509 CRL-----"
    found: set[Mark] = set()
    for part in pem.split(end)[:-1]:
        one = x509.load_pem_x509_crl(part + end)
        found.update((one.issuer.public_bytes(), revoked.serial_number) for revoked in one)
    return frozenset(found)
