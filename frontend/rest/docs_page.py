"""The page at `/docs`: the API's document as HTML that needs nothing but itself. No scripts, and its styles stand in it."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Any

from frontend.rest.openapi import Document

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem 1rem 4rem;color:#222;background:#fff}
h1{margin:.5rem 0}h2{margin:2.2rem 0 .3rem;border-bottom:1px solid #ccc}
h3{margin:1.4rem 0 .2rem;font:600 15px ui-monospace,monospace}
code,td:first-child{font-family:ui-monospace,monospace;font-size:13px}nav a{margin-right:.8rem;white-space:nowrap}
.m{display:inline-block;min-width:4.2em;padding:0 .4em;margin-right:.6em;
border-radius:3px;color:#fff;background:#456;text-align:center}
.get,.head{background:#276}.post,.put{background:#157}.delete{background:#a33}
table{border-collapse:collapse;margin:.4rem 0}td,th{padding:.1rem .8rem .1rem 0;vertical-align:top;text-align:left}
summary{cursor:pointer;color:#456}p{margin:.3rem 0}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181a1b}a{color:#8bf}h2{border-color:#444}summary{color:#9ab}}
"""
POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Its Content-Security-Policy (W3C CSP 3): that style, and nothing else."""


def page(document: Document) -> bytes:
    """The whole page."""
    info = document["info"]
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation["tags"][0], []).append(_operation(path, method, operation))
    links = "".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in groups)
    sections = "".join(
        f'<section><h2 id="{escape(tag)}">{escape(tag)}</h2>{"".join(parts)}</section>' for tag, parts in groups.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(info['title'])} {escape(info['version'])}</title><style>{STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1><p>{escape(info['description'])} "
        f'As a document: <a href="/openapi.json">openapi.json</a>.</p><nav>{links}</nav>{sections}</body></html>\n'
    ).encode()


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    described = operation.get("description", "")
    parameters = "".join(map(_parameter, operation["parameters"]))
    statuses = ", ".join(operation["responses"])
    body = operation.get("requestBody")
    takes = f"<p>Body: <code>{escape(', '.join(body['content']))}</code></p>" if body else ""
    return (
        f'<h3><span class="m {method}">{method.upper()}</span>{escape(path)}</h3><p>{escape(operation["summary"])} '
        f"{escape(described)}</p>{takes}<details><summary>{len(operation['parameters'])} parameters, answers {statuses}"
        f"</summary><table>{parameters}</table></details>"
    )


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    shape = ", ".join(map(str, schema["enum"])) if "enum" in schema else schema.get("pattern", schema.get("type", ""))
    needed = " (required)" if parameter["required"] else ""
    return (
        f"<tr><td>{escape(parameter['name'])}</td><td>{parameter['in']}{needed}</td>"
        f"<td>{escape(parameter.get('description', ''))}</td><td><code>{escape(shape)}</code></td></tr>"
    )
