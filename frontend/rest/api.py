"""Ambry's HTTP API as one thing: its routes, and the words in which it answers. The dialect that frontend/http speaks here."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import msgspec
from aiohttp import web

from ambry.clock import Clock, system_secret
from ambry.errors import AccessDenied, AmbryError, InvariantBroken, UpdateConflict
from ambry.rest import names
from ambry.rest.access import Role
from ambry.rest.text import plain_text, sentence_in_header
from frontend.access.signed_use import SignedUrls
from frontend.access.verified import Access
from frontend.config import FrontendConfig
from frontend.containers.resolver import Containers
from frontend.http.exchange import Exchange
from frontend.http.problem import headers_of
from frontend.http.proxies import sent_on
from frontend.http.route import Route
from frontend.request import RequestContext
from frontend.rest import cross_origin
from frontend.rest.about import About
from frontend.rest.accounts import AccountPages
from frontend.rest.api_pages import ApiPages
from frontend.rest.batch import Batches
from frontend.rest.batch_names import BatchNames
from frontend.rest.batch_put import BatchPuts
from frontend.rest.blob import BlobFinder
from frontend.rest.changes import ChangePages
from frontend.rest.cluster import ClusterPages
from frontend.rest.dataset_versions import DatasetVersions
from frontend.rest.datasets import DatasetPages
from frontend.rest.encryption_pages import EncryptionPages
from frontend.rest.entry import Entry, check_may_compare
from frontend.rest.key_pages import KeyPages
from frontend.rest.named import NamedBlobs
from frontend.rest.named_actions import NameActions
from frontend.rest.named_list import NameLists
from frontend.rest.named_paths import NamedPaths
from frontend.rest.named_rules import NameChanges
from frontend.rest.named_updates import NamedUpdates
from frontend.rest.read import Reads
from frontend.rest.resource import Resource
from frontend.rest.routes import RouteFinder
from frontend.rest.service import ServicePages
from frontend.rest.sessions import UploadSessions
from frontend.rest.signed import SignedUrlPages, take_signed
from frontend.rest.stitch import Stitches
from frontend.rest.updates import Updates
from frontend.rest.upload import Uploads
from frontend.rest.usage import UsagePages
from frontend.router.context import RouterContext
from frontend.services import MetadataServices
from frontend.who import ANY_KEY, Needs, On, decide, refusal

CONTENT_TYPE = "application/problem+json"


class AmbryApi:
    """See frontend/http/route.py for what a dialect is."""

    own_prefix = "x-ambry-"
    request_id_header = names.REQUEST_ID
    answered_header = names.ANSWERED
    refused_headers = {  # noqa: RUF012  # never changed
        names.REQUEST_ID: "the server gives each request its id, which the answer tells; leave it out",
    }

    checked_headers = {names.SERVICE_ID: plain_text}  # noqa: RUF012  # never changed

    def __init__(
        self,
        router: RouterContext,
        containers: Containers,
        *,
        config: FrontendConfig,
        clock: Clock,
        access: Access,
        url_secret: bytes | None = None,
        unready: Callable[[], list[str]],
        services: MetadataServices | None = None,
    ) -> None:
        """`unready` gives the reasons why this frontend should get no requests. Without `url_secret` no URLs are signed.

        Without `services` accounts stay as they are, and nothing is there that needs the metadata store.
        """
        self.containers = containers
        self.access = access
        self.finder = finder = BlobFinder(router, containers, clock)
        entry = Entry(containers, clock=clock)
        section = config.frontend
        quotas = None if services is None else services.quotas
        keys = None if services is None else services.keys
        uploads = Uploads(router, entry, quotas, keys, config=section, clock=clock)
        reads = Reads(router, finder, entry)
        updates = Updates(router, finder, entry, quotas, clock=clock)
        self._signed = SignedUrls(access, url_secret, clock=clock, datacenter=section.datacenter)
        once_s = None if keys is None else config.uploads.idempotency_s
        resources: list[Resource] = [
            SignedUrlPages(self._signed, lambda *of: self.find(*of), self.authorize, system_secret, once_s=once_s),
            uploads,
            reads,
            About(router, finder, entry),
            updates,
            ServicePages(unready, clock),
            ClusterPages(router, containers, clock=clock),
            batches := Batches(router, containers, clock=clock),
            BatchPuts(router, entry, quotas, clock=clock),
            ApiPages(lambda: self.routes),
            AccountPages(router, containers, None if services is None else services.changes),
        ]
        if services is not None:
            stitches = Stitches(services.sessions, router, entry, services.quotas, config=config, clock=clock)
            uploads.chunk = stitches.chunk
            changes = NameChanges(services.names, services.lives, services.standing, clock=clock)
            actions = NameActions(
                services.names,
                services.lives,
                changes,
                services.sessions,
                entry,
                router,
                services.quotas,
                services.bound,
            )
            named = NamedBlobs(
                services.names, services.intents, router, containers, finder, uploads, reads, changes, actions
            )
            batches.names, batches.changes = BatchNames(services.names, containers), changes
            updates.by_name = NamedUpdates(services.names, changes, actions, containers)
            resources += [
                stitches,
                UploadSessions(services.sessions, router, entry, services.quotas, config=config, clock=clock),
                NamedPaths(
                    named,
                    DatasetVersions(
                        services.datasets,
                        services.intents,
                        services.lives,
                        router,
                        containers,
                        finder,
                        uploads,
                        reads,
                        services.standing,
                        clock=clock,
                    ),
                ),
                DatasetPages(services.datasets, router, containers),
                NameLists(services.names, router, containers, clock=clock),
                ChangePages(services.feed, containers),
                KeyPages(services.access_keys, services.key_use, router),
                UsagePages(
                    services.use_counts, services.access_keys, services.sessions.places, containers, router, clock=clock
                ),
                EncryptionPages(services.keyring, services.encryption, containers, router),
            ]
        self.routes = tuple(route for resource in resources for route in resource.routes())
        self.find = RouteFinder(self.routes, entry.preflight).find
        self.common = {"Server": "ambry", names.DATACENTER: section.datacenter, names.FRONTEND: section.name}

    def authenticate(self, exchange: Exchange) -> None:
        """See frontend/http/route.py."""
        needs: Needs = exchange.needs
        try:
            signed = bool(exchange.target.query) and take_signed(exchange, self._signed)
            if needs.on is not On.NOTHING and not signed:
                who = exchange.context.who = self.access.of(exchange.headers.get("authorization"))
                if who.anybody and (header := sent_on(exchange.headers)) is not None:
                    raise AccessDenied(
                        f"a proxy sent this on ({header}), and a frontend that asks for no keys serves its own machine alone: "
                        "leave access.enabled out of its configuration, or ask it without the proxy"
                    )
        except AmbryError:
            self._note_claimed(exchange)
            cross_origin.let_hear(exchange, self.containers.directory.origins)
            raise

    def _note_claimed(self, exchange: Exchange) -> None:
        """Which key was sent that opens nothing: who reads the audit looks for it."""
        claimed = self.access.claimed(exchange.headers.get("authorization"))
        if claimed is not None:
            exchange.noted = {**exchange.noted, "claimed_key": claimed[0]}
            if claimed[1]:
                exchange.noted["claimed_key_name"] = claimed[1]

    def check_standing(self, context: RequestContext) -> None:
        """See RequestContext.check_standing."""
        self.access.check_standing(context.who)
        container = context.container
        if container is None:
            return
        now = self.containers.now(container)
        if now is container:
            return
        now.check_active()
        if context.as_everybody and not now.public:
            raise refusal(context.who, Role.READ, f"the container {now}, which became private while this request ran")
        if context.changes and now.settings.encrypted and not container.settings.encrypted:
            raise UpdateConflict(
                f"the container {container} is encrypted since this upload began, and nothing of it is kept; send it again"
            )

    def authorize(self, exchange: Exchange, route: Route) -> None:
        """See frontend/http/route.py."""
        if exchange.decided:
            check_may_compare(exchange, route)
            return
        needs: Needs = exchange.needs
        if needs.on is On.CONTAINER:
            if route.enter is not None:
                raise InvariantBroken(f"{route.op} was let in before anybody decided about it")
            # Its handler enters, and decides; without a key it is not even heard.
            needs = ANY_KEY
        decide(exchange.context.who, needs)

    def refused(self, exchange: Exchange, error: AmbryError) -> AmbryError:
        """Whoever has no key learns nothing but that it takes one; a page may read what it is told, wherever that is."""
        cross_origin.let_hear(exchange, self.containers.directory.origins)
        who, needs = exchange.context.who, exchange.needs
        return error if who.known or needs.on is On.NOTHING else refusal(who, needs.roles)

    def problem(self, error: AmbryError, request_id: str) -> web.Response:
        """`application/problem+json` (RFC 9457)."""
        status = error.status
        phrase = HTTPStatus(status).phrase
        code, detail = type(error).__name__, error.message or phrase
        body = {
            "type": "about:blank",
            "title": phrase,
            "status": status,
            "code": code,
            "detail": detail,
            "request_id": request_id,
        }
        headers = {
            **headers_of(error),
            "Content-Type": CONTENT_TYPE,
            names.ERROR_CODE: code,
            names.ERROR_DETAIL: sentence_in_header(detail),
        }
        return web.Response(status=status, headers=headers, body=msgspec.json.encode(body) + b"\n")
