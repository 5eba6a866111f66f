"""The scoring service over HTTP: the Open Inference Protocol in JSON, health, metrics and what is known of drift.

    GET  /v2                                        the server
    GET  /v2/health/live, /v2/health/ready
    GET  /v2/models/NAME[/versions/VERSION]         what the model is
    GET  /v2/models/NAME[/versions/VERSION]/ready
    POST /v2/models/NAME[/versions/VERSION]/infer   score; a version is refused unless it is the one that serves
    GET  /drift                                     inputs beside those of training
    GET  /metrics                                   of Prometheus

Models score on threads. Where `waiting_max` requests are scored or wait, the next one is told 503, and when to come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from ambry import __version__
from ambry.errors import AmbryError, InvalidRequest, Overloaded
from ambry.ml.extras import needed
from ambry.ml.models.loading import StoredModel
from ambry.ml.serving.inference import format_answer, parse_request
from ambry.ml.serving.metrics import EXTRA, training_of
from ambry.ml.serving.service import ScoringService

BODY_SIZE_MAX = 64 << 20
"""Bytes of a request."""
WAITING_MAX = 64
"""Requests that are scored or wait for a thread."""
RETRY_AFTER_S = 1

Handler = Callable[[Any], Awaitable[Any]]


def make_app(service: ScoringService, name: str, *, threads: int, waiting_max: int = WAITING_MAX) -> Any:
    """The aiohttp application. `name` is the model's in URLs. The service stays its caller's."""
    web = needed("aiohttp.web", EXTRA)
    pages = _Pages(service, name, web, threads, waiting_max)

    async def answer(request: Any, handler: Handler) -> Any:
        return await pages.answer(request, handler)

    app = web.Application(client_max_size=BODY_SIZE_MAX, middlewares=[web.middleware(answer)])
    app.router.add_get("/v2", pages.server)
    app.router.add_get("/v2/health/live", pages.live)
    app.router.add_get("/v2/health/ready", pages.ready)
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        app.router.add_get(path, pages.model)
        app.router.add_get(f"{path}/ready", pages.model_ready)
        app.router.add_post(f"{path}/infer", pages.infer)
    app.router.add_get("/drift", pages.drift)
    app.router.add_get("/metrics", pages.metrics)
    app.on_cleanup.append(pages.close)
    return app


class _Pages:
    """The handlers."""

    def __init__(self, service: ScoringService, name: str, web: Any, threads: int, waiting_max: int) -> None:
        self._service = service
        self._name = name
        self._web = web
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="ambry-scoring")
        self._waiting_max = waiting_max
        self._waiting = 0

    async def close(self, app: Any) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: Any, handler: Handler) -> Any:
        """Errors as one line of JSON; what is a bug of the model is a 500 that names it, without its traceback."""
        try:
            return await handler(request)
        except self._web.HTTPException as error:
            return self._refusal(error.status, error.reason)
        except Overloaded as error:
            return self._refusal(503, error.message, {"Retry-After": str(RETRY_AFTER_S)})
        except InvalidRequest as error:
            return self._refusal(400, error.message)
        except AmbryError as error:
            return self._refusal(error.status, str(error))
        except Exception as error:
            return self._refusal(500, f"the model could not score this: {type(error).__name__}: {error}"[:500])

    def _refusal(self, status: int, message: str, headers: dict[str, str] | None = None) -> Any:
        return self._web.json_response({"error": message}, status=status, headers=headers)

    async def server(self, request: Any) -> Any:
        return self._web.json_response({"name": "ambry", "version": __version__, "extensions": []})

    async def live(self, request: Any) -> Any:
        return self._web.json_response({"live": True})

    async def ready(self, request: Any) -> Any:
        return self._web.json_response({"ready": True})

    async def model_ready(self, request: Any) -> Any:
        model = self._asked(request)
        return self._web.json_response({"name": self._name, "version": model.version, "ready": True})

    async def model(self, request: Any) -> Any:
        model = self._asked(request)
        manifest = model.manifest
        watch = self._service.champion
        told = {
            "name": self._name,
            "versions": [model.version],
            "platform": f"ambry_{manifest.kind}",
            "inputs": [],
            "outputs": [],
            "parameters": {
                "model": str(model),
                "sha256": model.digest,
                "features": list(manifest.features),
                "snapshot": manifest.snapshot,
                "error": "" if watch.error is None else str(watch.error),
            },
        }
        return self._web.json_response(told)

    async def infer(self, request: Any) -> Any:
        self._asked(request)
        if self._waiting >= self._waiting_max:
            raise Overloaded(f"{self._waiting} requests are being scored; come back in {RETRY_AFTER_S} s")
        self._waiting += 1
        try:
            body = await request.read()
            data = await asyncio.get_running_loop().run_in_executor(self._threads, self._score, body)
        finally:
            self._waiting -= 1
        return self._web.Response(body=data, content_type="application/json")

    def _score(self, body: bytes) -> bytes:
        """On a thread."""
        asked = parse_request(body)
        scored = self._service.score(asked)
        more = {"arm": scored.arm} if scored.arm else {}
        return format_answer(self._name, scored.model.version, scored.outputs, asked, **more)

    async def drift(self, request: Any) -> Any:
        training = training_of(self._service.champion.current.manifest.params)
        return self._web.json_response({"columns": [asdict(each) for each in self._service.drift.columns(training)]})

    async def metrics(self, request: Any) -> Any:
        training = training_of(self._service.champion.current.manifest.params)
        page = self._service.metrics.render(self._service.drift.columns(training))
        return self._web.Response(body=page, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    def _asked(self, request: Any) -> StoredModel:
        """The model that serves, if it is the one in the path."""
        name, version = request.match_info["name"], request.match_info.get("version")
        model = self._service.champion.current
        if name != self._name:
            raise self._web.HTTPNotFound(reason=f"there is no model {name!r} here; this serves {self._name!r}")
        if version is not None and version != model.version:
            raise self._web.HTTPNotFound(reason=f"version {version} does not serve; {model.version} does")
        return model
