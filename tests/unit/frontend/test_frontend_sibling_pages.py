from __future__ import annotations

import asyncio

from ambry.service.admin import start_admin
from frontend.sibling_pages import Siblings, _joined
from tests.support.http_frontend import until


def test_metrics_of_several_are_one_page_in_which_a_label_tells_them_apart() -> None:
    text = '# HELP a_b_total Of both.\n# TYPE a_b_total counter\na_b_total{op="x"} %d.0\n'
    lines = _joined({0: text % 1, 7: text % 2, 9: ""}).decode().splitlines()
    assert 'a_b_total{op="x",worker="0"} 1.0' in lines
    assert 'a_b_total{op="x",worker="7"} 2.0' in lines
    assert lines.count("# TYPE a_b_total counter") == 1
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)
    # This process serves nothing: what it has to say of a frontend would be taken for one's.
    assert not any(line.startswith("ambry_frontend_") for line in lines)


async def test_each_says_whether_it_is_ready_and_who_does_not_answer_is_not() -> None:
    reasons: list[str] = []
    warnings = ["a certificate ends soon"]
    admin = await start_admin("127.0.0.1", 0, ready=lambda: reasons, warnings=lambda: warnings, pages={})
    serving = {0: admin.port}
    siblings = Siblings(lambda: serving)
    reasons.append("starting")
    watching = asyncio.create_task(siblings.watch())
    try:
        await until(lambda: siblings.unready(0) == ["starting"], "it was asked")
        reasons.clear()
        await until(lambda: siblings.unready(0) == [], "it is ready")
        reasons.append("no peers")
        await until(lambda: siblings.unready(0) == ["no peers"], "it says why not")
        serving[1] = admin.port
        await until(lambda: siblings.unready(1) == ["no peers"], "another is asked")
        assert siblings.warnings() == ["a certificate ends soon"], "what several say, once"
        del serving[1]
        assert b'worker="0"' in await siblings.metrics()
        await admin.close()
        await until(lambda: "does not answer" in " ".join(siblings.unready(0)), "it is gone")
        assert b'worker="0"' not in await siblings.metrics()
    finally:
        watching.cancel()
        await siblings.close()


async def test_what_each_says_of_other_datacenters_is_one_page() -> None:
    lines = [{"datacenter": "dc2", "follows": True}]
    admin = await start_admin("127.0.0.1", 0, ready=list, pages={"/metadata": lambda: lines})
    siblings = Siblings(lambda: {3: admin.port, 4: 1})
    whole = await start_admin("127.0.0.1", 0, ready=list, pages={"/metadata": siblings.metadata})
    try:
        asked = Siblings(lambda: {0: whole.port})
        (line,) = await asked.metadata()
        assert line == {"datacenter": "dc2", "follows": True, "worker": 0}
        await asked.close()
    finally:
        await siblings.close()
        await admin.close()
        await whole.close()
