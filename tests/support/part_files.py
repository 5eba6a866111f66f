"""What a download that broke off left to go on from."""

from __future__ import annotations

from pathlib import Path

from ambry.client.part_file import part_path
from ambry.client.pieces import FOOTER_BYTES, parse_footer, said_digests
from ambry.ids import BlobId


def bytes_left(target: Path, blob: str) -> int:
    """As its own table says; 0 for nothing."""
    path = part_path(target, BlobId.parse(blob))
    data = path.read_bytes() if path.exists() else b""
    found = parse_footer(data[-FOOTER_BYTES:], len(data))
    if found is None:
        return 0
    spans = map(found.span, said_digests(data[found.size : found.size + found.table_size - FOOTER_BYTES]))
    return sum(span.stop - span.start for span in spans)
