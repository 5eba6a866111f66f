"""Reports as pages: HTML in one file, without a script and without anything from elsewhere; and where they are kept.

Whatever stands in one is escaped here, once: `table` and `text` take what people called things.

    <dataset>.<folder>/<16 hexadecimal digits>.json     what was found
    <dataset>.<folder>/<16 hexadecimal digits>.html     the same, to look at

The digits are those of the SHA-256 of the JSON: what was found twice is there once, and what stands there never changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from html import escape

from ambry.client.refs import NameRef, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import AlreadyExists

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1f2328; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; margin: .5rem 0; } td, th { padding: .25rem .8rem; border-bottom: 1px solid #d0d7de; }
th { text-align: left; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
.good { color: #1a7f37; } .bad { color: #b42318; font-weight: 600; } .note { color: #57606a; }
svg { max-width: 100%; height: auto; } svg text { font: 13px system-ui, sans-serif; fill: #1f2328; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def text(said: object) -> str:
    """As it stands in a page."""
    return escape(str(said), quote=True)


def number(value: float | None) -> str:
    """Four digits; a dash for what is not known."""
    return "–" if value is None or value != value else f"{value:,.0f}" if _is_whole(value) else f"{value:.4g}"


def paragraph(said: object, kind: str = "") -> str:
    return f"<p{_class(kind)}>{text(said)}</p>\n"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Numbers are to the right."""
    lines = ["<table>", f"<tr>{''.join(f'<th>{text(name)}</th>' for name in header)}</tr>"]
    for row in rows:
        cells = (
            f'<td class="number">{number(cell)}</td>' if isinstance(cell, int | float) else f"<td>{text(cell)}</td>"
            for cell in row
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</table>\n"])


def page(title: str, *parts: str) -> bytes:
    """A whole file of HTML. The parts are HTML already; the title is a text."""
    head = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{text(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n</head>\n'
    )
    return f"{head}<body>\n<h1>{text(title)}</h1>\n{''.join(parts)}</body>\n</html>\n".encode(
        "utf-8", "backslashreplace"
    )


def keep(client: AmbryClient, place: VersionRef, folder: str, document: bytes, html: bytes) -> NameRef:
    """Store a report beside a dataset; the name of its page. Durable on return; kept once where it is there already."""
    name = f"{place.dataset}.{folder}/{hashlib.sha256(document).hexdigest()[:16]}"
    for suffix, data, kind in (("json", document, "application/json"), ("html", html, "text/html; charset=utf-8")):
        with suppress(AlreadyExists):
            client.put(
                data,
                name=NameRef(f"{name}.{suffix}", place.account, place.container),
                content_type=kind,
                if_absent=True,
            )
    return NameRef(f"{name}.html", place.account, place.container)


def _is_whole(value: float) -> bool:
    return isinstance(value, int) or (value == int(value) and abs(value) < 1e12 if abs(value) < 1e300 else False)


def _class(kind: str) -> str:
    return f' class="{text(kind)}"' if kind else ""
