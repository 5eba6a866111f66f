from __future__ import annotations

import json
from pathlib import Path

from ambry import errors
from ambry.clock import SystemClock
from ambry.errors import AmbryError
from ambry.rest.access import Grant
from frontend.access.verified import trusting
from frontend.config import FrontendConfig, FrontendSection
from frontend.containers.resolver import Containers
from frontend.rest.api import AmbryApi
from tests.support.access import bearer
from tests.support.fake_cluster import make_cluster
from tests.support.http_frontend import ACCOUNTS
from tests.unit.frontend.rest.test_access_table import ground


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
            said = answer.headers["x-ambry-error-detail"]
            assert said == "what to do next %C3%A9" or (not message and said == told["title"])
            assert answer.headers["Cache-Control"] == "no-store"
            assert told["request_id"] == "abc"
            assert told["detail"] == message or (not message and told["detail"] == told["title"])
            assert told["type"] == "about:blank" and told["title"]
            assert ("Retry-After" in answer.headers) == (answer.status in (429, 503))


async def test_every_answer_names_its_datacenter_frontend_and_request() -> None:
    api = make()
    assert api.common == {"Server": "ambry", "x-ambry-datacenter": "dc1", "x-ambry-frontend": "f1"}
    assert api.request_id_header == "x-ambry-request-id"


async def test_a_refused_head_says_why(tmp_path: Path) -> None:
    """It had the status and the name of the error: who was refused saw nothing of which key lacks what, and where."""
    async with ground(tmp_path) as here:
        blob = here.values["id"]
        writes = bearer(here.key(Grant(roles=("write",), account="ml", container="models")))
        for path, headers in (
            (f"/{blob}", writes),
            ("/named/ml/models/x/y", writes),
            (f"/{blob}", {}),
            ("/nope", writes),
        ):
            refused = await here.frontend.call("HEAD", path, headers)
            told = (await here.frontend.call("GET", path, headers)).json()
            assert refused.status == told["status"] and not refused.body
            assert refused.headers["x-ambry-error-detail"] == told["detail"]
