"""Signing URLs for a key, and taking them in: whose a URL is, and whether it is still good."""

from __future__ import annotations

from collections.abc import Mapping

from ambry.clock import Clock
from ambry.errors import (
    InvalidRequest,
    InvariantBroken,
    MetadataUnavailable,
    MisdirectedRequest,
    NotSupported,
    Unauthenticated,
    must_have,
)
from frontend.access.key_rows import StoredKey
from frontend.access.signed import LIFE_S_MAX, SIGNATURE, SKEW_S, Leave, Signatures, leave_of
from frontend.access.verified import Access
from frontend.who import Who

REMEMBERED_MAX = 1_024


class SignedUrls:
    """Those of one frontend."""

    def __init__(self, access: Access, secret: bytes | None, *, clock: Clock, datacenter: str) -> None:
        """Without a `secret` none are signed, and none are good."""
        self._access = access
        self._signatures = None if secret is None else Signatures(secret)
        self._clock = clock
        self.datacenter = datacenter
        self._signers: dict[str, Who] = {}
        """By the id of their key."""

    def check_signs(self, who: Who) -> None:
        """Whether URLs can be signed for them. Raises NotSupported."""
        if not self._access.enabled:
            raise NotSupported("this frontend asks for no keys (access.enabled = false), so there is none to sign with")
        if self._signatures is None:
            raise NotSupported("this frontend signs no URLs: its configuration names no access.secret_file")
        if who.key is None or who.signed:
            raise InvalidRequest("a URL is signed by a key; send it as Authorization")

    def expiry(self, who: Who, life_s: int) -> int:
        """When a URL that is signed now expires, in seconds since 1970: no later than the key that signs it."""
        now_ms = self._clock.wall_ms()
        ends_ms = now_ms + 1000 * life_s
        return (ends_ms if who.expires_ms is None else min(ends_ms, who.expires_ms)) // 1000

    def sign(self, who: Who, path: str, leave: Leave) -> str:
        """The query of a URL with this path, signed by the key of `who`, who may sign. Raises InvalidRequest.

        It is good for no longer than the secret that was sent, which a rotation may have given an end.
        """
        if not who.hashed:
            raise InvariantBroken("a URL was to be signed by somebody without a key")
        return must_have(self._signatures, "the secret of signed URLs").sign(path, leave, who.hashed)

    def open(self, method: str, paths: tuple[str, ...], pairs: Mapping[str, str]) -> tuple[Who, Leave]:
        """Who signed a URL, and what it lets do; it was signed for one of `paths`, and `pairs` are its query, whole.

        Raises Unauthenticated; MisdirectedRequest where it is good at another datacenter; MetadataUnavailable where no keys
        were heard of yet.
        """
        if self._signatures is None or not self._access.enabled:
            raise Unauthenticated("this frontend takes no signed URLs: its configuration names no access.secret_file")
        leave = leave_of(pairs)
        key = self._access.keys.get(leave.key_id)
        if key is None:
            if not self._access.certain:
                raise MetadataUnavailable("which keys there are is not known here yet; retry", retry_after_s=1)
            raise Unauthenticated(f"the key {leave.key_id} that signed this URL was revoked, or is of another cluster")
        now_ms = self._clock.wall_ms()
        self._signatures.check(paths, pairs, key.hashes(now_ms))
        now_s = now_ms / 1000
        if now_s >= leave.expires_s + SKEW_S:
            raise Unauthenticated("this signed URL has expired; ask whoever gave it for another one")
        if leave.expires_s > now_s + LIFE_S_MAX + SKEW_S:
            raise Unauthenticated(f"this signed URL is good for longer than {LIFE_S_MAX} s, which none is")
        if key.expires_ms is not None and now_ms >= key.expires_ms:
            raise Unauthenticated(f"the key {leave.key_id} that signed this URL has expired")
        if method != leave.verb and (method, leave.verb) != ("HEAD", "GET"):
            raise Unauthenticated(f"this URL was signed for {leave.verb}, and not for {method[:20]}")
        if leave.once and leave.datacenter != self.datacenter:
            raise MisdirectedRequest(
                f"this URL is good for one upload at the datacenter {leave.datacenter}; send it to a frontend there"
            )
        self._access.was_used(leave.key_id)
        return self._signer(leave.key_id, key), leave

    def _signer(self, id: str, key: StoredKey) -> Who:
        found = self._signers.get(id)
        if found is None or found.key is not key:
            if len(self._signers) >= REMEMBERED_MAX:
                self._signers.clear()
            found = Who(key.grants, id=id, name=key.name, expires_ms=key.expires_ms, key=key, signed=True)
            self._signers[id] = found
        return found


def is_signed(query: str) -> bool:
    """Whether a query may be a signed URL's."""
    return SIGNATURE in query
