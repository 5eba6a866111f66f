"""The scoring service over HTTP: the Open Inference Protocol, health, metrics and what is known of drift.

    GET  /v2                                        the server
    GET  /v2/health/live, /v2/health/ready
    GET  /v2/models/NAME[/versions/VERSION]         what the model is
    GET  /v2/models/NAME[/versions/VERSION]/ready
    POST /v2/models/NAME[/versions/VERSION]/infer   score; a version is refused unless it is the one that serves
    GET  /drift                                     inputs beside those of training
    GET  /metrics                                   of Prometheus

A body is read first, within bounds of bytes and time; then it is parsed, scored and answered on a thread. Where `waiting_max`
requests are scored or wait, or as many bytes are held as may be, the next one is told 503, and when to come back.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from ambry import __version__
from ambry.errors import AmbryError, InvalidRequest, Overloaded
from ambry.ml.extras import needed
from ambry.ml.models.loading import StoredModel
from ambry.ml.serving.inference import HEADER_SIZE, InferenceAnswer, format_answer, parse_request
from ambry.ml.serving.limits import HeldBodies, ServingLimits
from ambry.ml.serving.served import ServedModel
from ambry.ml.serving.service import ScoringService

RETRY_AFTER_S = 1
MESSAGE_CHARACTERS_MAX = 1_000

Handler = Callable[[Any], Awaitable[Any]]

_DIGITS = re.compile(r"[0-9]{1,12}", re.ASCII)


def make_app(
    service: ScoringService,
    name: str,
    *,
    threads: int,
    limits: ServingLimits | None = None,
    ending: asyncio.Event | None = None,
) -> Any:
    """The aiohttp application. `name` is the model's in URLs. The service stays its caller's.

    Once `ending` is set it is not ready any more, and goes on scoring.
    """
    web = needed("aiohttp.web")
    pages = _Pages(service, name, web, threads, limits or ServingLimits(), ending or asyncio.Event())

    async def answer(request: Any, handler: Handler) -> Any:
        return await pages.answer(request, handler)

    app = web.Application(middlewares=[web.middleware(answer)])
    app.router.add_get("/v2", pages.server)
    app.router.add_get("/v2/health/live", pages.live)
    app.router.add_get("/v2/health/ready", pages.ready)
    for path in ("/v2/models/{name:.+}/versions/{version}", "/v2/models/{name:.+}"):
        app.router.add_post(f"{path}/infer", pages.infer)
        app.router.add_get(f"{path}/infer", pages.not_by_get)
        app.router.add_get(f"{path}/ready", pages.model_ready)
        app.router.add_get(path, pages.model)
    app.router.add_get("/drift", pages.drift)
    app.router.add_get("/metrics", pages.metrics)
    app.on_cleanup.append(pages.close)
    return app


class _Refused(Exception):
    """A request that is answered with a status of HTTP; with `last` its connection is closed."""

    def __init__(self, status: int, message: str, *, last: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.last = last


class _Pages:
    """The handlers."""

    def __init__(
        self, service: ScoringService, name: str, web: Any, threads: int, limits: ServingLimits, ending: asyncio.Event
    ) -> None:
        self._service = service
        self._name = name
        self._web = web
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="ambry-scoring")
        self._limits = limits
        self._ending = ending
        self._waiting = 0
        self._held = HeldBodies(limits.held_size_max)

    async def close(self, app: Any) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: Any, handler: Handler) -> Any:
        """Errors as one line of JSON; what is a bug of the model is a 500 that names it, without its traceback."""
        try:
            return await handler(request)
        except self._web.HTTPException as error:
            return self._refusal(error.status, error.reason)
        except _Refused as error:
            return self._refusal(error.status, str(error), last=error.last)
        except Overloaded as error:
            # What is left of the body is not waited for.
            return self._refusal(
                503, error.message, {"Retry-After": str(RETRY_AFTER_S)}, last=not request.content.at_eof()
            )
        except InvalidRequest as error:
            return self._refusal(400, error.message)
        except AmbryError as error:
            return self._refusal(error.status, str(error))
        except Exception as error:
            return self._refusal(500, f"the model could not score this: {type(error).__name__}: {error}")

    def _refusal(self, status: int, message: str, headers: dict[str, str] | None = None, *, last: bool = False) -> Any:
        told = {"error": message[:MESSAGE_CHARACTERS_MAX]}
        answer = self._web.json_response(told, status=status, headers=headers)
        if last:
            answer.force_close()
        return answer

    async def server(self, request: Any) -> Any:
        return self._web.json_response({"name": "ambry", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(self, request: Any) -> Any:
        return self._web.json_response({"live": True})

    async def ready(self, request: Any) -> Any:
        ready = not self._ending.is_set()
        return self._web.json_response({"ready": ready}, status=200 if ready else 503)

    async def model_ready(self, request: Any) -> Any:
        model = self._asked(request)
        ready = not self._ending.is_set()
        told = {"name": self._name, "version": model.version, "ready": ready}
        return self._web.json_response(told, status=200 if ready else 503)

    async def model(self, request: Any) -> Any:
        self._asked(request)
        served = self._service.champion.served
        model, predictor = served.model, served.predictor
        manifest = model.manifest
        experiment = self._service.experiment
        errors = {role: str(error) for role, error in self._service.errors().items() if error is not None}
        parameters: dict[str, Any] = {
            "model": str(model),
            "sha256": model.digest,
            "features": list(predictor.columns.names),
            "snapshot": manifest.snapshot,
            "error": errors.get("champion", ""),
            "errors": errors,
        }
        if self._service.challenger is not None:
            parameters["challenger"] = self._service.challenger.served.name
        if experiment is not None:
            parameters["experiment"] = {
                "name": experiment.name,
                "exposed": experiment.exposed,
                "arms": {arm.name: arm.model for arm in experiment.arms},
            }
        told = {
            "name": self._name,
            "versions": [model.version],
            "platform": f"ambry_{manifest.kind}",
            "inputs": [each.told() for each in predictor.inputs],
            "outputs": [each.told() for each in predictor.outputs],
            "parameters": parameters,
        }
        return self._web.json_response(told)

    async def not_by_get(self, request: Any) -> Any:
        return self._refusal(405, "requests to score are sent by POST", {"Allow": "POST"})

    async def infer(self, request: Any) -> Any:
        """Counted and timed, whatever the answer is."""
        metrics = self._service.metrics
        began = metrics.began()
        answer = await self.answer(request, self._infer)
        metrics.answered(answer.status, began)
        return answer

    async def _infer(self, request: Any) -> Any:
        self._asked(request)
        header_size = _header_size(request.headers.get(HEADER_SIZE))
        async with self._body(request) as body:
            if self._waiting >= self._limits.waiting_max:
                raise Overloaded(f"{self._waiting} requests are being scored; come back in {RETRY_AFTER_S} s")
            self._waiting += 1
            self._tell()
            try:
                loop = asyncio.get_running_loop()
                answer = await loop.run_in_executor(self._threads, self._score, body, header_size)
            finally:
                self._waiting -= 1
                self._tell()
        if answer.header_size is None:
            return self._web.Response(body=answer.body, content_type="application/json")
        headers = {HEADER_SIZE: str(answer.header_size)}
        return self._web.Response(body=answer.body, content_type="application/octet-stream", headers=headers)

    @asynccontextmanager
    async def _body(self, request: Any) -> AsyncIterator[bytearray]:
        """The body, counted for as long as it is used. Raises _Refused, Overloaded."""
        limits, body = self._limits, bytearray()
        if (request.content_length or 0) > limits.body_size_max:
            raise self._too_large(request.content_length)
        try:
            try:
                async with asyncio.timeout(limits.body_s):
                    async for part in request.content.iter_any():
                        if len(body) + len(part) > limits.body_size_max:
                            raise self._too_large(len(body) + len(part))
                        self._held.take(len(part), len(body) + len(part))
                        body += part
                        self._tell()
            except TimeoutError:
                raise _Refused(
                    408, f"{len(body)} bytes of the body came within {limits.body_s:g} s, and not all of it"
                ) from None
            except (self._web.RequestPayloadError, ConnectionResetError) as error:
                raise _Refused(400, f"the body of the request broke off: {error}") from error
            yield body
        finally:
            self._held.give_back(len(body))
            self._tell()

    def _too_large(self, size: int) -> _Refused:
        return _Refused(
            413,
            f"a request has at most {self._limits.body_size_max} bytes, not {size}; send fewer rows at a time, or binary data",
        )

    def _tell(self) -> None:
        self._service.metrics.taken(self._waiting, self._held.size)

    def _score(self, body: bytearray, header_size: int | None) -> InferenceAnswer:
        """On a thread. What could not be answered is not recorded."""
        asked = parse_request(body, header_size, cells_max=self._limits.cells_max)
        scored = self._service.predict(asked)
        # An arm may be of another dataset than the one that is asked for.
        more = {"arm": scored.arm, "model": str(scored.model)} if scored.arm else {}
        try:
            answer = format_answer(self._name, scored.model.version, scored.outputs, asked, **more)
        except InvalidRequest:
            raise
        except Exception:
            # Of any kind: what is no answer is the model's fault.
            self._service.metrics.failed(scored.served.name)
            raise
        self._service.record(asked, scored)
        return answer

    async def drift(self, request: Any) -> Any:
        champion, *arms = await asyncio.to_thread(lambda: [_drift_of(each) for each in self._service.answering()])
        return self._web.json_response({**champion, "arms": arms})

    async def metrics(self, request: Any) -> Any:
        page = await asyncio.to_thread(self._service.render_metrics)
        return self._web.Response(body=page, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    def _asked(self, request: Any) -> StoredModel:
        """The model that serves, if it is the one in the path."""
        name, version = request.match_info["name"], request.match_info.get("version")
        model = self._service.champion.served.model
        if name != self._name:
            raise _Refused(404, f"there is no model {name[:200]!r} here; this serves {self._name!r}", last=False)
        if version is not None and version != model.version:
            raise _Refused(404, f"version {version[:50]!r} does not serve; {model.version} does", last=False)
        return model


def _drift_of(served: ServedModel) -> dict[str, Any]:
    columns = served.drift.columns()
    names = served.column_names(len(columns))
    return {
        "model": served.name,
        "training": served.drift.knows_training,
        "strange": served.drift.strange,
        "skipped": served.drift.skipped,
        "columns": [{"name": name, **asdict(each)} for name, each in zip(names, columns, strict=True)],
        "vocabularies": [asdict(each) for each in served.drift.vocabularies()],
    }


def _header_size(text: str | None) -> int | None:
    """Raises InvalidRequest."""
    if text is None:
        return None
    if not _DIGITS.fullmatch(text):
        raise InvalidRequest(f"{HEADER_SIZE} is a number of bytes, not {text[:100]!r}")
    return int(text)
