from __future__ import annotations

import json
from typing import Any

import pytest

from ambry.rest.access import key_text
from frontend.audit.line import ASKED_BYTES_MAX, LISTED_BYTES_MAX, audit_lines
from frontend.request import RequestContext
from frontend.who import ANYBODY, Who
from tests.support.access import fresh_key

KEY = fresh_key()


def told(context: RequestContext, noted: dict[str, Any] | None = None, **more: Any) -> list[dict[str, Any]]:
    said = {"wall_ms": 1_795_000_000_123, "method": "PUT", "op": "key_change", "status": 403}
    raw = audit_lines(context, noted=noted or {}, **{**said, **more})
    assert raw.endswith(b"\n") and KEY.secret.encode() not in raw
    return [json.loads(line) for line in raw.splitlines()]


def context(who: Who, **more: Any) -> RequestContext:
    return RequestContext(id="r1", timeout_s=1.0, deadline=1.0, client="10.0.0.7", who=who, changes=True, **more)


def test_a_line_says_who_did_what_from_where_with_which_answer() -> None:
    who = Who(id=KEY.id, name="job", signed=True)
    [line] = told(context(who, path="/keys/x", asked={"name": "n"}), {"code": "AccessDenied", "about_key": "x"})
    assert line == {
        "time": "2026-11-18T11:06:40.123000Z",
        "request_id": "r1",
        "client": "10.0.0.7",
        "key": KEY.id,
        "key_name": "job",
        "signed": True,
        "method": "PUT",
        "op": "key_change",
        "path": "/keys/x",
        "status": 403,
        "code": "AccessDenied",
        "about_key": "x",
        "asked": {"name": "n"},
    }


def test_a_line_says_which_proxy_told_where_somebody_is() -> None:
    [line] = told(context(ANYBODY, proxy="10.9.9.9"))
    assert (line["client"], line["proxy"]) == ("10.0.0.7", "10.9.9.9")


def test_no_secret_is_in_a_line_wherever_it_was_put() -> None:
    text = key_text(KEY)
    [line] = told(context(ANYBODY, path=f"/keys/{text}"), {"error": f"there is no key {text}"})
    assert line["keyless"] and line["key"] is None and KEY.id in line["path"]


def test_each_item_of_a_batch_has_its_line() -> None:
    items = [
        {"index": 0, "status": 201, "id": "b1", "digest": "d"},
        {"index": 1, "status": 403, "code": "AccessDenied", "detail": key_text(KEY)},
    ]
    whole, first, second = told(context(ANYBODY, items=items), status=200)
    assert (whole["status"], first["status"], first["item"], first["blob"]) == (200, 201, 0, "b1")
    assert (second["status"], second["code"]) == (403, "AccessDenied")
    assert first["request_id"] == "r1" and "digest" not in first


def test_what_is_long_is_told_by_its_size() -> None:
    [line] = told(context(ANYBODY, asked={"parts": ["x" * 100] * 100}), {"error": "e" * 9_999}, left_out=7)
    assert line["asked"].endswith("bytes of JSON") and len(json.dumps(line)) < ASKED_BYTES_MAX
    assert line["left_out"] == 7


@pytest.mark.parametrize("status", [200, 499, 503])
def test_what_may_have_been_done_is_told_however_much_is_asked_beside_it(status: int) -> None:
    """Of a change of more than 4 KiB nothing was told of what it asked for, padded as it might be."""
    name = "\x01" * 1_024
    asked = {"pad": ["x" * 100] * 100, "op": "rename", "from": name}
    [line] = told(context(ANYBODY, asked=asked), status=status)
    assert (line["asked"]["op"], line["asked"]["from"]) == ("rename", name)
    assert line["asked"]["pad"].endswith("bytes of JSON")


def test_a_list_that_was_noted_goes_on_in_further_lines_and_nothing_of_it_is_left_out() -> None:
    changed = [f"c{number}: isPrivate from true to false" for number in range(300)] + ["x" * 3 * LISTED_BYTES_MAX]
    lines = told(context(ANYBODY, path="/accounts"), {"accounts": ["a"], "changed": changed, "size": 1}, status=200)
    assert [each for line in lines for each in line["changed"]] == changed
    assert [line.get("more") for line in lines] == [None, *range(1, len(lines))] and len(lines) > 3
    assert {(line["request_id"], line["status"], line["path"]) for line in lines} == {("r1", 200, "/accounts")}
    assert (lines[0]["accounts"], lines[0]["size"]) == (["a"], 1) and "size" not in lines[1]
    assert all(len(line["changed"]) == 1 or len(json.dumps(line)) < 2 * LISTED_BYTES_MAX for line in lines)


def test_a_list_that_is_empty_is_told_as_one() -> None:
    [line] = told(context(ANYBODY), {"changed": []}, status=200)
    assert line["changed"] == []


def test_a_key_is_hidden_wherever_somebody_put_it() -> None:
    """One that stood in the body of a change was written down whole."""
    secret = "0123456789abcdef" * 4
    key = f"ambry_abcd_{secret}"
    asked = {"name": key, "grants": [{"prefix": f"x{key}"}]}
    lines = told(context(ANYBODY, path=f"/named/a/b/{key}", asked=asked), {"name": key, "error": f"no {key}"})
    assert secret not in json.dumps(lines)
    assert lines[0]["asked"]["name"] == lines[0]["name"] == "ambry_abcd_..."
