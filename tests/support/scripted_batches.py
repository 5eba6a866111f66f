"""What a frontend that has one blob answers to a batch: frames for reads, JSON for changes."""

from __future__ import annotations

from typing import Any

import msgspec

from ambry.checksum import digest
from ambry.rest import frames, names


def batch_answer(path: str, body: bytes, blob: str, data: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and body for `/batch/get`, `head`, `put` and `delete`."""
    name = path.rpartition("/")[2]
    if name == "put":
        sent = [frame.body for frame in frames.FrameReader(body_size_max=1 << 20).feed(body)]
        stored = [{"id": blob, "status": 201, "size": len(each), "digest": digest(each).hex()} for each in sent]
        return _items(stored)
    asked: list[Any] = msgspec.json.decode(body)
    if name == "delete":
        return _items([{"id": blob, "status": 202} for _ in asked])
    parts: list[bytes] = []
    for index, each in enumerate(asked):
        ranges = each.get("ranges") if isinstance(each, dict) else None
        if name == "head" or ranges is None:
            parts.append(part(index, data, b"" if name == "head" else data))
            continue
        for number, said in enumerate(ranges):
            first, _, last = said.partition("-")
            start, stop = int(first), min(len(data), int(last) + 1)
            told = {names.BATCH_RANGE: str(number), "content-range": f"bytes {start}-{stop - 1}/{len(data)}"}
            parts.append(part(index, data, data[start:stop], 206, **told))
    return {"content-type": frames.CONTENT_TYPE}, b"".join(parts)


def part(index: int, data: bytes, body: bytes, status: int = 200, **told: str) -> bytes:
    """One part, about a blob with the bytes `data`."""
    headers = {
        names.BATCH_INDEX: str(index),
        names.BATCH_STATUS: str(status),
        names.BLOB_SIZE: str(len(data)),
        names.DIGEST: digest(data).hex(),
        **told,
    }
    return frames.encode_frame(headers, body)


def _items(items: list[dict[str, Any]]) -> tuple[dict[str, str], bytes]:
    listed = [{"index": index, **item} for index, item in enumerate(items)]
    return {"content-type": "application/json"}, msgspec.json.encode({"items": listed})
