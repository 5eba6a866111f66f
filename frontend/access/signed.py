"""What a signed URL says, and its signature.

    ambry-verb          GET (HEAD too), PUT or POST
    ambry-expires       seconds since 1970
    ambry-key           id of the key that signed it: the URL may do what that key may when the URL is used, and dies with it
    ambry-max-size      of the body, in bytes                                      or left out
    ambry-content-type  of the body                                                or left out
    ambry-once          a number that nobody guesses: good for one upload,         or left out
    ambry-datacenter    at this datacenter alone                                   with ambry-once
    x-ambry-...         a header of the request, as its signer wants it            any number
    ambry-signature     HMAC-SHA256 over all of the above, the path, and nothing else, in hexadecimal

What is signed is the text of `canonical`: every name and every value with its size before it, so that no two requests have the
same text. Its key comes from the cluster's secret, the id of the signer's key and the hash of that key's secret, by HKDF-SHA256
(RFC 5869): who rotates a key also ends what it signed. Pure.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import quote, urlencode

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ambry.errors import InvalidRequest, Unauthenticated
from ambry.rest.access import is_key_id

VERB = "ambry-verb"
EXPIRES = "ambry-expires"
KEY = "ambry-key"
MAX_SIZE = "ambry-max-size"
CONTENT_TYPE = "ambry-content-type"
ONCE = "ambry-once"
DATACENTER = "ambry-datacenter"
SIGNATURE = "ambry-signature"
HEADER_PREFIX = "x-ambry-"

LIFE_S_MAX = 7 * 86_400
SKEW_S = 60
"""How far the clocks of two frontends may be apart: for so long a URL is taken after it has expired."""
SECRET_BYTES = 32
VERBS = ("GET", "PUT", "POST")
ONCE_BYTES = 16
KEYS_REMEMBERED = 1_024
_MAGIC = b"ambry signed url 1"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_ONCE = re.compile(r"[0-9a-f]{32}")
_BROKEN = "this signed URL is not whole: some of it was changed, or cut off; ask whoever gave it for another one"


class Leave(msgspec.Struct, frozen=True, kw_only=True):
    """What a signed URL lets its holder do, apart from the path."""

    verb: str
    key_id: str
    expires_s: int
    """Seconds since 1970."""
    size_max: int | None = None
    """Bytes of the body; None for no bound of its own."""
    content_type: str | None = None
    """The only one of a body; None for any."""
    once: str = ""
    """Names its only upload; empty where it is good for any number."""
    datacenter: str = ""
    """Where that upload goes."""
    headers: dict[str, str] = {}
    """By name in lower case, with HEADER_PREFIX."""

    def pairs(self) -> dict[str, str]:
        """All that its URL says, without the signature."""
        found = {VERB: self.verb, EXPIRES: str(self.expires_s), KEY: self.key_id}
        if self.size_max is not None:
            found[MAX_SIZE] = str(self.size_max)
        if self.content_type is not None:
            found[CONTENT_TYPE] = self.content_type
        if self.once:
            found |= {ONCE: self.once, DATACENTER: self.datacenter}
        return found | self.headers


def leave_of(pairs: Mapping[str, str]) -> Leave:
    """What these pairs say, with or without the signature. Raises Unauthenticated for what nobody signs."""
    left = {name: value for name, value in pairs.items() if name != SIGNATURE}
    verb, key_id, expires = (left.pop(name, "") for name in (VERB, KEY, EXPIRES))
    size, content_type = left.pop(MAX_SIZE, None), left.pop(CONTENT_TYPE, None)
    once, datacenter = left.pop(ONCE, ""), left.pop(DATACENTER, "")
    whole = (
        verb in VERBS
        and is_key_id(key_id)
        and _NUMBER.fullmatch(expires)
        and (size is None or _NUMBER.fullmatch(size))
        and (_ONCE.fullmatch(once) and datacenter if once else not datacenter)
        and all(name.startswith(HEADER_PREFIX) and name == name.lower() for name in left)
    )
    if not whole:
        raise Unauthenticated(_BROKEN)
    return Leave(
        verb=verb,
        key_id=key_id,
        expires_s=int(expires),
        size_max=None if size is None else int(size),
        content_type=content_type,
        once=once,
        datacenter=datacenter,
        headers=left,
    )


def canonical(path: str, pairs: Mapping[str, str]) -> bytes:
    """What is signed: all of a URL but its host, which proxies change, and the signature."""
    fields = [_MAGIC, path.encode("utf-8", "surrogateescape")]
    for name in sorted(pairs.keys() - {SIGNATURE}):
        fields += name.encode(), pairs[name].encode()
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


class Signatures:
    """Makes and checks signatures by the secret of a cluster."""

    def __init__(self, secret: bytes) -> None:
        """`secret` has SECRET_BYTES that nobody can guess, the same on all frontends."""
        self._secret = secret
        self._keys: dict[tuple[str, str], bytes] = {}

    def _key(self, key_id: str, hashed: str) -> bytes:
        found = self._keys.get((key_id, hashed))
        if found is None:
            info = b"ambry signed url %b %b" % (key_id.encode(), hashed.encode())
            found = HKDF(SHA256(), length=32, salt=None, info=info).derive(self._secret)
            if len(self._keys) >= KEYS_REMEMBERED:
                self._keys.clear()
            self._keys[key_id, hashed] = found
        return found

    def sign(self, path: str, leave: Leave, hashed: str) -> str:
        """The query of a URL; `hashed` is the hash of the signer's secret.

        Raises InvalidRequest for what is no UTF-8.
        """
        pairs = leave.pairs()
        try:
            pairs[SIGNATURE] = self._signature(path, pairs, leave.key_id, hashed)
        except UnicodeEncodeError:
            raise InvalidRequest("what is signed is UTF-8") from None
        return urlencode(pairs, quote_via=quote, safe="")

    def check(self, paths: tuple[str, ...], pairs: Mapping[str, str], hashes: tuple[str, ...]) -> None:
        """See that one of these secrets signed one of these paths with `pairs`, which are whole. Raises Unauthenticated."""
        sent = pairs[SIGNATURE]
        if _SIGNATURE.fullmatch(sent):
            made = [self._signature(path, pairs, pairs[KEY], hashed) for path in paths for hashed in hashes]
            if any(hmac.compare_digest(sent, each) for each in made):
                return
        raise Unauthenticated(_BROKEN)

    def _signature(self, path: str, pairs: Mapping[str, str], key_id: str, hashed: str) -> str:
        return hmac.new(self._key(key_id, hashed), canonical(path, pairs), sha256).hexdigest()
