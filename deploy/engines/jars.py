"""Jars by their coordinates: fetched by Maven into a cache, and compared with the digests that stand here.

A lock (`locks/NAME.lock`) has a line `direct GROUP:ARTIFACT:VERSION` for each that is asked for, and `SHA256  FILE` for each
that Maven brings for them. The cache is a directory of jars whose name has the digest of its lock; it is there whole or not
at all. Which repository they come from is what the person's own Maven says.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ambry.client.tree_removal import remove_tree
from ambry.home import expanded, user_cache
from deploy.directory_lock import locked

LOCKS = Path(__file__).with_name("locks")
CACHE = "AMBRY_ENGINES"
"""The directory of the cache; without it, `ambry/engines` in that of the user (XDG Base Directory Specification)."""
FETCH_TIMEOUT_S = 900.0
TOLD_EVERY_S = 5.0
"""How far it is, so often at most."""
_BROUGHT = re.compile(r"Downloaded from \S+: \S+/([^/\s]+\.jar) ")
_ASKED = re.compile(r"Downloading from \S+: \S+/([^/\s]+\.jar)\s")
_CAUSE = re.compile(
    r"Unknown host [\w.-]+|No space left on device|Permission denied|Read-only file system|PKIX path building failed|"
    r"(?:[Cc]onnect\w*|[Rr]ead) (?:refused|timed out|reset)|Network is unreachable|"
    r"status code: 4\d\d|Could not find artifact \S+|Unsupported class file[^\n]{0,80}|JAVA_HOME[^\n]{0,120}"
)
"""What it is about, in the many lines of Maven."""
_NO_PLUGIN = re.compile(r"No plugin found for prefix '\w+'.*?available from the repositories \[(.*?)\] -> ", re.DOTALL)
"""All that Maven says where it reached no repository, or a wrong one, and has never fetched anything."""
_COORDINATE = re.compile(r"[A-Za-z0-9_.-]+:[A-Za-z0-9_.-]+:[A-Za-z0-9_.-]+")

Tell = Callable[[str], None]


class EngineError(Exception):
    """An engine cannot be had or does not start. The message says what to do."""


@dataclass(frozen=True, slots=True)
class JarLock:
    """What an engine consists of: the coordinates that are asked for, and the SHA-256 of each jar by its file's name."""

    direct: tuple[str, ...]
    digests: dict[str, str]

    @property
    def digest(self) -> str:
        """Of all of it: another lock is another directory."""
        return hashlib.sha256(encode_lock(self).encode()).hexdigest()


def parse_lock(text: str) -> JarLock:
    """Raises ValueError."""
    direct: list[str] = []
    digests: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        first, _, rest = line.partition(" ")
        rest = rest.strip()
        if first == "direct" and _COORDINATE.fullmatch(rest):
            direct.append(rest)
        elif re.fullmatch("[0-9a-f]{64}", first) and rest.endswith(".jar") and "/" not in rest and rest not in digests:
            digests[rest] = first
        else:
            raise ValueError(f"line {number} of the lock is neither `direct GROUP:ARTIFACT:VERSION` nor `SHA256  JAR`")
    if not direct or not digests:
        raise ValueError("the lock names nothing")
    return JarLock(tuple(direct), digests)


def encode_lock(lock: JarLock) -> str:
    """The text of a lock; `parse_lock` reads it."""
    lines = [f"direct {each}" for each in lock.direct]
    lines += [f"{digest}  {name}" for name, digest in sorted(lock.digests.items())]
    return "\n".join(lines) + "\n"


def read_lock(name: str) -> JarLock:
    """Of an engine that there is."""
    return parse_lock((LOCKS / f"{name}.lock").read_text("utf-8"))


def cache_directory() -> Path:
    """Where engines are kept."""
    if said := os.environ.get(CACHE):
        return expanded(said).absolute()  # Maven and engines run in directories of their own.
    return user_cache(os.environ) / "engines"


def kept(name: str) -> Path | None:
    """The directory of an engine's jars, if they were fetched."""
    directory = _directory_of(name, read_lock(name))
    return directory if directory.is_dir() else None


def fetch(name: str, tell: Tell) -> Path:
    """The directory of an engine's jars, every one as its lock says; fetched where it is not there.

    Raises EngineError where they cannot be had or are others than they were.
    """
    lock = read_lock(name)
    directory = _directory_of(name, lock)
    if ":" in str(directory):
        raise EngineError(f"{directory} has a colon, which parts paths for Java; name another directory by {CACHE}")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _alone(directory.parent, tell):
        if os.path.lexists(directory):
            if not (wrong := differing(directory, lock)):
                return directory
            tell(f"{name}: not what it was in {directory}: {', '.join(wrong[:5])}; fetched again")
            if directory.is_dir() and not directory.is_symlink():
                remove_tree(directory)
            else:
                directory.unlink(missing_ok=True)
        _remove_halves(directory.parent, name)
        _maven()
        tell(f"{name}: fetching {', '.join(lock.direct)} with Maven, {len(lock.digests)} jars")
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=directory.parent) as made:
            jars = Path(made) / "jars"
            copy_jars(lock.direct, jars, tell=lambda text: tell(f"{name}: {text}"))
            if wrong := differing(jars, lock):
                raise EngineError(
                    f"{name}: what Maven brought is not what was checked before: {', '.join(wrong[:5])}; delete it in Maven's "
                    "own store (~/.m2/repository) and try again. If it comes so again, the repository that Maven uses has "
                    f"another one: look at that, or write the lock anew (`python -m tools.engine_lock {name}`)"
                )
            jars.rename(directory)
    size = sum(path.stat().st_size for path in directory.iterdir())
    tell(f"{name}: {len(lock.digests)} jars, {size / 1e6:.0f} MB, in {directory}")
    return directory


def copy_jars(direct: tuple[str, ...], jars: Path, tell: Tell) -> None:
    """All jars that some coordinates need at run time, into a directory. It tells how far it is. Raises EngineError.

    Maven runs in a session of its own and ends with us, however we end.
    """
    from deploy.local_processes import spawn_program, wait_until  # Not to be loaded by who lists the commands.

    pom, log = jars.with_suffix(".pom.xml"), jars.with_suffix(".log")
    pom.write_text(pom_of(direct), "utf-8")
    command = [_maven(), "--batch-mode", f"--file={pom}", "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    process = spawn_program(command, log=log, directory=pom.parent, environ=os.environ, die_with_parent=True)
    told_s = time.monotonic()

    def ended() -> bool:
        nonlocal told_s
        if time.monotonic() >= told_s + TOLD_EVERY_S:
            told_s = time.monotonic()
            tell(_how_far(log.read_text("utf-8", "replace")))
        return process.poll() is not None

    try:
        if not wait_until(ended, FETCH_TIMEOUT_S, 0.2):
            raise EngineError(f"Maven did not end within {FETCH_TIMEOUT_S:.0f} s; try again, it goes on")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        raise EngineError(
            f"Maven could not fetch {direct[0]} and what it needs: {_why(log.read_text('utf-8', 'replace'))}"
        )


def _maven() -> str:
    """Raises EngineError."""
    for program, what in (("mvn", "Maven (mvn), which fetches engines"), ("java", "Java, which Maven runs in")):
        if shutil.which(program) is None:
            raise EngineError(f"there is no {what}; `make engines` installs it")
    return str(shutil.which("mvn"))


def _how_far(log: str) -> str:
    """What Maven has brought that was not here, and what it waits for."""
    brought, asked = set(_BROUGHT.findall(log)), _ASKED.findall(log)
    waits = next((jar for jar in asked if jar not in brought), "")
    if not brought and not waits:
        return "Maven looks through what it has"
    return f"Maven has brought {len(brought)} files" + (f", and waits for {waits}" if waits else "")


def _why(log: str) -> str:
    """The cause, as far as Maven names one, else the first of its errors."""
    if found := _CAUSE.search(log):
        return f"{found[0]}; see to that, or to Maven's settings (~/.m2/settings.xml), and try again, it goes on"
    if found := _NO_PLUGIN.search(log):
        return (
            f"its own plugin was not to be had from {found[1]}; see to the network, or to Maven's settings "
            "(~/.m2/settings.xml), and try again"
        )
    said = next((line for line in log.splitlines() if "ERROR" in line), "it said nothing")
    return said.replace("[ERROR] ", "").strip()[:400]


def _remove_halves(cache: Path, name: str) -> None:
    """What fetches of an engine that were killed left; nobody else fetches now. What others have in the directory stays."""
    half = re.compile(rf"\.{re.escape(name)}-[a-z0-9_]{{8}}")  # As tempfile names them.
    for left in cache.iterdir():
        if half.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _alone(cache: Path, tell: Tell) -> Iterator[None]:
    """One fetch at a time. Raises EngineError."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(cache, wait_s=1))
        except TimeoutError:
            tell(f"another process fetches into {cache}; waiting for it")
            try:
                stack.enter_context(locked(cache, wait_s=FETCH_TIMEOUT_S))
            except TimeoutError:
                raise EngineError(
                    f"another process has been fetching into {cache} for {FETCH_TIMEOUT_S:.0f} s; "
                    "try again when it is done, or end it"
                ) from None
        yield


def pom_of(direct: tuple[str, ...]) -> str:
    """A project of Maven that needs these."""
    needs = "".join(
        "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>".format(
            *each.split(":")
        )
        for each in direct
    )
    own = "<groupId>ambry</groupId><artifactId>engine</artifactId><version>1</version>"
    head = '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    return f"{head}{own}<dependencies>{needs}</dependencies></project>\n"


def digests_of(jars: Path) -> dict[str, str]:
    """The SHA-256 of each file of a directory, by its name; empty of what is no file, such as a pipe or a directory."""
    found: dict[str, str] = {}
    for path in sorted(jars.iterdir() if jars.is_dir() else ()):
        found[path.name] = ""
        if path.is_file():
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def differing(jars: Path, lock: JarLock) -> list[str]:
    """The files that are not as the lock says: changed, missing, or of somebody else."""
    there = digests_of(jars)
    return sorted(name for name in {*there, *lock.digests} if there.get(name) != lock.digests.get(name))


def _directory_of(name: str, lock: JarLock) -> Path:
    return cache_directory() / f"{name}-{lock.digest[:12]}"
