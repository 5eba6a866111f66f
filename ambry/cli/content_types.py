"""What a file is by the end of its name: the same on every machine, whatever its own tables say."""

from __future__ import annotations

_OURS = {
    ".arrow": "application/vnd.apache.arrow.file",
    ".avro": "application/avro",
    ".gz": "application/gzip",
    ".ipynb": "application/x-ipynb+json",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".toml": "application/toml",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zst": "application/zstd",
}


def guessed(name: str) -> str | None:
    """The media type of a file of this name; None where its name does not say."""
    # Not before it is needed, so that `ambry --help` is quick.
    from mimetypes import MimeTypes

    end = "." + name.rpartition(".")[2].lower() if "." in name.lstrip(".") else ""
    found = _OURS.get(end) or MimeTypes().types_map[True].get(end)
    # What every blob is of which nothing is said. Saying so makes another upload of it, which nobody goes on with.
    return None if found == "application/octet-stream" else found
