"""`GET /signedUrl`, and the request that a signed URL stands for.

A URL is signed for a call that its signer may make: the same code decides it that will decide about the call. Once its
signature is good, the request is what the URL says: its headers are the request's, and what it does not say the holder says in
vain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from ambry.errors import AccessDenied, AmbryError, InvalidRequest, Unauthenticated
from ambry.rest import names, values
from ambry.rest import text as rules
from ambry.rest.access import is_key_id
from frontend.access.signed import HEADER_PREFIX, KEY, LIFE_S_MAX, ONCE_BYTES, SIGNATURE, SKEW_S, VERBS, Leave
from frontend.access.signed_use import SignedUrls, is_signed
from frontend.http.digests import DIGEST_HEADERS
from frontend.http.exchange import Exchange
from frontend.http.route import Route
from frontend.http.target import Target, parse_target
from frontend.rest.read import ON_READ
from frontend.rest.resource import json_page, of_this_moment
from frontend.rest.upload import check_reserved
from frontend.rest.upload_headers import CHUNK_HEADERS, METADATA_PREFIXES, ON_UPLOAD, asked_for, is_chunk
from frontend.who import ANY_KEY

SIGNED_OPS = frozenset({"get", "head", "named_get", "named_head", "put", "named_put", "upload_part"})
"""What a URL can be signed for; a stitched chunk is a put."""
ONCE_OPS = frozenset({"put", "named_put"})
LIFE_S = 900
"""Seconds that a URL is good for where nobody says."""
URL_SIZE_MAX = 6_000
"""Bytes of its path and query: with its method it is to fit into the request lines that others take."""
NOT_SIGNED = DIGEST_HEADERS | {names.DIGEST, names.IDEMPOTENCY_KEY, names.SERVICE_ID}
"""Of each request by itself: its holder says them."""
SIGNABLE = frozenset(
    name
    for name in ON_READ | ON_UPLOAD | CHUNK_HEADERS | {names.NAMED_UPSERT, names.DATASET_VERSION_QUERY}
    if name.startswith(HEADER_PREFIX) and name not in NOT_SIGNED
)
_DIGITS_MAX = 18
_REFERRER = {"Referrer-Policy": "no-referrer"}


class SignedUrlPages:
    """Signs URLs."""

    def __init__(
        self,
        signed: SignedUrls,
        find: Callable[[str, Target], Route],
        authorize: Callable[[Exchange, Route], None],
        chance: Callable[[int], bytes],
        *,
        once_s: int | None,
    ) -> None:
        """`find` and `authorize` as in frontend/http/route.py. `chance` gives bytes that nobody can guess.

        `once_s` is for how many seconds it is remembered that an upload was made, None where it is not.
        """
        self._signed = signed
        self._find = find
        self._authorize = authorize
        self._chance = chance
        self._once_s = once_s

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                op="sign",
                methods=("GET",),
                target="/signedUrl",
                handle=self.sign,
                needs=ANY_KEY,
                # Whoever gets a URL for uploads may change something: the audit tells of it as of a key that is made.
                changes_if=lambda target: target.query_pairs().get("verb", "GET") != "GET",
                headers=SIGNABLE | {names.SERVICE_ID},
                header_prefixes=METADATA_PREFIXES,
                query=frozenset({"verb", "path", "expires-in", "max-size", "content-type", "once"}),
                select=of_this_moment,
                required=frozenset({"path"}),
                lacks=True,
            ),
        )

    async def sign(self, exchange: Exchange) -> web.Response:
        """A URL for one call that whoever asks may make itself; the headers are those of the call."""
        who = exchange.context.who
        self._signed.check_signs(who)
        asked = exchange.target.query_pairs()
        verb = asked.get("verb", "GET")
        if verb not in VERBS:
            raise InvalidRequest(f"verb is one of {', '.join(VERBS)} (a URL for GET is good for HEAD too)")
        target = _target(verb, asked)
        route = self._find(verb, target)
        if route.op not in SIGNED_OPS:
            raise InvalidRequest(f"no URL is signed for {verb} {route.target}: only for reads and uploads of bytes")
        if route.op == "put":
            check_reserved(target.segments[0])
        headers = {
            name: value
            for name, value in exchange.headers.items()
            if name.startswith(HEADER_PREFIX) and name != names.SERVICE_ID
        }
        for name in headers:
            if name not in route.headers and not name.startswith(route.header_prefixes or ("\0",)):
                raise InvalidRequest(f"{name} is not understood by {verb} {route.target}; leave it out")
        leave = self._leave(exchange, asked, verb, route, headers)
        await self._decide(exchange, verb, target, route, headers)
        query = self._signed.sign(who, target.path, leave)
        said = f"{target.path}?{query}"
        if len(said) > URL_SIZE_MAX:
            raise InvalidRequest(f"the URL would have {len(said)} bytes, and at most {URL_SIZE_MAX} are signed")
        exchange.noted |= {
            "signed_for": f"{verb} {route.op}",
            "signed_path": target.path,
            "signed_until_s": leave.expires_s,
        }
        if leave.size_max is not None:
            exchange.noted["signed_bytes_max"] = leave.size_max
        told = {"verb": verb, "url": f"{self._base(exchange)}{said}", "target": said, "expires": leave.expires_s}
        return json_page(told)

    def _leave(
        self, exchange: Exchange, asked: Mapping[str, str], verb: str, route: Route, headers: dict[str, str]
    ) -> Leave:
        """What the URL is to let its holder do. Raises InvalidRequest."""
        size, content_type = asked.get("max-size"), asked.get("content-type")
        once = asked.get("once", "false")
        if once not in ("true", "false"):
            raise InvalidRequest("once is true or false")
        if not route.takes_body and (size is not None or content_type is not None or once == "true"):
            raise InvalidRequest("max-size, content-type and once are said of an upload")
        life_s = LIFE_S if "expires-in" not in asked else _number("expires-in", asked["expires-in"])
        longest_s = LIFE_S_MAX
        if once == "true":
            if route.op not in ONCE_OPS or (CHUNK_HEADERS & headers.keys() and is_chunk(headers)):
                raise InvalidRequest(
                    "once is said of the upload of a whole blob; a part or a chunk takes its own place"
                )
            if self._once_s is None:
                raise InvalidRequest("this frontend has no metadata store to remember in that an upload was made")
            longest_s = min(longest_s, self._once_s) - SKEW_S
        if not 1 <= life_s <= longest_s:
            raise InvalidRequest(f"expires-in lies between 1 and {longest_s} seconds")
        if route.op in ONCE_OPS:
            asked_for(headers, filename="", has_metadata=exchange.prefixed)
        return Leave(
            verb=verb,
            key_id=exchange.context.who.id,
            expires_s=self._signed.expiry(exchange.context.who, life_s),
            size_max=None if size is None else _number("max-size", size),
            content_type=None if content_type is None else rules.media_type("content-type", content_type),
            once=self._chance(ONCE_BYTES).hex() if once == "true" else "",
            datacenter=self._signed.datacenter if once == "true" else "",
            headers=headers,
        )

    async def _decide(
        self, exchange: Exchange, verb: str, target: Target, route: Route, headers: dict[str, str]
    ) -> None:
        """Whether whoever asks may make the call. Raises as the call."""
        call = Exchange(
            http=exchange.http,
            method=verb,
            connection=exchange.connection,
            context=exchange.context,
            common=exchange.common,
            op=route.op,
            target=target,
            headers=headers,
            needs=route.needs,
        )
        try:
            if route.enter is not None:
                await route.enter(call)
        except AmbryError:
            # A name that nothing has yet may have something when the URL is used.
            if not call.decided:
                raise
        self._authorize(call, route)

    @staticmethod
    def _base(exchange: Exchange) -> str:
        return "" if exchange.authority is None else f"{exchange.scheme}://{exchange.authority}"


def take_signed(exchange: Exchange, signed: SignedUrls) -> bool:
    """Make a request by a signed URL the one that the URL stands for; False for any other request.

    Raises Unauthenticated, MisdirectedRequest, MetadataUnavailable; AccessDenied and InvalidRequest for what the URL does not
    let do.
    """
    target = exchange.target
    if not is_signed(target.query):
        return False
    pairs = target.query_pairs()
    if SIGNATURE not in pairs:
        return False
    said = Target(target.path, target.segments, "", target.authority)
    if exchange.method == "OPTIONS":
        # A browser asks whether a page may send it. Whether it is good, the page is told when it does.
        exchange.target = said
        return True
    # curl -T puts the name of its file behind a URL that ends with a slash: the same call, which says the blob's file name.
    paths = (target.path, "/") if exchange.op == "put" else (target.path,)
    try:
        who, leave = signed.open(exchange.method, paths, pairs)
    except Unauthenticated:
        if is_key_id(pairs.get(KEY, "")):
            exchange.noted = {**exchange.noted, "claimed_key": pairs[KEY]}
        raise
    headers = exchange.headers
    if "authorization" in headers:
        raise InvalidRequest("a signed URL is good by itself: send it without Authorization")
    for name, value in headers.items():
        if name.startswith(HEADER_PREFIX) and name not in NOT_SIGNED and leave.headers.get(name) != value:
            raise AccessDenied(f"this URL was not signed for that {name[:60]}; leave the header out")
    exchange.context.who = who
    exchange.target = said
    exchange.common = {**exchange.common, **_REFERRER}
    exchange.noted = {**exchange.noted, "signed_by": who.id}
    exchange.headers = _meant(headers, leave)
    exchange.size_max = leave.size_max
    return True


def _meant(sent: Mapping[str, str], leave: Leave) -> dict[str, str]:
    """The headers of the request that a URL stands for; `sent` are those of its holder."""
    headers = {**sent, **leave.headers}
    if leave.verb != "GET" and "if-match" in sent:
        upsert = leave.headers.get(names.NAMED_UPSERT)
        if upsert is None or not values.flag(names.NAMED_UPSERT, upsert):
            raise AccessDenied(
                f"this URL was not signed for {names.NAMED_UPSERT}: true, so If-Match lets it write over nothing"
            )
    if leave.content_type is not None:
        said = headers.setdefault("content-type", leave.content_type)
        if said.lower().replace(" ", "") != leave.content_type.lower().replace(" ", ""):
            raise AccessDenied(
                f"this URL was signed for the Content-Type {leave.content_type}, and not for {said[:80]!r}: send that or none. "
                "`curl -T FILE` sends none; `curl --data-binary` says application/x-www-form-urlencoded by itself"
            )
    if leave.once:
        if names.IDEMPOTENCY_KEY in headers:
            raise InvalidRequest(f"a URL for one upload is its own idempotency key; leave {names.IDEMPOTENCY_KEY} out")
        headers[names.IDEMPOTENCY_KEY] = f"signed-url/{leave.once}"
    return headers


def _target(verb: str, asked: Mapping[str, str]) -> Target:
    path = asked.get("path", "")
    if not path.startswith("/") or "?" in path:
        raise InvalidRequest(
            "path is that of the call, percent-encoded as in a URL: /ID, /named/ACCOUNT/CONTAINER/NAME, /"
        )
    try:
        path.encode("ascii")
    except UnicodeEncodeError:
        raise InvalidRequest(
            "path is percent-encoded as in a URL, and that once more as the value of a query key"
        ) from None
    return parse_target(verb, path)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise InvalidRequest(f"{name} is a number")
    return int(text)
