"""Pages of other origins, as far as a container lets them in (WHATWG Fetch section 3.2, CORS).

A preflight has no key, and so is answered alike wherever it is sent: for every origin that some container lets in. The request
that follows is held against its container, if whoever sends it may do that; else the page may read the refusal, which is the
same whether there is such a container.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ambry.errors import AccessDenied
from ambry.rest.accounts import ANY_ORIGIN
from ambry.service.origin import LET_IN
from frontend.container import Container
from frontend.http.exchange import Exchange

MAX_AGE_S = 86_400
"""How long a browser may remember the answer to a preflight: the longest that any takes."""
_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
EVERYBODY = {"Access-Control-Allow-Origin": ANY_ORIGIN, "Access-Control-Expose-Headers": "*"}


def told_always(origins: frozenset[str]) -> dict[str, str]:
    """What every answer about a container that these may use says, whoever asks: caches keep it for others."""
    if not origins:
        return {}
    return EVERYBODY if ANY_ORIGIN in origins else {"Vary": "Origin"}


def let_in(exchange: Exchange, container: Container) -> None:
    """See that the answer, whatever it will be, may be read by the page that asks, if its origin may use the container."""
    origin = exchange.headers.get("origin")
    if container.origins:
        more = dict(told_always(container.origins))
        if origin is not None and container.allows_origin(origin):
            exchange.from_known_page = True
            more.setdefault("Access-Control-Allow-Origin", origin)
            more["Access-Control-Expose-Headers"] = "*"
        exchange.common = {**exchange.common, **more}


def let_hear(exchange: Exchange, let: frozenset[str]) -> None:
    """Let a page read why its request was refused before it was known which container that is about.

    `let` as of `preflight`.
    """
    origin = exchange.headers.get("origin")
    if origin is not None and (ANY_ORIGIN in let or origin.lower() in let):
        told = {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": "*", "Vary": "Origin"}
        exchange.common = {**exchange.common, **told}


def preflight(exchange: Exchange, allowed: Sequence[str], let: frozenset[str]) -> dict[str, str]:
    """What the answer to OPTIONS says beside `Allow`; `let` are the origins that may use what is there.

    Raises AccessDenied for a preflight from another one: browsers take any error for a no.
    """
    headers = exchange.headers
    origin, method = headers.get("origin"), headers.get("access-control-request-method")
    if origin is None or method is None:
        return {}
    if ANY_ORIGIN not in let and origin.lower() not in let:
        raise AccessDenied(f"no container here lets pages of {origin[:80]!r} use it; {LET_IN}")
    told = {
        "Access-Control-Allow-Origin": ANY_ORIGIN if ANY_ORIGIN in let else origin,
        "Access-Control-Allow-Methods": ", ".join(allowed),
        "Access-Control-Max-Age": str(MAX_AGE_S),
        "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    }
    asked = headers.get("access-control-request-headers")
    if asked is not None and _NAMES.fullmatch(asked):
        # Those that a call does not understand, it refuses itself, and says so.
        told["Access-Control-Allow-Headers"] = asked
    return told
