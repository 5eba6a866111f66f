"""Makes the blocking client, `ambry/client/sync`, out of the awaiting one, `ambry/client/aio`.

    python -m tools.sync_client            write the files
    python -m tools.sync_client --check    write nothing; exit with 1 if a file is not what it would be

Works on tokens: `async` and `await` go, in the examples of docstrings too, names are replaced, and so are the few sentences
of docstrings that are true of one twin only. What the twins do differently stands behind names that both have (`waiting`,
`transport`, `reader`), written by hand in each; so the code between needs no branches. Ruff formats the result, so the same
source gives the same file.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CLIENT = Path(__file__).resolve().parents[1] / "ambry" / "client"
BY_HAND = {"__init__.py", "connection.py", "crew.py", "pacing.py", "pool.py", "reader.py", "transport.py", "waiting.py"}

NAMES = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "anext": "next",
    "AsyncIterator": "Iterator",
    "AsyncIterable": "Iterable",
    "AsyncAmbryClient": "AmbryClient",
    "AsyncBlobReader": "BlobReader",
    "AsyncBlobFile": "BlobFile",
    "AsyncBlobWriter": "BlobWriter",
    "AsyncPager": "Pager",
    "AsyncUpload": "Upload",
    "AsyncChangesFeed": "ChangesFeed",
    "StopAsyncIteration": "StopIteration",
    "aio": "sync",
}
"""Other names that begin with Async begin with Sync."""

SENTENCES = {
    "the awaiting client, of which `AmbryClient` is generated.": "the blocking client.",
    "Usable from any event loop, one at a time;": "Safe to share between threads and to keep across a fork;",
    "Local files are read and written in threads; a plain iterable is iterated in the loop.": (
        "Each of several threads that call it at the same time has a connection of its own."
    ),
    "an `async with`": "a `with`",
    "with the blob's bytes from `offset` on.": "with the blob's bytes from `offset` on, without a copy.",
}
"""What is said of the awaiting client -> what is true of the blocking one. Each must be found in some file."""

_WORD = re.compile(r"\b\w+\b")
_EXAMPLE = re.compile(r"^ *(?:>>>|\.\.\.) .*$", re.MULTILINE)
_AWAITING = re.compile(r"\b(?:async|await) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edit:
    """Characters `start` up to but not including `stop` of the source become `text`."""

    start: int
    stop: int
    text: str


def convert(source: str) -> str:
    """The blocking twin of a module, not yet formatted."""
    lines = source.splitlines(keepends=True)
    line_starts = [0]
    for line in lines:
        line_starts.append(line_starts[-1] + len(line))
    edits: list[_Edit] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        start = line_starts[token.start[0] - 1] + token.start[1]
        stop = line_starts[token.end[0] - 1] + token.end[1]
        if token.type == tokenize.NAME and token.string in ("async", "await"):
            while source[stop] == " ":
                stop += 1
            edits.append(_Edit(start=start, stop=stop, text=""))
        elif token.type == tokenize.NAME:
            edits.append(_Edit(start=start, stop=stop, text=_name(token.string)))
        elif token.type in (tokenize.STRING, tokenize.COMMENT):
            edits.append(_Edit(start=start, stop=stop, text=twin_of(token.string)))
    result = source
    for edit in reversed(edits):
        result = result[: edit.start] + edit.text + result[edit.stop :]
    return result


def _name(name: str) -> str:
    if name in NAMES:
        return NAMES[name]
    return re.sub(r"^(_*)Async", r"\1Sync", name)


def twin_of(text: str) -> str:
    """What is said of the blocking client, in a docstring or a comment."""
    for said, true in SENTENCES.items():
        text = text.replace(said, true)
    text = _EXAMPLE.sub(lambda line: _AWAITING.sub("", line[0]), text)
    return _WORD.sub(lambda word: _name(word[0]), text)


def generated() -> Iterator[tuple[Path, str]]:
    """Every generated file, and what must stand in it. Raises ValueError for a sentence that is said nowhere any more."""
    sources = [path for path in sorted((CLIENT / "aio").glob("*.py")) if path.name not in BY_HAND]
    texts = {path: path.read_text("utf-8") for path in sources}
    if unused := [said for said in SENTENCES if not any(said in text for text in texts.values())]:
        raise ValueError(f"tools/sync_client.py replaces what no file says: {unused}")
    for path, text in texts.items():
        head = f"# Generated from ambry/client/aio/{path.name} by `make sync-client`; change that file, not this one.\n"
        yield CLIENT / "sync" / path.name, _formatted(head + convert(text))


def _formatted(source: str) -> str:
    for command in (["check", "--select", "I", "--fix", "--quiet"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", "ambry/client/sync/x.py", "-"]
        source = subprocess.run(
            ruff,
            input=source,
            capture_output=True,
            text=True,
            check=True,
            cwd=CLIENT.parents[1],  # nosec B603 # ruff, on our own source
        ).stdout
    return source


def drifted() -> list[Path]:
    """The files of `sync` that are not what they would be, or that nothing generates."""
    expected = dict(generated())
    known = {*expected, *(CLIENT / "sync" / name for name in BY_HAND)}
    stray = [path for path in sorted((CLIENT / "sync").glob("*.py")) if path not in known]
    return stray + [path for path, text in expected.items() if not path.is_file() or path.read_text("utf-8") != text]


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        for path in (wrong := drifted()):
            print(f"{path}: is not what `make sync-client` generates from aio/{path.name}", file=sys.stderr)
        return 1 if wrong else 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    for path, text in generated():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
