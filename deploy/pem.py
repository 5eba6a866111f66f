"""What stands in files in PEM (RFC 7468)."""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----\n?", re.DOTALL)


def pem_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def pem_of_list(revoked: x509.CertificateRevocationList) -> bytes:
    return revoked.public_bytes(serialization.Encoding.PEM)


def pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def begun_blocks(pem: bytes) -> list[bytes]:
    """What may be blocks, torn ones too: what stands from each beginning to the next, and before the first if that is any."""
    found = re.split(rb"(?=-----BEGIN )", pem)
    return [part for part in found if part.strip()]


def blocks(pem: bytes) -> list[bytes]:
    """The blocks of a file in PEM. Raises ValueError where there is none."""
    found = [match.group() for match in _BLOCK.finditer(pem)]
    if not found:
        raise ValueError("nothing in PEM stands there")
    return found
