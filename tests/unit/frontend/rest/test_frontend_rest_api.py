from __future__ import annotations

import json

from ambry import errors
from ambry.clock import SystemClock
from ambry.errors import AmbryError
from frontend.access.verified import trusting
from frontend.config import FrontendConfig, FrontendSection
from frontend.containers.resolver import Containers
from frontend.rest.api import AmbryApi
from tests.support.fake_cluster import make_cluster
from tests.support.http_frontend import ACCOUNTS


def every_error(base: type[AmbryError] = AmbryError) -> list[type[AmbryError]]:
    own = [base] if base.__module__ == errors.__name__ else []
    return own + [found for child in base.__subclasses__() for found in every_error(child)]


def make() -> AmbryApi:
    config = FrontendConfig(frontend=FrontendSection(name="f1", datacenter="dc1"))
    router = make_cluster(((3,),), clock=SystemClock()).context
    clock = SystemClock()
    return AmbryApi(router, Containers(ACCOUNTS), config=config, clock=clock, access=trusting(clock), unready=list)


async def test_every_error_has_the_shape_of_rfc_9457() -> None:
    api = make()
    for kind in every_error():
        for message in ("what to do next é", ""):
            answer = api.problem(kind(message), "abc")
            assert isinstance(answer.body, bytes)
            told = json.loads(answer.body)
            assert answer.status == kind.status == told["status"]
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.headers["x-ambry-error-code"] == told["code"] == kind.__name__
            assert answer.headers["Cache-Control"] == "no-store"
            assert told["request_id"] == "abc"
            assert told["detail"] == message or (not message and told["detail"] == told["title"])
            assert told["type"] == "about:blank" and told["title"]
            assert ("Retry-After" in answer.headers) == (answer.status in (429, 503))


async def test_every_answer_names_its_datacenter_frontend_and_request() -> None:
    api = make()
    assert api.common == {"Server": "ambry", "x-ambry-datacenter": "dc1", "x-ambry-frontend": "f1"}
    assert api.request_id_header == "x-ambry-request-id"
