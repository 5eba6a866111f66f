"""The rules of the house (docs/style.md, ARCHITECTURE.md), held against the code so that they stay true.

Imports run one way; time, chance, files and threads come in through a few named modules; every module has a test that mirrors
it; no file grows without bound. An exception stands in one of the tables below with its reason, and must be needed: one that
no longer is fails too.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ambry", "datanode", "frontend", "deploy")
ARCHITECTURE = ROOT / "ARCHITECTURE.md"


def modules(*packages: str) -> list[str]:
    """Every source file below some packages, as a path from the root."""
    return sorted(
        str(path.relative_to(ROOT)) for package in packages for path in (ROOT / package).rglob("*.py") if path.is_file()
    )


@cache
def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text("utf-8"), filename=path)


# --- imports ---


def imports(source: ast.AST) -> Iterator[tuple[int, str]]:
    """Every imported module or name with its line, dotted; `from a import b` gives a.b."""
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


# From the ground up. A module imports what stands below it, and its own room; nothing beside it, nothing above.
FLOORS = [
    [
        "ambry.errors",
        "ambry.clock",
        "ambry.checksum",
        "ambry.buffers",
        "ambry.durability",
        "ambry.patience",
        "ambry.os_errors",
        "ambry.shown_urls",
        "ambry.with_parent",
    ],
    ["ambry.blob", "ambry.home", "ambry.ids", "ambry.address", "ambry.special_file"],
    ["ambry.config", "ambry.format", "ambry.clustermap", "ambry.path_option", "ambry.rest"],
    ["ambry.protocol", "ambry.service"],
    ["ambry.network"],
    ["frontend.aiohttp_import", "frontend.container"],
    ["frontend.who"],
    ["frontend.limits"],
    ["datanode.config", "datanode.metrics", "frontend.config", "frontend.metrics", "frontend.request", "frontend.seat"],
    ["datanode.disk", "datanode.store", "frontend.audit", "frontend.metadata", "frontend.router"],
    ["datanode.data_directory", "datanode.lookups", "datanode.write_queue", "frontend.containers"],
    [
        "datanode.committer",
        "datanode.changes",
        "datanode.openings",
        "frontend.access",
        "frontend.encryption",
        "frontend.http",
        "frontend.uploads",
        "frontend.names",
    ],
    ["frontend.idempotency", "frontend.following", "frontend.datasets"],
    ["frontend.feed"],
    ["frontend.services"],
    ["datanode.replicas", "frontend.rest"],
    ["datanode.checkpointer"],
    ["datanode.replication", "datanode.upkeep"],
    ["datanode.handlers"],
    ["datanode.parts", "frontend.sibling_pages"],
    ["datanode.wiring"],
    ["datanode.server", "frontend.app", "frontend.supervisor"],
    ["datanode.__main__", "datanode.commands", "frontend.__main__", "frontend.commands"],
    ["datanode.diagnosis", "frontend.diagnosis"],
    ["ambry.client"],
    ["ambry.fs", "ambry.mlflow", "ambry.tensorboard", "ambry.tensors"],
    ["ambry.ml"],
    ["ambry.spark", "ambry.streams"],
    ["ambry.cli"],
    ["deploy"],
]
ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# What floors do not say. Files, what they must not import.
FORBIDDEN_IMPORTS = [
    ("*", ["tests", "."]),
    ("datanode/*", ["frontend"]),
    ("frontend/*", ["datanode"]),
    ("deploy/*", ["datanode", "frontend"]),
    ("ambry/client/*", ["ambry.protocol", "ambry.network", "ambry.format", "ambry.clustermap", "lmdb"]),
    ("ambry/cli/*", ["datanode", "frontend"]),
    ("frontend/router/*", ["aiohttp"]),
    ("datanode/*", ["aiohttp"]),
    ("ambry/service/*", ["aiohttp"]),
    ("ambry/network/*", ["aiohttp"]),
    ("frontend/metadata/*", ["aiohttp"]),
    ("frontend/http/*", ["ambry.rest", "frontend.metadata"]),
    ("datanode/store/*", ["asyncio", "ambry.network", "ambry.protocol"]),
    ("datanode/replication/decide.py", ["asyncio"]),
    ("datanode/replication/cursor.py", ["asyncio"]),
    ("ambry/format/*", ["asyncio"]),
    ("ambry/protocol/*", ["asyncio"]),
    ("ambry/clustermap/*", ["asyncio"]),
    ("ambry/rest/*", ["asyncio", "aiohttp"]),
]


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room_of(name: str) -> str | None:
    """The room that a dotted module or name of ours lies in."""
    return next((room for room in ROOMS if within(name, room)), None)


def floor_faults(path: str, source: ast.AST) -> list[str]:
    own = room_of(module_name(path))
    if own is None:
        return []
    found = []
    for line, name in imports(source):
        other = room_of(name)
        if other is not None and other != own and ROOMS[other] >= ROOMS[own]:
            found.append(f"{path}:{line} imports {name}, which does not stand below {own}")
    return found


def import_faults(path: str, source: ast.AST) -> list[str]:
    found = []
    for pattern, forbidden in FORBIDDEN_IMPORTS:
        if not fnmatch(path, pattern):
            continue
        for line, name in imports(source):
            for package in forbidden:
                bad = name.startswith(".") if package == "." else within(name, package)
                if bad:
                    found.append(f"{path}:{line} imports {name}; {pattern} must not import {package}")
    return found


def test_imports_run_one_way() -> None:
    assert [fault for path in modules(*PACKAGES) for fault in import_faults(path, tree(path))] == []


def test_nobody_imports_what_stands_above() -> None:
    assert [fault for path in modules(*PACKAGES) for fault in floor_faults(path, tree(path))] == []


def test_every_module_has_a_floor() -> None:
    names = {module_name(path) for path in modules(*PACKAGES)} - {"ambry", "datanode", "frontend"}
    assert [name for name in sorted(names) if room_of(name) is None] == []


def test_architecture_tells_these_floors() -> None:
    """A row for each, from the ground up, in the first column: `ambry/{blob,ids}` are two rooms."""
    section = ARCHITECTURE.read_text("utf-8").partition("\n## Floors\n")[2].partition("\n## ")[0]
    told = [
        {
            f"{top}.{name}".rstrip(".")
            for top, names in re.findall(r"`(\w+)/?{?([\w,]*)}?`", row)
            for name in names.split(",")
        }
        for row in re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE)
    ]
    assert told == [set(floor) for floor in FLOORS]


def test_no_room_is_empty() -> None:
    paths = modules(*PACKAGES)
    for room in {str(Path(path).parent) for path in paths}:
        inside = [path for path in paths if path.startswith(room + "/") and has_code(tree(path))]
        assert inside, f"{room} holds no code"
    assert [room for room in ROOMS if not any(within(module_name(path), room) for path in paths)] == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("ambry/ids.py", "from ambry.blob import BlobState"),
        ("ambry/format/record.py", "from ambry.protocol import frame"),
        ("datanode/store/log.py", "from datanode.committer import Committer"),
        ("datanode/committer.py", "import datanode.replicas"),
        ("datanode/replicas.py", "from datanode.replication.feed import ChangeFeed"),
        ("datanode/replication/feed.py", "from datanode.handlers.blobs import BlobHandlers"),
        ("datanode/replication/healer.py", "from datanode.upkeep.scrubber import Scrubber"),
        ("datanode/upkeep/scrubber.py", "from datanode.replication.healer import Healer"),
        ("datanode/handlers/blobs.py", "from datanode.wiring import Parts"),
        ("frontend/http/body.py", "from frontend.rest import routes"),
        ("ambry/service/admin.py", "import ambry.client"),
    ],
)
def test_an_import_that_runs_back_up_would_be_noticed(path: str, code: str) -> None:
    assert floor_faults(path, ast.parse(code))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("datanode/x.py", "from frontend import y"),
        ("frontend/x.py", "import datanode.store.log"),
        ("datanode/x.py", "def f():\n    import frontend.app"),
        ("ambry/client/x.py", "from ambry.protocol.frame import Frame"),
        ("frontend/router/x.py", "import aiohttp.web"),
        ("datanode/store/x.py", "import asyncio"),
        ("ambry/format/x.py", "from asyncio import sleep"),
        ("ambry/x.py", "from . import y"),
    ],
)
def test_a_wrong_import_would_be_noticed(path: str, code: str) -> None:
    assert import_faults(path, ast.parse(code))


def test_what_every_api_shares_knows_no_header_of_ambrys_own() -> None:
    """S3 will stand on frontend/http too: what an API has of its own comes in as its dialect."""
    named = [
        f"{path}:{node.lineno} says {node.value!r}"
        for path in modules("frontend")
        if path.startswith("frontend/http/")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "x-ambry" in node.value.lower()
    ]
    assert named == []


# --- the seam ---

SEAM = {
    "ambry/clock.py": "implements time and chance",
    "ambry/buffers.py": "memory of the process, no file",
    "ambry/config.py": "reads the configuration file, at start",
    "ambry/service/logs.py": "writes to standard error",
    "ambry/network/tcp.py": "the names of a socket's options",
    "ambry/network/sending.py": "a transport's socket, which sends what stands in a file",
    "ambry/service/tls.py": "reads certificates, at start and when they change",
    "ambry/service/handshakes.py": "looks at the first byte of an accepted socket, and shuts it down",
    "ambry/service/last_words.py": "a second descriptor of a socket, which takes an alert",
    "ambry/service/listener.py": "sockets of its own: accepts, says goodbye, asks what the kernel holds",
    "ambry/service/log_file.py": "the file of a process's log",
    "ambry/service/loop_watch.py": "a thread beside the event loop, which looks at what that does",
    "ambry/service/notice.py": "a datagram to the service manager, which nobody waits for",
    "ambry/service/process.py": "the outermost layer of a process: signals, limits, exit codes",
    "ambry/clustermap/layout.py": "reads the layout file, at start",
    "datanode/disk.py": "the threads of a disk",
    "datanode/config.py": "says at start that the layout file is not there",
    "frontend/seat.py": "descriptors that a process inherits",
    "frontend/supervisor.py": "starts processes, and gives them pipes",
    "frontend/access/signed_secret.py": "reads the file of a secret, at start",
    "frontend/encryption/secret_files.py": "files with keys and tokens, read on a thread",
    "frontend/audit/file.py": "the file of an audit",
    "frontend/config.py": "says at start that the layout file is not there",
    "frontend/commands.py": "an operator's process: the file of a dump",
    "frontend/metadata/opening.py": "asks at start whether there is a file",
    "frontend/metadata/lane.py": "a thread beside the event loop, which waits for a disk",
    "frontend/metadata/sqlite_file.py": "SQLite reads and writes its own file; this asks whether it is still the same",
    "frontend/metadata/sqlite_mark.py": "looks at memory that SQLite shares between processes",
    "frontend/metadata/turn.py": "a lock between processes, on a file that holds nothing",
    "frontend/metadata/sqlite_watch.py": "a thread beside the event loop, which asks the file whether it has changed",
    "datanode/store/files.py": "implements the file layer",
    "datanode/store/page_cache.py": "maps what it never touches, to ask the kernel about it",
    "datanode/store/index_file.py": "LMDB maps its own file",
    "ambry/special_file.py": "what a path of the user leads to",
    "ambry/client/*": "runs in the user's process: files to send and receive, blocking sockets, worker threads",
    "ambry/fs/*": "runs in the user's process: files to send and receive",
    "ambry/mlflow/*": "runs in the user's process: files to send",
    "ambry/ml/*": "runs in the user's process: definitions, snapshots and models as files",
    "ambry/spark/*": "runs in the user's process, and in Spark's: temporary files, the point in time of a snapshot",
    "ambry/streams/*": "runs in the user's process: threads that read ahead, files that keep a token",
    "ambry/cli/local_files.py": "the user's files: what folders hold, digests, room for downloads",
    "ambry/cli/standard_streams.py": "the descriptors of the standard streams, at start",
    "deploy/*": "starts processes and writes their files",
}

MODULES_FORBIDDEN = (
    "time",
    "secrets",
    "socket",
    "shutil",
    "tempfile",
    "glob",
    "fcntl",
    "mmap",
    "subprocess",
    "multiprocessing",
)
NAMES_FORBIDDEN = {
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "uuid.uuid1",
    "uuid.uuid4",
    "threading.Thread",
    "threading.Timer",
    "io.open",
    "os.urandom",
    "os.getrandom",
}
OS_FILE_CALLS = {
    *(
        "access",
        "chmod",
        "chown",
        "close",
        "copy_file_range",
        "dup",
        "fdatasync",
        "fdopen",
        "fstat",
        "fsync",
        "ftruncate",
    ),
    *(
        "link",
        "listdir",
        "lseek",
        "lstat",
        "makedirs",
        "mkdir",
        "mkfifo",
        "open",
        "pipe",
        "posix_fadvise",
        "posix_fallocate",
    ),
    *("pread", "preadv", "pwrite", "pwritev", "read", "readlink", "readv", "remove", "removedirs", "rename", "renames"),
    *("replace", "rmdir", "scandir", "sendfile", "stat", "statvfs", "symlink", "sync", "truncate", "unlink", "utime"),
    *("walk", "write", "writev"),
}
PATH_METHODS = {
    *("read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "rmdir", "touch", "iterdir", "rglob", "glob"),
    *("is_file", "is_dir", "is_symlink", "samefile", "symlink_to", "hardlink_to", "lstat", "chmod"),
}
PATH_METHODS_WITHOUT_ARGUMENTS = {"exists", "unlink", "stat", "resolve", "open"}
"""Without arguments they are Path's; our file layer has some of the same names, with a path as argument."""


def bindings(source: ast.AST) -> dict[str, str]:
    """What each imported name stands for, dotted."""
    found: dict[str, str] = {}
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def dotted(node: ast.AST, names: dict[str, str]) -> str | None:
    """The full name that an expression refers to, if it begins with an imported name."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        base = dotted(node.value, names)
        return f"{base}.{node.attr}" if base else None
    return None


def is_forbidden(name: str) -> bool:
    first, _, rest = name.partition(".")
    if not rest:
        return False
    if first in MODULES_FORBIDDEN or name in NAMES_FORBIDDEN:
        return True
    if first == "random":
        return rest.split(".")[0] != "Random"
    if within(name, "os.path"):
        return rest.split(".")[-1] in {"exists", "isfile", "isdir", "islink", "getsize", "getmtime", "realpath"}
    return first == "os" and rest.split(".")[0] in OS_FILE_CALLS


def seam_faults(path: str, source: ast.AST) -> list[str]:
    names = bindings(source)
    found = []
    inner = {id(node.value) for node in ast.walk(source) if isinstance(node, ast.Attribute)}
    for node in ast.walk(source):
        if isinstance(node, ast.Name | ast.Attribute) and id(node) not in inner:
            name = dotted(node, names)
            if name is not None and is_forbidden(name):
                found.append(f"{path}:{node.lineno} uses {name}")
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id == "open" and "open" not in names:
            found.append(f"{path}:{node.lineno} calls open()")
        elif dotted(function, names) == "random.Random" and not node.args:
            found.append(f"{path}:{node.lineno} seeds random.Random() from the machine")
        elif isinstance(function, ast.Attribute) and dotted(function, names) is None:
            bare = not node.args and not node.keywords
            if function.attr in PATH_METHODS or (bare and function.attr in PATH_METHODS_WITHOUT_ARGUMENTS):
                found.append(f"{path}:{node.lineno} calls .{function.attr}() of a path")
    return found


def excused(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in SEAM)


def test_time_chance_files_and_threads_come_in_through_the_seam() -> None:
    assert [fault for path in modules(*PACKAGES) if not excused(path) for fault in seam_faults(path, tree(path))] == []


def test_exceptions_to_the_seam_are_needed() -> None:
    special = {"ambry/service/logs.py", "ambry/service/process.py"}  # through other libraries
    for pattern in SEAM:
        if pattern in special:
            assert (ROOT / pattern).is_file(), pattern
            continue
        paths = [path for path in modules(*PACKAGES) if fnmatch(path, pattern)]
        assert any(seam_faults(path, tree(path)) for path in paths), f"{pattern} needs no exception any more"


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.time()",
        "import time as t\nx = t.monotonic",
        "from time import monotonic\nmonotonic()",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.utcnow()",
        "import random\nrandom.random()",
        "from random import choice\nchoice([1])",
        "import random\nrandom.Random()",
        "import random\nrandom.SystemRandom()",
        "import secrets\nsecrets.token_hex()",
        "import uuid\nuuid.uuid4()",
        "import os\nos.urandom(4)",
        "import os\nos.rename('a', 'b')",
        "from os import fsync\nfsync(1)",
        "import os\nos.path.exists('a')",
        "open('a')",
        "def f(path):\n    return path.read_text()",
        "def f(path):\n    path.unlink()",
        "def f(path):\n    with path.open() as file: pass",
        "from pathlib import Path\nPath('a').mkdir()",
        "import socket\nsocket.socket()",
        "import threading\nthreading.Thread(target=print)",
        "import shutil\nshutil.rmtree('a')",
        "import subprocess\nsubprocess.run(['ls'])",
    ],
)
def test_a_way_around_the_seam_would_be_noticed(code: str) -> None:
    assert seam_faults("x.py", ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "import random\ndef f(source: random.Random) -> None:\n    source.random()",
        "import random\nrandom.Random(5)",
        "def f(files, path):\n    files.open(path)\n    files.unlink(path)\n    files.exists(path)",
        "def f(files, path):\n    files.rename(path, path)",
        "def f(clock):\n    clock.monotonic()",
        "import asyncio\nasyncio.get_running_loop().time()",
        "import os\nos.environ.get('X')",
        "from datetime import datetime, timezone\ndatetime.fromtimestamp(5, timezone.utc)",
        "def f(response):\n    response.read()\n    response.write(b'')",
        "import threading\nthreading.Lock()",
    ],
)
def test_what_is_not_a_way_around_the_seam_is_left_alone(code: str) -> None:
    assert seam_faults("x.py", ast.parse(code)) == []


# --- a person's clock decides nothing ---

CLOCKS = {
    **{
        f"ambry/client/{kind}/{name}.py": "a Retry-After that is a date, where its answer has none"
        for kind in ("aio", "sync")
        for name in ("batches", "lifecycles", "transport")
    },
    "ambry/client/cache.py": "the age of files of this machine, by the clock that dates them",
    "ambry/ml/training/outcomes.py": "shown: when a run ended; which run counts goes by its number",
    "ambry/ml/vocab/proposals.py": "shown: when something was proposed",
    "ambry/ml/vocab/review.py": "shown: when somebody reviewed it",
}
CLOCK_CALLS = {f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")} | {
    *("datetime.date.today", "time.time", "time.time_ns", "time.clock_gettime", "time.clock_gettime_ns")
}


def clock_faults(path: str, source: ast.AST) -> list[str]:
    names = bindings(source)
    return [
        f"{path}:{node.lineno} asks this machine for the time; ages, ends and order go by client.store_time()"
        for node in ast.walk(source)
        if (isinstance(node, ast.Name | ast.Attribute) and dotted(node, names) in CLOCK_CALLS)
        or (isinstance(node, ast.Attribute) and node.attr == "wall_ms")
    ]


def test_a_person_s_clock_is_asked_for_what_is_shown_and_for_nothing_that_decides() -> None:
    paths = [path for path in modules("ambry") if path.split("/")[1] in PERSONS]
    found = {path: faults for path in paths if (faults := clock_faults(path, tree(path)))}
    assert [fault for path in sorted({*found} - {*CLOCKS}) for fault in found[path]] == []
    assert sorted({*CLOCKS} - {*found}) == [], "these need no exception any more"
    for code in (
        "from datetime import datetime as d\nd.now()",
        "import time\ntime.time()",
        "def f(c):\n    c.wall_ms()",
    ):
        assert clock_faults("x.py", ast.parse(code))


PERSONS = {"cli", "client", "fs", "ml", "mlflow", "spark", "streams", "tensors"}
"""What of ambry runs in a person's process."""


# --- what stands on a disk of a person's machine while something is made of it goes, however that ends ---

TEMPORARY = {
    "ambry/cli/local_files.py": "a picture, which stays for the viewer that is shown it",
    "ambry/ml/files.py": "an empty one, made to see whether it can be",
    "ambry/ml/training/launchers/spark_task.py": "runs where the rest of ambry is not; remains.py removes what it left",
    "ambry/ml/training/remains.py": "what was staged elsewhere for a job is named in it, and goes before it",
}
TEMPORARY_CALLS = {f"tempfile.{name}" for name in ("mkdtemp", "mkstemp", "TemporaryDirectory", "NamedTemporaryFile")}


def temporary_faults(path: str, source: ast.AST) -> list[str]:
    names = bindings(source)
    return [
        f"{path}:{node.lineno} makes a temporary file that a kill leaves for ever; take ambry/client/scratch.py"
        for node in ast.walk(source)
        if isinstance(node, ast.Name | ast.Attribute) and dotted(node, names) in TEMPORARY_CALLS
    ]


def test_temporary_files_of_a_person_outlive_no_kill() -> None:
    paths = [path for path in modules("ambry") if path.split("/")[1] in PERSONS]
    found = {path: faults for path in paths if (faults := temporary_faults(path, tree(path)))}
    assert [fault for path in sorted({*found} - {*TEMPORARY}) for fault in found[path]] == []
    assert sorted({*TEMPORARY} - {*found}) == [], "these need no exception any more"
    for code in ("import tempfile as t\nt.mkdtemp()", "from tempfile import TemporaryDirectory\nTemporaryDirectory()"):
        assert temporary_faults("x.py", ast.parse(code))


# --- who this process is, and where its home lies ---

HOMES = {
    "ambry/home.py": "asks the system, and bears that it does not know",
    "ambry/cli/aliases.py": "who stands in a history: empty where the system does not say",
    "ambry/ml/training/node_trees.py": "travels alone; node.py has looked whether there is a home to write to",
    "ambry/ml/training/launchers/tony_staging.py": "beside Hadoop's client, which runs for no user without a name",
    "deploy/engines/postgres.py": "the user that PostgreSQL's package makes, or a sentence",
}
HOME_NAMES = {"expanduser", "getuser", "getlogin", "getpwuid", "getpwnam"}


def home_faults(path: str, source: ast.AST) -> list[str]:
    names = bindings(source)
    return [
        f"{path}:{node.lineno} uses {node.attr}"
        for node in ast.walk(source)
        if isinstance(node, ast.Attribute)
        and (node.attr in HOME_NAMES or dotted(node, names) in ("pathlib.Path.home", "pathlib.PosixPath.home"))
    ]


def test_homes_and_users_are_asked_for_where_it_is_borne_that_nobody_knows_them() -> None:
    found = {path: faults for path in modules(*PACKAGES) if (faults := home_faults(path, tree(path)))}
    assert [fault for path in sorted({*found} - {*HOMES}) for fault in found[path]] == []
    assert sorted({*HOMES} - {*found}) == [], "these need no exception any more"
    assert home_faults("x.py", ast.parse("from pathlib import Path as P\nP.home()\nP('a').expanduser()"))


# --- nothing waits for a disk on the event loop ---

BLOCKING = {
    "lookup": "BlobStore, may wait for a page of the index",
    "look_up": "Index, asks its file",
    "changes_since": "BlobStore, may go back to what its file alone has",
    "write_checkpoint": "BlobStore, syncs the log and writes the index",
    "read_image": "BlobStore, reads a whole record from the disk",
    "free_bytes": "BlobStore and Files, statvfs(3)",
}
"""Methods of a replica's store that wait for its disk, by names that nothing else has, and why."""
SAYS_THAT_IT_BLOCKS = ("Blocking", "blocking", "On a disk thread")
NEVER_WAITS_THERE = {
    ("datanode/replication/feed.py", "_collect", "changes_since"): "what lies behind the last checkpoint is in memory",
    (
        "datanode/replication/container_feed.py",
        "_read",
        "changes_since",
    ): "what lies behind the last checkpoint is in memory",
    (
        "datanode/replication/container_watch.py",
        "take",
        "changes_since",
    ): "what lies before is passed over, and told so",
    ("datanode/upkeep/scrubber.py", "_scrub", "lookup"): "it goes to scrub_segment, whose pieces run on disk threads",
}
"""Module, function, what it uses, and why."""


class BlockingUse(NamedTuple):
    """A function, the name of what it uses, and the line."""

    function: str
    name: str
    line: int


def blocking_uses(source: ast.AST) -> list[BlockingUse]:
    """Uses of what blocks that neither hand it to a disk thread nor stand in a function that says that it blocks too."""
    excused: set[int] = set()
    for node in ast.walk(source):
        if isinstance(node, ast.FunctionDef):
            if any(word in (ast.get_docstring(node) or "") for word in SAYS_THAT_IT_BLOCKS):
                excused.update(id(inner) for inner in ast.walk(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "submit":
            excused.update(id(argument) for argument in node.args[:1])
    return [
        BlockingUse(function.name, node.attr, node.lineno)
        for function in ast.walk(source)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and node.attr in BLOCKING and id(node) not in excused
    ]


def uses_outside_the_store() -> dict[tuple[str, str, str], BlockingUse]:
    paths = [path for path in modules("datanode") if not path.startswith("datanode/store/")]
    return {(path, use.function, use.name): use for path in paths for use in blocking_uses(tree(path))}


def test_what_waits_for_a_disk_is_called_on_disk_threads_alone() -> None:
    found = uses_outside_the_store()
    assert [(place, found[place].line, BLOCKING[place[2]]) for place in found if place not in NEVER_WAITS_THERE] == []
    assert [place for place in NEVER_WAITS_THERE if place not in found] == [], "no exception is needed there any more"


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("async def f(store):\n    return store.lookup(b'')", True),
        ("def f(store):\n    entry = store.index.look_up([b''])", True),
        ("async def f(disk, store):\n    await disk.submit(store.lookup, b'')", False),
        ("async def f(disk, store):\n    await disk.submit(print, store.lookup(b''))", True),
        ("def f(store):\n    '''Blocking.'''\n    return store.lookup(b'')", False),
        ("async def f(store):\n    find = store.lookup\n    return find(b'')", True),
    ],
)
def test_a_wait_for_a_disk_on_the_event_loop_would_be_noticed(code: str, seen: bool) -> None:
    assert bool(blocking_uses(ast.parse(code))) is seen


# --- threads ---


def hasty_decoders(path: str, source: ast.AST) -> list[str]:
    """Where msgspec learns of a type at the first call that needs it.

    Once a data node now and then died of SIGSEGV at its start: two threads read the identities of two replicas, and what
    msgspec learns of a type is in sight of a second thread before it is whole (0.22). A decoder made with its module is whole.
    """
    names = bindings(source)
    return [
        f"{path}:{node.lineno} decodes by a type; make a decoder beside the type"
        for node in ast.walk(source)
        if isinstance(node, ast.Call)
        and (dotted(node.func, names) or "").startswith("msgspec.")
        and (dotted(node.func, names) or "").endswith(".decode")
        and any(word.arg == "type" for word in node.keywords)
    ]


def test_decoders_are_made_before_threads_need_them() -> None:
    assert [fault for path in modules(*PACKAGES) for fault in hasty_decoders(path, tree(path))] == []


@pytest.mark.parametrize(
    ("code", "faults"),
    [
        ("import msgspec\nmsgspec.json.decode(b'', type=int)", 1),
        ("from msgspec import msgpack\nmsgpack.decode(b'', type=int, strict=False)", 1),
        ("import msgspec\nmsgspec.json.decode(b'')", 0),
        ("import msgspec\ndecoder = msgspec.json.Decoder(int)\ndecoder.decode(b'')", 0),
    ],
)
def test_a_decoder_made_at_the_first_call_would_be_noticed(code: str, faults: int) -> None:
    assert len(hasty_decoders("x.py", ast.parse(code))) == faults


# --- one name, one thing ---


def test_a_class_has_a_name_of_its_own() -> None:
    places: dict[str, list[str]] = {}
    for path in modules(*PACKAGES):
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


# --- tests mirror the modules ---

CLIENT = "tests/unit/ambry/client/"
MESSAGES = "tests/unit/ambry/protocol/messages/test_messages_base.py"
COVERED_BY = {
    **{
        f"ambry/client/{part}{name}.py": (
            "tests/unit/ambry/cli/test_cli_keys_signed.py",
            "whole commands, against a frontend",
        )
        for part in ("", "aio/", "sync/", "wire/")
        for name in ("keys", "signed")
        if (part, name) != ("", "signed")
    },
    **{
        f"deploy/{name}.py": ("tests/unit/deploy/test_doctor.py", "the command, over directories and processes")
        for name in ("inspection", "cluster_diagnosis", "container_settings")
    },
    "ambry/cli/grants.py": ("tests/unit/ambry/cli/test_cli_keys_signed.py", "whole commands, against a frontend"),
    "ambry/client/secret_file.py": ("tests/unit/ambry/cli/test_cli_keys_signed.py", "keys are written into one"),
    "frontend/router/download.py": (
        "tests/unit/frontend/router/test_router_get.py",
        "what is opened is streamed there",
    ),
    "frontend/router/answers.py": ("tests/unit/frontend/router/test_router_quorum_read.py", "reads are cut there"),
    "frontend/router/opening.py": (
        "tests/unit/frontend/router/test_router_sealing.py",
        "what is sealed is opened there",
    ),
    "frontend/metadata/in_step.py": (
        "tests/unit/frontend/containers/test_containers_sync.py",
        "what a look costs, and who hears of what, of containers and keys alike",
    ),
    "frontend/metadata/pages.py": (
        "tests/unit/frontend/containers/test_containers_sync.py",
        "an account of more containers than a page has",
    ),
    "frontend/metadata/spaces.py": ("tests/conformance/test_metadata_conformance.py", "numbers that both engines keep"),
    "frontend/encryption/key_rows.py": (
        "tests/unit/frontend/encryption/test_encryption_changes.py",
        "rows are written, superseded and read there",
    ),
    "frontend/encryption/provider.py": (
        "tests/unit/frontend/encryption/test_encryption_master.py",
        "what providers have in common, held against there",
    ),
    "frontend/encryption/secret_files.py": (
        "tests/unit/frontend/encryption/test_encryption_held.py",
        "files that others may read, that are not there, or no text",
    ),
    "frontend/access/key_rows.py": (
        "tests/unit/frontend/access/test_access_keys.py",
        "rows are written and read there",
    ),
    "frontend/access/key_sync.py": (
        "tests/unit/frontend/access/test_access_keys.py",
        "two processes know of each other's",
    ),
    "frontend/access/key_use.py": ("tests/unit/frontend/access/test_access_keys.py", "two processes write it down"),
    "datanode/store/writing.py": (
        "tests/conformance/test_fake_files_conformance.py",
        "writes to real files and to those of the simulation, which must be the same",
    ),
    "ambry/protocol/messages/blobs.py": (MESSAGES, "all messages pass the same tests"),
    "ambry/protocol/messages/feed.py": (MESSAGES, "all messages pass the same tests"),
    "ambry/protocol/messages/metadata.py": (MESSAGES, "all messages pass the same tests"),
    "ambry/protocol/messages/replication.py": (MESSAGES, "all messages pass the same tests"),
    "ambry/protocol/messages/segments.py": (MESSAGES, "all messages pass the same tests"),
    "ambry/protocol/messages/upkeep.py": (MESSAGES, "all messages pass the same tests"),
    "ambry/service/metrics.py": (
        "tests/unit/ambry/service/test_admin.py",
        "only names, buckets and a rendering, which /metrics shows",
    ),
    "frontend/http/route.py": (
        "tests/unit/frontend/rest/test_frontend_rest_routes.py",
        "values and a protocol: every route of the API is walked",
    ),
    **{
        f"frontend/metadata/{name}.py": (
            "tests/conformance/test_metadata_conformance.py",
            "what a metadata store is: every engine passes the same tests",
        )
        for name in (
            *("store", "checks", "listing", "queries", "waiting", "work", "sqlite_reads", "sqlite_writes"),
            *("postgres_listen", "postgres_pool", "postgres_work", "postgres_writer"),
        )
    },
    **{
        f"frontend/rest/batch_{name}.py": (
            "tests/unit/frontend/rest/test_frontend_rest_batch.py",
            "parts of one thing: every form and every kind of part is read back from whole answers",
        )
        for name in ("forms", "items", "names", "parts", "quick", "read")
    },
    **{
        f"frontend/rest/{name}.py": (
            "tests/unit/frontend/rest/test_frontend_rest_openapi.py",
            "it is read as it is served",
        )
        for name in ("api_pages", "docs_page")
    },
    "frontend/router/context.py": (
        "tests/unit/frontend/router/test_router_replicas.py",
        "only puts together what the others test",
    ),
    "datanode/store/changes.py": (
        "tests/unit/datanode/store/test_index.py",
        "the changes of an index are read through it",
    ),
    "datanode/store/tables.py": (
        "tests/conformance/test_tables_conformance.py",
        "a protocol: LMDB's tables and simulated ones pass the same tests",
    ),
    "datanode/replication/comparison.py": (
        "tests/unit/datanode/replication/test_comparer.py",
        "one pair of replicas is compared in whole nodes",
    ),
    "datanode/replication/bootstrap_copy.py": (
        "tests/unit/datanode/replication/test_bootstrap.py",
        "one replica is copied in whole nodes",
    ),
    "datanode/handlers/segments.py": (
        "tests/unit/datanode/replication/test_bootstrap_source.py",
        "hands requests on; whole nodes are asked",
    ),
    "datanode/metrics.py": ("tests/unit/datanode/handlers/test_handlers_counting.py", "only names"),
    "datanode/__main__.py": ("tests/integration/test_processes.py", "puts a process together; tested as a process"),
    **{
        f"ambry/cli/{name}.py": ("tests/unit/ambry/cli/test_cli_blobs.py", "every test of it is a whole command")
        for name in ("output",)
    },
    **{
        f"ambry/cli/{name}.py": ("tests/unit/ambry/cli/test_cli_copies.py", "every step is taken by whole commands")
        for name in ("listing", "transfers")
    },
    **{
        f"ambry/cli/{name}.py": ("tests/unit/ambry/cli/test_cli_folders.py", "whole commands on the same folders")
        for name in ("reads", "removals")
    },
    **{
        f"ambry/client/{twin}/{name}.py": (CLIENT + test, "both clients pass the same tests")
        for twin in ("aio", "sync")
        for name, test in (
            ("client", "test_client_twins.py"),
            ("file_uploads", "test_client_file_uploads.py"),
            ("upload_session", "test_client_upload_session.py"),
            ("blobs", "test_client_get.py"),
            ("calls", "test_client_get.py"),
            ("health", "test_client_get.py"),
            ("reader", "test_client_get.py"),
            ("transport", "test_client_get.py"),
            ("waiting", "test_client_get.py"),
        )
    },
    **{
        f"frontend/router/{name}.py": ("tests/unit/frontend/router/test_router_put.py", "the pieces of a put")
        for name in ("records", "chunk_puts", "commit", "upload_age")
    },
    **{
        f"frontend/{name}.py": (
            "tests/unit/frontend/uploads/test_uploads_ending.py",
            "sessions from their first part to their end",
        )
        for name in ("router/rehash", "uploads/parts", "uploads/completion", "uploads/janitor")
    },
    **{
        f"frontend/{name}.py": ("tests/unit/frontend/rest/test_frontend_rest_named.py", "names over HTTP")
        for name in ("names/intents", "rest/named_list", "rest/named_pages", "rest/named_paths")
    },
    **{
        f"frontend/{name}.py": ("tests/unit/frontend/rest/test_frontend_rest_datasets.py", "datasets over HTTP")
        for name in ("datasets/kept", "datasets/rows", "datasets/retention", "rest/dataset_versions")
    },
    "frontend/rest/upload_headers.py": (
        "tests/unit/frontend/rest/test_frontend_rest_upload.py",
        "what headers of uploads say",
    ),
    **{
        f"frontend/{name}.py": ("tests/unit/frontend/rest/test_frontend_rest_keyed.py", "keys over HTTP")
        for name in ("idempotency/rows", "rest/stream")
    },
    **{
        f"ambry/tensors/{name}.py": ("tests/integration/test_tensors.py", "models against real processes")
        for name in ("file", "model")
    },
    **{
        f"ambry/client/{twin}/caching.py": (CLIENT + "test_client_cache.py", "blobs are kept by both clients")
        for twin in ("aio", "sync")
    },
    "ambry/mlflow/artifacts.py": (
        "tests/integration/test_mlflow.py",
        "MLflow itself, and its server, against real processes",
    ),
    **{
        f"ambry/client/{name}.py": (CLIENT + "test_client_downloads.py", "sections of blobs come into files")
        for name in ("aio/downloads", "sync/downloads", "gathering")
    },
    **{
        f"ambry/client/{twin}/{name}.py": (CLIENT + "test_client_files.py", "blobs as files, through both clients")
        for twin in ("aio", "sync")
        for name in ("files", "writing")
    },
    "ambry/client/part_file.py": ("tests/unit/ambry/client/test_client_get.py", "files that downloads make"),
    **{
        f"ambry/fs/{name}.py": (
            "tests/integration/test_fsspec_files.py",
            "files by URL against real processes; fsspec's own suites: test_fsspec_suites.py",
        )
        for name in ("entries", "file", "filesystem", "listing")
    },
    "frontend/uploads/leftovers.py": (
        "tests/unit/frontend/uploads/test_uploads_sessions.py",
        "sessions that ended, and pages of those there are",
    ),
    "frontend/uploads/open_session.py": (
        "tests/unit/frontend/uploads/test_uploads_sessions.py",
        "every session there is one",
    ),
    **{
        f"frontend/{name}.py": ("tests/unit/frontend/rest/test_frontend_rest_stitch.py", "chunks over HTTP")
        for name in ("uploads/stitching", "rest/new_session")
    },
    **{
        f"frontend/following/{name}.py": (
            "tests/unit/frontend/following/test_following_remote.py",
            "whole datacenters ask each other over sockets",
        )
        for name in ("answers", "datacenters", "port", "wire")
    },
    **{
        f"ambry/{name}.py": (
            "tests/integration/test_sdk_changes.py",
            "both clients and the command against real processes",
        )
        for name in (
            "client/aio/changes",
            "client/sync/changes",
            "client/wire/changes",
        )
    },
    "ambry/cli/publishing.py": ("tests/integration/test_streams_kafka.py", "the command against a real broker"),
    "frontend/rest/changes_forms.py": (
        "tests/unit/frontend/rest/test_frontend_rest_changes.py",
        "every form is read back from whole answers",
    ),
    "frontend/services.py": (
        "tests/unit/frontend/rest/test_frontend_rest_sessions.py",
        "put together, and called over HTTP",
    ),
    "ambry/network/responding.py": (
        "tests/unit/ambry/network/test_serving.py",
        "every answer of a connection that serves",
    ),
    "ambry/cli/many.py": ("tests/integration/test_sdk_batches.py", "whole commands against real processes"),
    **{
        f"ambry/client/{twin}/batches.py": (
            "tests/integration/test_sdk_batches.py",
            "both clients against real processes; what they send and read is in wire/batches.py",
        )
        for twin in ("aio", "sync")
    },
    **{
        f"ambry/ml/training/{name}.py": (
            "tests/integration/test_training.py",
            "torch itself, whole jobs against real processes",
        )
        for name in ("store_files", "torch_checkpoints")
    },
    "ambry/ml/training/current.py": (
        "tests/unit/ambry/ml/training/test_training_submitting.py",
        "scripts ask for it, in whole jobs",
    ),
    **{
        f"ambry/ml/training/launchers/{name}.py": (
            "tests/unit/ambry/ml/training/launchers/test_launchers_tony.py",
            "a part of following a job and of ending it",
        )
        for name in ("yarn_logs", "tony_staging")
    },
    **{
        f"ambry/ml/training/launchers/{name}.py": (
            "tests/unit/ambry/ml/training/launchers/test_launchers_spark.py",
            "the parts of one launcher; whole jobs on Spark: tests/integration/test_training_engines.py",
        )
        for name in ("spark_driver", "spark_task")
    },
    "ambry/ml/training/launchers/choice.py": (
        "tests/unit/ambry/ml/training/launchers/test_launchers_torchrun.py",
        "every engine by its name",
    ),
    "ambry/spark/reading.py": ("tests/integration/test_spark.py", "whole queries of Spark itself"),
    **{
        f"ambry/spark/{name}.py": ("tests/integration/test_spark_photon.py", "whole models trained by Spark itself")
        for name in ("glmix", "training_rows")
    },
    "ambry/cli/photon_spark.py": ("tests/integration/test_spark_photon.py", "whole models trained by Spark itself"),
    "ambry/ml/experiments/checks.py": (
        "tests/unit/ambry/ml/experiments/test_experiments_document.py",
        "what a document says of its fields",
    ),
    "ambry/ml/experiments/columns.py": (
        "tests/unit/ambry/ml/experiments/test_experiments_evaluation.py",
        "rows that can be evaluated, and those that cannot",
    ),
    **{
        f"ambry/ml/serving/{name}.py": (
            "tests/unit/ambry/ml/serving/test_serving_app.py",
            "a service over HTTP, with models in a store",
        )
        for name in ("feature_log", "limits", "metrics", "served", "service")
    },
    **{
        f"ambry/ml/serving/{name}.py": (
            "tests/unit/ambry/ml/serving/test_serving_inference.py",
            "whole requests, as they are sent",
        )
        for name in ("pieces", "tensors")
    },
    "ambry/ml/models/columns.py": (
        "tests/unit/ambry/ml/serving/test_serving_inference.py",
        "inputs of whole requests, as they are sent",
    ),
    "ambry/ml/experiments/following.py": (
        "tests/unit/ambry/ml/serving/test_serving_app.py",
        "a ramp and an end reach a service that runs",
    ),
    "ambry/ml/watching.py": (
        "tests/unit/ambry/ml/models/test_models_publishing.py",
        "an alias is followed, through models that are broken",
    ),
    **{
        f"ambry/ml/health/{name}.py": (f"tests/unit/ambry/ml/health/test_health_{test}.py", why)
        for name, test, why in (
            ("cells", "summaries", "every kind of column is summarised"),
            ("report", "comparison", "what a comparison found is drawn"),
        )
    },
    **{
        f"ambry/ml/models/{name}.py": ("tests/unit/ambry/ml/models/test_models_publishing.py", why)
        for name, why in (
            ("loading", "what was published is loaded"),
            ("reading", "every kind that is light; the heavy ones in tests/integration"),
        )
    },
    "ambry/ml/snapshots/grown.py": (
        "tests/unit/ambry/ml/sources/test_sources_alike.py",
        "the same answer from every source, by older and by newer definitions",
    ),
    **{
        f"ambry/ml/sources/{name}.py": (f"tests/unit/ambry/ml/sources/test_sources_{test}.py", why)
        for name, test, why in (
            ("answers", "reading", "what all sources answer alike"),
            ("avro", "reading", "the same answer as from the others"),
            ("lmdb_cells", "reading", "the same answer as from the others"),
            ("parquet", "reading", "the same answer as from the others"),
            ("snapshot", "reading", "the same answer as from the others"),
            ("reader", "alike", "each refuses what must not be served from it"),
            ("sql", "reading", "the same answer as from the others"),
        )
    },
    "ambry/ml/snapshots/json_cells.py": (
        "tests/unit/ambry/cli/test_cli_snapshots.py",
        "whole commands read and write files of every kind",
    ),
    **{
        f"ambry/ml/snapshots/{name}.py": (f"tests/unit/ambry/ml/snapshots/test_snapshots_{test}.py", why)
        for name, test, why in (
            ("aligned", "arrays", "where the numbers of batches lie"),
            ("asked", "writing", "what is refused before anything is written, and read"),
            ("cells", "columns", "what is dense and what is sparse, there and back"),
            ("defaults", "reading", "entities that are not there"),
            ("index", "reading", "entities are read by key"),
            ("rows", "reading", "frames of every kind make the same snapshot"),
            ("schema", "columns", "every type and layout"),
        )
    },
    **{
        f"ambry/ml/tracking/{name}.py": (
            "tests/integration/test_mlflow_registry.py",
            "MLflow's own client and ours, against real processes",
        )
        for name in ("catalogue", "entities", "model_artifacts", "publishing", "registry")
    },
    **{
        f"ambry/ml/vocab/{name}.py": ("tests/unit/ambry/ml/vocab/test_vocab_proposals.py", why)
        for name, why in (
            ("document", "what is proposed and decided is read again"),
            ("review", "what was proposed is accepted and rejected"),
        )
    },
    **{
        f"ambry/{path}.py": (
            "tests/integration/test_vocab_suggestions.py",
            "trained, published and asked by the command",
        )
        for path in ("cli/relations", "ml/vocab/encoder", "ml/vocab/suggestions")
    },
    **{
        f"ambry/ml/features/{name}.py": (f"tests/unit/ambry/ml/features/test_features_{test}.py", why)
        for name, test, why in (
            ("compatibility", "publishing", "what may be published is what it decides"),
            ("definitions", "reading", "values that reading makes and writing takes"),
            ("text", "reading", "every place and sentence of a refusal"),
            ("tree", "metadata", "trees are read from files"),
            ("wheel", "metadata", "a tree is built, installed and read again"),
            ("writing", "reading", "what is written is read as the same"),
        )
    },
    **{
        f"ambry/{name}.py": (
            "tests/integration/test_upload_files.py",
            "both clients and the command against real processes",
        )
        for name in (
            "client/aio/uploads",
            "client/sync/uploads",
            "client/wire/uploads",
            "client/sections",
            "client/sending",
            "client/stopping",
            "cli/puts",
            "cli/uploads",
        )
    },
    **{
        f"ambry/client/{twin}/accounts.py": (
            "tests/integration/test_accounts.py",
            "both clients against real processes; what they send and read is in wire/accounts.py",
        )
        for twin in ("aio", "sync")
    },
    **{
        f"ambry/client/{part}/{name}.py": (CLIENT + test, "both clients against a frontend with a metadata store")
        for part in ("aio", "sync", "wire")
        for name, test in (
            ("aliases", "test_client_datasets.py"),
            ("datasets", "test_client_datasets.py"),
            ("lifecycles", "test_client_names.py"),
            ("names", "test_client_names.py"),
            ("pager", "test_client_names.py"),
        )
        if part != "wire" or name in ("datasets", "names")
    },
    "ambry/cli/outcomes.py": (
        "tests/unit/ambry/cli/test_cli_experiments.py",
        "outcomes of every command that takes them",
    ),
    "ambry/cli/aliases.py": (
        "tests/unit/ambry/cli/test_cli_datasets.py",
        "a model is published, promoted and rolled back",
    ),
    "ambry/client/wire/encryption.py": (CLIENT + "test_client_encryption.py", "pure parts of keys of containers"),
    "ambry/client/aio/encryption.py": (CLIENT + "test_client_encryption.py", "against a frontend with a provider"),
    "ambry/client/sync/encryption.py": (
        "tests/unit/ambry/cli/test_cli_encryption.py",
        "the command against a frontend with a provider",
    ),
    "ambry/client/wire/accounts.py": (CLIENT + "test_client_accounts.py", "pure parts of accounts"),
    "ambry/client/wire/batches.py": (CLIENT + "test_client_batches.py", "pure parts of batches"),
    "ambry/client/aio/pacing.py": (CLIENT + "test_client_put.py", "every kind of body is sent"),
    "ambry/client/sync/crew.py": (CLIENT + "test_client_sync_crew.py", "threads of the blocking client"),
    "ambry/durability.py": ("tests/unit/ambry/rest/test_rest_values.py", "the words for it"),
    "ambry/client/wire/head.py": (CLIENT + "test_client_head.py", "heads as bytes"),
    "ambry/client/sync/connection.py": (CLIENT + "test_client_sync_connection.py", "answers in pieces, over sockets"),
    "ambry/client/sync/pool.py": (CLIENT + "test_client_sync_transport.py", "threads, forks and restarted servers"),
    "ambry/client/transfer.py": (CLIENT + "test_client_get.py", "resumed and parallel transfers"),
    "ambry/client/sources.py": (CLIENT + "test_client_put.py", "every kind of source is put"),
    "ambry/client/options.py": (CLIENT + "test_client_core.py", "pure parts of the core"),
    "ambry/client/given_options.py": (CLIENT + "test_client_core.py", "pure parts of the core"),
    "ambry/client/model.py": (CLIENT + "test_client_core.py", "pure parts of the core"),
    "ambry/client/retry.py": (CLIENT + "test_client_core.py", "pure parts of the core"),
    "ambry/client/wire/usage.py": (CLIENT + "test_client_usage.py", "its answers"),
    **{
        f"ambry/client/wire/{name}.py": (CLIENT + "test_client_core.py", "pure parts of the core")
        for name in ("blobs", "health", "json_answer", "json_request", "message", "refusals")
    },
}
"""Module -> the test that covers it under another name, and why."""


def has_code(source: ast.Module) -> bool:
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in source.body)


def mirrors(path: str) -> list[Path]:
    """The tests of a module: below tests/unit, in the same directory, with the module's name in theirs."""
    module = Path(path)
    name = module.stem.strip("_")
    return sorted((ROOT / "tests" / "unit" / module.parent).glob(f"test_*{name}*.py"))


def test_every_module_has_a_test_that_mirrors_it() -> None:
    missing = [
        path
        for path in modules("ambry", "datanode", "frontend")
        if Path(path).name != "__init__.py" and has_code(tree(path)) and path not in COVERED_BY and not mirrors(path)
    ]
    assert missing == [], "\nno test mirrors these:\n" + "\n".join(missing)


def test_exceptions_to_the_mirror_are_needed_and_true() -> None:
    stale = [path for path in COVERED_BY if not (ROOT / path).is_file() or mirrors(path)]
    assert stale == []
    assert [test for test, _ in COVERED_BY.values() if not (ROOT / test).is_file()] == []


def test_tests_of_engines_lie_where_make_test_engines_looks() -> None:
    """It and `make test-engine-faults` collect a directory each: collecting all takes as long as Spark takes to start."""
    here = Path(__file__).relative_to(ROOT).as_posix()
    marked = {path for path in modules("tests") if "pytest.mark.engine" in (ROOT / path).read_text("utf-8")} - {here}
    places = {path.split("/")[1] for path in marked}
    assert places == {"fault", "integration"}, sorted(marked)


def test_test_files_have_names_of_their_own() -> None:
    """There are no packages below tests/, so two files of one name would hide each other."""
    seen: dict[str, str] = {}
    twice = []
    for path in modules("tests"):
        name = Path(path).name
        if name.startswith("test_"):
            if name in seen:
                twice.append(f"{path} and {seen[name]}")
            seen[name] = path
    assert twice == []


# --- the root ---

AT_THE_ROOT = {
    *(".ci", ".containerignore", ".editorconfig", ".gitignore", ".pre-commit-config.yaml"),
    *("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md"),
    *("ambry", "configs", "datanode", "deploy", "docs", "frontend", "pyproject.toml", "tests", "tools", "typings"),
}


def test_nothing_unknown_stands_at_the_root() -> None:
    """What a command wrote into the working directory is committed easily, with all the rest."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("only git says what belongs here, and what somebody keeps beside it")
    done = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"git does not say what belongs here: {done.stderr.strip()}")
    assert {path.split("/")[0] for path in done.stdout.split("\0") if path} == AT_THE_ROOT


# --- size ---

LINES_MAX = 400
LINES_MAX_IN = dict.fromkeys(("ambry/client/", "ambry/cli/", "datanode/", "frontend/"), 350)
"""Where the next features arrive, there is room for them."""
LONG_FILES: dict[str, str] = {"ambry/errors.py": "all errors and their codes, which must differ"}
"""Path -> why it is better in one piece."""


def lines_max(path: str) -> int:
    return next((bound for room, bound in LINES_MAX_IN.items() if path.startswith(room)), LINES_MAX)


def test_no_file_grows_without_bound() -> None:
    long = {
        path: count
        for path in modules(*PACKAGES)
        if (count := len((ROOT / path).read_text("utf-8").splitlines())) > lines_max(path)
    }
    assert {path: count for path, count in long.items() if path not in LONG_FILES} == {}
    assert [path for path in LONG_FILES if path not in long] == []


# --- one clock, one order ---

CLOCKED = ("datanode", "ambry/network")
ORDERLESS_BUT_STABLE = {"int"}
"""Sets of these have the same order in every run."""


def blocking_waits(path: str, source: ast.AST) -> list[str]:
    """Where a thread is put to sleep: nobody can do anything else on it then, and a simulation's time does not pass for it."""
    return [
        f"{path}:{node.lineno} sleeps"
        for node in ast.walk(source)
        if isinstance(node, ast.Attribute)
        and node.attr == "sleep"
        and dotted(node, bindings(source)) != "asyncio.sleep"
    ]


def set_names(source: ast.AST) -> set[str]:
    """Variables and attributes that are annotated as sets, but for those of ORDERLESS_BUT_STABLE."""
    found: set[str] = set()
    for node in ast.walk(source):
        if isinstance(node, ast.AnnAssign):
            name, annotation = ast.unparse(node.target), ast.unparse(node.annotation)
        elif isinstance(node, ast.arg) and node.annotation is not None:
            name, annotation = node.arg, ast.unparse(node.annotation)
        else:
            continue
        outer, _, inner = annotation.partition("[")
        if outer in ("set", "frozenset") and inner.removesuffix("]") not in ORDERLESS_BUT_STABLE:
            found.add(name)
    return found


def orders_of_chance(path: str, source: ast.AST) -> list[str]:
    """Where the members of such a set are taken one after the other: what is done with them has an order of chance."""
    names = set_names(source)
    taken: list[ast.expr] = []
    for node in ast.walk(source):
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            taken.append(node.iter)
        elif isinstance(node, ast.Starred):
            taken.append(node.value)
    found = []
    for expression in taken:
        while (
            isinstance(expression, ast.Call)
            and isinstance(expression.func, ast.Name)
            and expression.func.id in ("list", "tuple", "enumerate", "iter", "reversed")
            and expression.args
        ):
            expression = expression.args[0]
        if ast.unparse(expression) in names:
            found.append(f"{path}:{expression.lineno} goes through the set {ast.unparse(expression)}")
    return found


def test_no_thread_of_a_data_node_sleeps() -> None:
    assert [fault for path in modules(*CLOCKED) for fault in blocking_waits(path, tree(path))] == []


def test_architecture_tells_who_holds_a_lock_over_an_await() -> None:
    text = ARCHITECTURE.read_text("utf-8")
    locked = [path for path in modules(*PACKAGES) if "asyncio.Lock" in (ROOT / path).read_text("utf-8")]
    assert [path for path in locked if f"`{path}`" not in text] == []


def test_nothing_is_done_in_an_order_of_chance() -> None:
    assert [fault for path in modules(*CLOCKED) for fault in orders_of_chance(path, tree(path))] == []


@pytest.mark.parametrize(
    "code",
    [
        "class A:\n    x: set[Task] = set()\n    def f(self) -> None:\n        for y in self.x: y()\nself.x: set[Task] = set()",
        "def f(items: set[bytes]) -> None:\n    for item in list(items): send(item)",
        "names: set[str] = set()\ngather(*names)",
        "names: frozenset[str] = frozenset()\nfound = [name for name in names]",
    ],
)
def test_an_order_of_chance_would_be_noticed(code: str) -> None:
    assert orders_of_chance("datanode/x.py", ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "def f(items: set[bytes]) -> None:\n    for item in sorted(items): send(item)",
        "n: set[int] = set()\nfor x in n: pass",
    ],
)
def test_an_order_that_is_always_the_same_is_none_of_chance(code: str) -> None:
    assert orders_of_chance("datanode/x.py", ast.parse(code)) == []


@pytest.mark.parametrize("code", ["clock.sleep(1)", "import time\ntime.sleep(1)", "self._clock.sleep(0)"])
def test_a_thread_that_sleeps_would_be_noticed(code: str) -> None:
    assert blocking_waits("datanode/x.py", ast.parse(code))
