"""Locks, and what is fetched by them, with a Maven that copies what it is told."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.directory_lock import locked
from deploy.engines import jars
from deploy.engines.jars import EngineError, JarLock, differing, encode_lock, fetch, kept, parse_lock, pom_of
from tests.support.waiting import eventually

NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True)
LOCK = st.builds(
    JarLock,
    st.lists(st.tuples(NAMES, NAMES, NAMES).map(":".join), min_size=1, max_size=4).map(tuple),
    st.dictionaries(
        NAMES.map(lambda name: f"{name}.jar"), st.binary(min_size=32, max_size=32).map(bytes.hex), min_size=1
    ),
)
DIRECT = ("org.example:thing:1.0",)
FILES = {"thing-1.0.jar": b"thing", "other-2.jar": b"other"}

MAVEN = """#!/bin/sh
echo run >> {log}
for word in "$@"; do
    case $word in -DoutputDirectory=*) to=${{word#*=}};; --file=*) grep -q thing "${{word#*=}}" || exit 9;; esac
done
mkdir -p "$to"
{work}
"""


@given(LOCK)
def test_a_lock_is_read_as_it_was_written(lock: JarLock) -> None:
    assert parse_lock(encode_lock(lock)) == lock


@pytest.mark.parametrize(
    "text",
    ["", "direct a:b:1\n", "direct a:b\n" + "0" * 64 + "  x.jar\n", "direct a:b:1\n" + "0" * 63 + "  x.jar\n",
     "direct a:b:1\n" + "0" * 64 + "  ../x.jar\n", "direct a:b:1\n" + ("0" * 64 + "  x.jar\n") * 2],
)  # fmt: skip
def test_what_is_no_lock_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the lock"):
        parse_lock(text)


def test_every_lock_that_there_is_can_be_read() -> None:
    locks = sorted(jars.LOCKS.glob("*.lock"))
    assert {path.stem for path in locks} >= {"kafka", "hadoop", "tony", "samza", "zookeeper"}
    for path in locks:
        lock = parse_lock(path.read_text())
        assert encode_lock(lock) == path.read_text()
        assert all(f"<artifactId>{each.split(':')[1]}</artifactId>" in pom_of(lock.direct) for each in lock.direct)


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its log of runs; the lock of `thing` is one of these files."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "locks").mkdir()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    (tmp_path / "locks" / "thing.lock").write_text(encode_lock(JarLock(DIRECT, digests)))
    monkeypatch.setattr(jars, "LOCKS", tmp_path / "locks")
    monkeypatch.setenv("AMBRY_ENGINES", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    does(tmp_path, "\n".join(f'printf {content.decode()} > "$to/{name}"' for name, content in FILES.items()))
    return tmp_path / "log"


def does(directory: Path, work: str) -> None:
    path = directory / "bin" / "mvn"
    path.write_text(MAVEN.format(log=directory / "log", work=work))
    path.chmod(0o755)


def test_an_engine_is_fetched_once(maven: Path) -> None:
    said: list[str] = []
    assert kept("thing") is None
    found = fetch("thing", said.append)
    assert {path.name: path.read_bytes() for path in found.iterdir()} == FILES
    assert (fetch("thing", said.append), kept("thing")) == (found, found)
    assert maven.read_text() == "run\n" and len(said) == 2 and "2 jars" in said[0]
    assert [path.name for path in found.parent.iterdir()] == [found.name]


def test_a_jar_that_changed_is_fetched_again(maven: Path) -> None:
    said: list[str] = []
    found = fetch("thing", said.append)
    (found / "other-2.jar").write_bytes(b"0ther")
    (found / "strange.jar").write_bytes(b"")
    assert {path.name: path.read_bytes() for path in fetch("thing", said.append).iterdir()} == FILES
    assert "other-2.jar, strange.jar; fetched again" in said[2] and maven.read_text() == "run\nrun\n"


@pytest.mark.parametrize("damage", ["directory", "jar", "dangling", "pipe", "link", "file"])
def test_a_cache_is_repaired_whatever_became_of_it(maven: Path, damage: str) -> None:
    """What is no plain file was a bare error for ever, and a pipe hung."""
    found = fetch("thing", lambda _: None)
    if damage in ("link", "file"):
        found.rename(maven.parent / "moved")
        (maven.parent / "moved" / "other-2.jar").write_bytes(b"0ther")
        found.symlink_to(maven.parent / "moved") if damage == "link" else found.write_bytes(b"")
    else:
        there = found / ("thing-1.0.jar" if damage == "jar" else "strange.jar")
        there.unlink(missing_ok=True)
        if damage in ("directory", "jar"):
            there.mkdir()
        elif damage == "pipe":
            os.mkfifo(there)
        else:
            there.symlink_to("nowhere")
    said: list[str] = []
    assert {path.name: path.read_bytes() for path in fetch("thing", said.append).iterdir()} == FILES
    assert "fetched again" in said[0] and not found.is_symlink()


def test_a_relative_cache_is_where_it_was_said(maven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java looked for it in the directory of the engine, and Maven in its own."""
    monkeypatch.chdir(maven.parent)
    monkeypatch.setenv("AMBRY_ENGINES", "cache/here")
    assert fetch("thing", lambda _: None).parent == maven.parent / "cache" / "here"
    monkeypatch.setenv("HOME", str(maven.parent))
    monkeypatch.setenv("AMBRY_ENGINES", "~/at-home")
    assert fetch("thing", lambda _: None).parent == maven.parent / "at-home"
    monkeypatch.setenv("AMBRY_ENGINES", "a:b")
    with pytest.raises(EngineError, match="has a colon, which parts paths for Java; name another directory by AMBRY_E"):
        fetch("thing", lambda _: None)


def test_what_is_not_what_was_checked_is_refused(maven: Path) -> None:
    does(maven.parent, 'printf evil > "$to/thing-1.0.jar"; printf other > "$to/other-2.jar"')
    with pytest.raises(
        EngineError, match=r"not what was checked before: thing-1\.0\.jar; delete it in Maven's own store"
    ):
        fetch("thing", lambda _: None)
    assert kept("thing") is None and list((maven.parent / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("[WARNING] Could not transfer metadata from central: repo.example: Unknown host repo.example\n[ERROR] No plugin found "
         "for prefix 'dependency' in the current project -> [Help 1]", "Unknown host repo.example; see to that"),
        ("[ERROR] Failed to execute goal: Error copying artifact from a to b: No space left on device -> [Help 1]",
         "No space left on device; see to that, or to Maven's settings"),
        ("[ERROR] Could not transfer a:b:1: Connect to repo:443 failed: Connection refused", "Connection refused; see"),
        (
            "[ERROR] No plugin found for prefix 'dependency' in the current project and in the plugin groups [a] available "
            "from the repositories [local (/m2), x (http://127.0.0.1:9/)] -> [Help 1]",
            r"its own plugin was not to be had from local \(/m2\), x \(http://127.0.0.1:9/\); see to the network",
        ),
        ("[ERROR] no route to the repository", "no route to the repository"),
        ("", "it said nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_fetched_is_told_by_its_cause(maven: Path, said: str, told: str) -> None:
    """Of no network the first error of Maven is that it knows no plugin of its own."""
    does(maven.parent, f"cat <<'END'\n{said}\nEND\nexit 1")
    with pytest.raises(EngineError, match=f"could not fetch org.example:thing:1.0 and what it needs: {told}"):
        fetch("thing", lambda _: None)


@pytest.mark.parametrize(("program", "told"), [("mvn", r"no Maven \(mvn\)"), ("java", "no Java, which Maven runs in")])
def test_without_maven_or_java_nothing_is_said_to_be_fetched(
    maven: Path, monkeypatch: pytest.MonkeyPatch, program: str, told: str
) -> None:
    other = maven.parent / "bin" / ("java" if program == "mvn" else "mvn")
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    if program == "mvn":
        (maven.parent / "bin" / "mvn").unlink()
    monkeypatch.setenv("PATH", str(maven.parent / "bin"))
    said: list[str] = []
    with pytest.raises(EngineError, match=f"there is {told}.*; `make engines` installs it"):
        fetch("thing", said.append)
    assert said == []


def test_two_at_once_fetch_it_once(maven: Path) -> None:
    found: list[Path] = []
    workers = [threading.Thread(target=lambda: found.append(fetch("thing", lambda _: None))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(found) == 4 and len(set(found)) == 1 and maven.read_text() == "run\n"


def test_who_waits_for_another_fetch_is_told(maven: Path) -> None:
    directory = fetch("thing", lambda _: None)
    said: list[str] = []
    with locked(directory.parent):
        worker = threading.Thread(target=lambda: fetch("thing", said.append))
        worker.start()
        eventually(lambda: said, "it is told")
        assert said == [f"another process fetches into {directory.parent}; waiting for it"]
    worker.join(60)
    assert not worker.is_alive() and len(said) == 1


def test_what_a_killed_fetch_left_is_removed_by_the_next(maven: Path) -> None:
    left = maven.parent / "cache" / ".thing-a1_b2c3d"
    other = maven.parent / "cache" / ".thing-of-mine"
    other.mkdir(parents=True)
    (left / "jars").mkdir(parents=True)
    (left / "jars" / "thing-1.0.jar").write_bytes(b"half")
    found = fetch("thing", lambda _: None)
    assert sorted(found.parent.iterdir()) == [other, found], "what others have in the directory stays"


def test_it_is_told_how_far_maven_is_and_maven_ends_with_an_interrupt(
    maven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = maven.parent / "pid"
    line = "Downloaded from place: https://there/of-$n.jar (1 kB at 2 kB/s)"
    asked = "Downloading from place: https://there/of-26.jar"
    work = (
        f'n=0; while [ $n -lt 25 ]; do n=$((n+1)); echo "{line}"; done; echo "{asked}"; echo $$ > {pid}; exec sleep 60'
    )
    does(maven.parent, work)
    monkeypatch.setattr(jars, "TOLD_EVERY_S", 0.01)
    said: list[str] = []

    def tell(text: str) -> None:
        said.append(text)
        if "waits for" in text:
            eventually(pid.exists, "Maven sleeps")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("thing", tell)
    assert said[-1] == "thing: Maven has brought 25 files, and waits for of-26.jar"
    eventually(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists(), "Maven is gone")
    assert list((maven.parent / "cache").iterdir()) == []


def test_what_differs_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jar").write_bytes(b"a")
    assert differing(tmp_path, JarLock(DIRECT, {"b.jar": "0" * 64})) == ["a.jar", "b.jar"]
