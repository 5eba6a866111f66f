"""The command as a whole: what it lists, what it loads, and what it says when a library is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import ambry
from ambry.cli.main import cli

HEAVY = {"aiohttp", "asyncio", "http.client", "lmdb", "msgspec", "rich", "structlog", "xxhash"}


def shown(*args: str) -> str:
    return " ".join(CliRunner().invoke(cli, args, prog_name="ambry").output.split())


def process(code: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(ambry.__file__).parents[1])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)


def test_help_lists_the_commands_of_every_package_and_the_exit_codes() -> None:
    for word in ("put Store files", "undelete", "cluster Run a whole cluster", "store Look into", "0 ok", "6 checksum"):
        assert word in shown("--help")


def test_listing_the_commands_loads_none_of_what_they_need() -> None:
    code = (
        "import json, sys\nfrom ambry.cli.main import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    loaded = set(json.loads(process(code).stdout.splitlines()[-1]))
    assert {"datanode.commands", "deploy.commands", "ambry.cli.blobs"} <= loaded
    assert loaded & HEAVY - {"xxhash"} == set()


def test_an_installation_without_the_servers_packages_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deploy.commands", None)
    assert "cluster (is not part of this installation" in shown("--help")
    missing = CliRunner().invoke(cli, ["cluster", "start", "--x"], prog_name="ambry")
    assert missing.exit_code == 1 and "installation" in missing.stderr


def test_a_library_that_a_command_lacks_is_named_with_the_extra_that_brings_it(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['lmdb'] = None\nfrom ambry.cli.main import cli\n"
        f"cli.main(['store', 'inspect', {str(tmp_path)!r}])"
    )
    done = process(code)
    assert done.returncode == 1
    assert done.stderr == "Error: `ambry store` needs lmdb: pip install 'ambry[server]'\n"


@pytest.mark.parametrize(("library", "extra"), [("pyarrow", "features"), ("scipy", "experiments")])
def test_a_library_of_an_extra_is_named_with_that_one(tmp_path: Path, library: str, extra: str) -> None:
    """It was told to install the server."""
    for name in ("before", "after"):
        (tmp_path / f"{name}.csv").write_text("a\n" + "1\n2\n" * 60)
    tables = [str(tmp_path / f"{name}.csv") for name in ("before", "after")]
    modules = [library, f"{library}.stats"] if library == "scipy" else [library]
    code = (
        f"import sys\nfor name in {modules!r}: sys.modules[name] = None\nfrom ambry.cli.main import cli\n"
        f"cli.main(['health', 'compare', *{tables!r}])"
    )
    assert f"`ambry health` needs {library}: pip install 'ambry[{extra}]'" in process(code).stderr


def test_what_a_library_says_of_one_that_it_lacks_is_shown(tmp_path: Path) -> None:
    """fsspec names s3fs in its sentence alone; it was told to install the server."""
    code = (
        "import sys\nsys.modules['s3fs'] = None\nfrom ambry.cli.main import cli\n"
        f"cli.main(['photon', 'train', 's3://bucket/rows.avro', '--task', 'logistic', '-o', {str(tmp_path / 'm')!r}])"
    )
    done = process(code)
    assert done.returncode == 1
    assert done.stderr == "Error: `ambry photon` needs another library: Install s3fs to access S3\n"


def test_a_library_that_is_there_and_cannot_be_loaded_is_none_to_install() -> None:
    """Where memory was short it said `pip install _fblas`."""
    code = (
        "import sys\nfrom ambry.cli import main\n"
        "def load(_): raise ImportError('libgomp.so.1: cannot allocate memory in static TLS', name='_fblas')\n"
        "main.importlib.import_module = load\nmain.cli.main(['put', 'x'])"
    )
    done = process(code)
    assert done.returncode == 1 and "cannot load _fblas (libgomp.so.1: cannot allocate" in done.stderr
    assert "install" not in done.stderr
    done = process(
        code.replace("ImportError('libgomp.so.1: cannot allocate memory in static TLS', name='_fblas')", "MemoryError")
    )
    said = "ambry: Cannot allocate memory; end something else here, or ask for less at once\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("ImportError()", "`ambry put` cannot load a library: look at its release"),
        (
            "ImportError('numpy.core.multiarray\\nfailed')",
            "cannot load a library (numpy.core.multiarray failed): look at",
        ),
        ("ModuleNotFoundError()", "`ambry put` cannot load a library: look at its release"),
        ("ImportError('x', name='x')", "cannot load x (x): look at"),
        ("ImportError(name='x')", "cannot load x: look at"),
        ("RecursionError('maximum recursion depth exceeded')", "nested deeper than this can follow; look at the file"),
        ("OSError(28, 'No space left on device', 'x')", "ambry: x: No space left on device; make room there"),
        ("OSError(24, 'Too many open files')", "ambry: Too many open files; raise the limit (ulimit -n)"),
        (
            'RuntimeError("can\'t start new thread")',
            "ambry: no more threads can be begun here; end something else, or raise",
        ),
        ("BrokenPipeError(32, 'Broken pipe', 'x')", "ambry: x: Broken pipe"),
    ],
)
def test_what_a_command_fails_with_is_a_sentence_that_says_what_to_do(raised: str, said: str) -> None:
    """An ImportError without words was "needs another library: ImportError", and a RecursionError a traceback."""
    code = (
        "import sys\nfrom ambry.cli import main\n"
        f"def load(_): raise {raised}\n"
        "main.importlib.import_module = load\nmain.cli.main(['put', 'x'])"
    )
    done = process(code)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


def test_a_command_that_nobody_has_is_a_usage_error() -> None:
    done = CliRunner().invoke(cli, ["cluser"], prog_name="ambry")
    assert done.exit_code == 2 and "No such command 'cluser'. Did you mean 'cluster'?" in done.output
    done = CliRunner().invoke(cli, ["xyzzy"], prog_name="ambry")
    assert done.exit_code == 2 and "xyzzy" in done.output and "mean" not in done.output


def loaded_by(code: str) -> set[str]:
    """The modules that are loaded at the end, beyond those of Python itself, by their first names."""
    listing = "import sys; before = set(sys.modules)\n" + code
    listing += "\nprint('\\n' + ' '.join({name.partition('.')[0] for name in set(sys.modules) - before}))"
    done = process(listing)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_ambry_loads_no_library() -> None:
    """60 ms are its bound: a process that only names a class of it pays for no library and no socket."""
    assert loaded_by("import ambry") <= {"ambry", "typing", "_typing", "collections", "__future__"}


def test_the_version_is_told_without_click() -> None:
    """120 ms are its bound; click alone takes half of them."""
    code = "sys.argv = ['ambry', '--version']\nfrom ambry.cli.entry import main\nmain()"
    assert loaded_by(code) <= {"ambry", "typing", "_typing", "collections", "__future__"}
    told = process(f"import sys; {code.replace(chr(10), '; ')}").stdout
    assert (
        told
        == CliRunner().invoke(cli, ["--version"], prog_name="ambry").output
        == f"ambry, version {ambry.__version__}\n"
    )


def test_a_command_of_the_client_loads_nothing_of_the_server_and_no_event_loop() -> None:
    code = "from ambry.cli.main import cli\ntry: cli.main(['stat', 'x', '--retries', '0', '--endpoint', 'http://127.0.0.1:1'])\n"
    code += "except SystemExit: pass"
    assert not loaded_by(code) & {"aiohttp", "lmdb", "structlog", "rich", "frontend", "datanode", "deploy"}


ROOT = Path(__file__).parents[4]
NAMED = re.compile(r"`ambry ([a-z][^`\n]*)`")


def commands_named() -> list[tuple[str, list[str]]]:
    """What messages, help and pages tell to type, by their file."""
    files = [path for part in ("ambry", "deploy", "frontend", "datanode") for path in (ROOT / part).rglob("*.py")]
    files += [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs/guide").glob("*.md")]
    return [(str(path.relative_to(ROOT)), text.split()) for path in files for text in NAMED.findall(path.read_text())]


def test_commands_that_are_named_are_there() -> None:
    """`ambry list` was named, and is `ambry ls`."""
    elsewhere = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["ambry.commands"])
    named = commands_named()
    missing = []
    for file, words in named:
        at: click.Command | None = cli
        for word in words:
            if not isinstance(at, click.Group) or not re.fullmatch(r"[a-z][a-z-]*", word) or word in elsewhere:
                break
            at = at.get_command(click.Context(cli), word)
            if at is None:
                missing.append(f"{file}: ambry {' '.join(words)}")
    assert len(named) > 200
    assert missing == []
