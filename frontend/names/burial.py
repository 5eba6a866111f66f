"""A name, or a version of a dataset, and the blob that goes with it."""

from __future__ import annotations

from contextlib import suppress

from ambry.errors import BlobGone
from frontend.names.intents import Intents
from frontend.names.names import Names, NameVersion
from frontend.names.rows import IntentKind, NamePlace
from frontend.request import RequestContext
from frontend.router import update
from frontend.router.context import RouterContext
from frontend.router.values import BlobHead


async def bury_with_blob(
    request: RequestContext,
    router: RouterContext,
    names: Names,
    intents: Intents,
    scope: int,
    living: NameVersion,
    head: BlobHead | None,
) -> None:
    """Delete both; `head` is the blob's, where it was read. A kill in between leaves the rest to the janitor.

    Raises UpdateConflict, and what the delete of a blob raises: then the name is gone, and the blob goes later.
    """
    place = NamePlace(names.space, scope, living.key)
    put, intent = intents.row(IntentKind.BURY, living.id, place, after=living.stamp.time)
    await names.bury(scope, living.key, living.stamp, [put])
    with suppress(BlobGone):  # by its id
        await update.delete(request, router, living.id, head)
    await intents.end(intent)
