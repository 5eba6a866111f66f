"""The jobs of actions in Java and in Python count the same, line by line and file by file; neither Kafka nor Samza runs."""

from __future__ import annotations

import base64
import json
import math
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ambry.ids import BlobId, IdKind, uuid7
from ambry.streams import reads, restarts
from ambry.streams.windows import ACTIONS_OF_A_DAY_MAX, DAYS_MAX, Days, over_files, parse_actions
from tests.support.clusters import seed_of
from tests.support.dripping_bodies import DrippingBodies
from tests.support.kafka_broker import jars_or_skip
from tests.support.strange_messages import CHANGES, NO_CHANGES, NO_PARTS, PARTS, SUMS, days_after

pytestmark = pytest.mark.engine

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
SOUND = b'{"member":17,"action":"Click","at":1764244800000}'

Twin = Callable[[Iterable[tuple[str, bytes]]], dict[str, Any]]


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the twin of tests/support."""
    jars = jars_or_skip("samza")
    if shutil.which("javac") is None:
        pytest.skip("there is no javac; `make engines` installs it")
    classes = tmp_path_factory.mktemp("classes")
    sources = [ROOT / "deploy/streams/ActionsJob.java", ROOT / "tests/support/ActionsTwin.java"]
    subprocess.run(["javac", "-d", classes, "-cp", f"{jars}/*", *sources], check=True, timeout=120)
    quiet = ["-Xmx256m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]
    return ["java", *quiet, "-cp", f"{classes}:{jars}/*"]


@pytest.fixture(scope="module")
def twin(java: list[str]) -> Twin:
    """Folds files with the functions of ActionsJob.java."""

    def fold(files: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
        lines = [{"file": file, "data": base64.b64encode(data).decode()} for file, data in files]
        found: dict[str, Any] = ask(java, "days", lines)[0]
        return found

    return fold


def ask(java: list[str], mode: str, lines: Iterable[object], **environment: str) -> list[Any]:
    """What the twin says of lines of JSON, which are JSON too."""
    done = subprocess.run(
        [*java, "ActionsTwin", mode],
        input="".join(json.dumps(line) + "\n" for line in lines),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def file_id(number: int, made: datetime = NOON) -> str:
    uuid = uuid7(int(made.timestamp() * 1000), random.Random(number))
    return str(BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=7, uuid=uuid))


def more(text: bytes) -> bytes:
    """A sound line with one more field."""
    return SOUND[:-1] + b',"more":' + text + b"}"


def said(action: bytes) -> bytes:
    return SOUND.replace(b"Click", action)


LINES = [
    *(SOUND, b" " + SOUND + b"\t", SOUND + b"\r", b"\xef\xbb\xbf" + SOUND, b"", b"  ", b"\x0b", b"\x00"),
    *(b"{", b"[]", b"null", b"7", b'""', b"\xff", SOUND + b"]", SOUND + b"{}", SOUND[:-1] + b",}", b"[" + SOUND + b"]"),
    *(more(b"NaN"), more(b"Infinity"), more(b"-Infinity"), more(b"[NaN]"), more(b"1e400"), more(b"-0"), more(b"01")),
    *(more(b"1." + b"0" * 5000), more(b"1" * 4000), more(b"1" * 5000), more(b"." + b"1"), more(b"1."), more(b"+1")),
    *(
        more(b"[" * 500 + b"]" * 500),
        more(b'"\\u00e9"'),
        more(b'"\\ud800"'),
        more(b'"\xed\xa0\x80"'),
        more(b'"\xc0\x80"'),
    ),
    *(more(b'"\t"'), more(b'"\\x"'), more(b"'x'"), more(b"tru"), more(b"// x\n1"), more(b'"\xf4\x90\x80\x80"')),
    *(said(b""), said(b"x" * 100), said(b"x" * 101), said(b"\\ud83d\\ude00" * 100), said("\U0001f600".encode() * 101)),
    *(
        said(b"\\ud800"),
        said(b"\\ude00\\ud83d"),
        said(b"\xed\xa0\x80"),
        said(b"\\u0000"),
        said(b"\\n"),
        said("é".encode()),
    ),
    *(SOUND.replace(b"17", each) for each in (b"-1", b"0", b"-0", b"17.0", b"1e1", b'"17"', b"true", b"null")),
    *(SOUND.replace(b"17", each) for each in (b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808")),
    *(SOUND.replace(b"1764244800000", each) for each in (b"0", b"-1", b"1.0", b"1e3", b"true", b"9" * 30, b'"1"')),
    b'{"member":1,"member":17,"action":"Click","at":0,"at":86400000}',
]


def as_json(members: dict[int, Days]) -> dict[str, Days]:
    return {str(member): days for member, days in members.items()}


def test_both_take_the_same_lines(twin: Twin) -> None:
    files = {file_id(number): line for number, line in enumerate(LINES)}
    found = twin(files.items())["files"]
    differ = [
        (line[:80], found.get(file, {}), ours)
        for file, line in files.items()
        if (ours := as_json(parse_actions(file, line).members)) != found.get(file, {})
    ]
    assert not differ, "\n".join(map(repr, differ))
    assert 10 < len(found) < len(LINES) - 20


def test_both_count_the_same_of_files_in_any_order_and_again(twin: Twin) -> None:
    chance = random.Random(seed_of("streams twins"))
    names = [f"{number:03}" for number in range(3 * ACTIONS_OF_A_DAY_MAX)] + ["Click", "\U0001f600", "\ue000", "\uffff"]
    files = []
    for number in range(300):
        made = NOON - timedelta(days=chance.randrange(2 * DAYS_MAX))
        lines = [
            json.dumps(
                {
                    "member": chance.randrange(5),
                    "action": chance.choice(names if chance.random() < 0.5 else names[-4:]),
                    "at": int((made - timedelta(days=chance.choice((0, 0, 1, DAYS_MAX)))).timestamp() * 1000),
                }
            )
            for _ in range(chance.randrange(200))
        ]
        files.append((file_id(number, made), "\n".join(lines).encode()))
    told = files + chance.choices(files, k=100)
    chance.shuffle(told)
    assert twin(told)["members"] == as_json(over_files(files))


def test_wherever_the_changelog_ends_a_member_has_each_file_once(java: list[str]) -> None:
    """As Samza restores it where the checkpoint is too old to be trusted: to its end, between any two records."""
    days = {file_id(number): SOUND + b"\n" + SOUND.replace(b":17,", b":%d," % (number % 3)) for number in range(12)}
    lines = [
        {"file": file, "data": base64.b64encode(data).decode()}
        for file, data in [*days.items(), *list(days.items())[2:5]]
    ]
    (found,) = ask(java, "cuts", lines)
    assert found["members"] == [as_json(over_files(days.items()))]
    assert found["cuts"] == 2 * 2 * len(days) + 1


def test_a_record_that_a_release_before_kept_is_gone_on_with(java: list[str]) -> None:
    kept = [
        {"record": "17", "value": '{"2025-11-26":{"Click":3},"2025-11-27":{"Click":1}}'},
        {"record": f"17 {file_id(1)}", "value": "true"},
    ]
    again = [{"file": file_id(number), "data": base64.b64encode(SOUND).decode()} for number in (1, 2, 1, 2)]
    (found,) = ask(java, "days", [*kept, *again])
    assert found["members"] == {"17": {"2025-11-26": {"Click": 3}, "2025-11-27": {"Click": 2}}}


def test_what_is_no_message_of_theirs_ends_both(java: list[str]) -> None:
    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    of_changes = [*CHANGES, *NO_CHANGES, None]
    messages = [(True, each) for each in of_changes] + [(False, each) for each in (*PARTS, *NO_PARTS, None)]
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            lines = [{"changes": changes, "text": text} for changes, text in messages]
            found = ask(java, "messages", lines, AMBRY_ENDPOINTS=f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
    assert len(found) == len(messages)
    sound = {(True, each) for each in CHANGES} | {(False, each) for each in PARTS}
    for message, answer in zip(messages, found, strict=True):
        if message in sound:
            assert answer["sent"] == (0 if message[0] else 1), message
        else:
            assert answer.get("forGood") is True and "is it another topic?" in answer["sentence"], (message, answer)


def test_both_come_to_the_same_where_there_are_no_more_days_and_counts(java: list[str]) -> None:
    lines = [{"changes": False, "text": text} for text in SUMS]
    found = ask(java, "messages", lines, AMBRY_ENDPOINTS="http://127.0.0.1:1")
    assert [each.get("message") for each in found] == [
        {"member": member, "days": days} for member, days in days_after(SUMS)
    ]


def test_no_record_of_the_twin_grows_with_the_files_of_a_member(twin: Twin) -> None:
    files = [(file_id(number), SOUND) for number in range(20_000)]
    found = twin([*files, *files[::7]])
    assert found["members"] == {"17": {"2025-11-27": {"Click": 20_000}}}
    assert found["records"] == 20_001
    assert found["largest"] < 200 and found["written"] < 20_000 * 200


def test_the_job_asks_all_endpoints_with_the_key_of_a_file_and_has_properties_for_kafka(
    java: list[str], tmp_path: Path
) -> None:
    asked: list[str | None] = []

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(self.path[1:6].encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    over = threading.Event()

    class Stopping(Answering):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"ab")
            over.wait(60)

    (tmp_path / "key").write_text("secret\nof somebody\n")
    (tmp_path / "client.properties").write_text("security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n")
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server,
        ThreadingHTTPServer(("127.0.0.1", 0), Stopping) as stopping,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        for each in (server, stopping):
            threading.Thread(target=each.serve_forever, daemon=True).start()
        try:
            # Nobody listens at the first one, the second one says nothing, and the third one stops in the middle.
            ports = (1, silent.getsockname()[1], stopping.server_port, server.server_port)
            endpoints = ", ".join(f"http://127.0.0.1:{port}/" for port in ports)
            done = subprocess.run(
                [*java, f"-Dkafka.config={tmp_path / 'client.properties'}", "ActionsTwin", "read", "abcdefgh", "6000"],
                env={"PATH": os.environ["PATH"], "AMBRY_ENDPOINTS": endpoints, "AMBRY_KEY_FILE": str(tmp_path / "key")},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            over.set()
            server.shutdown()
            stopping.shutdown()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "data": "abcde",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
    }
    assert asked == ["Bearer secret"]


def job_ended(
    java: list[str], tmp_path: Path, broker: str, give_up_after: str, request_ms: int
) -> tuple[int, list[str]]:
    """The exit code of the job, and what it said itself."""
    (tmp_path / "client.properties").write_text(f"request.timeout.ms={request_ms}\n")
    options = [f"-Dgive.up.after={give_up_after}", f"-Dkafka.config={tmp_path / 'client.properties'}"]
    done = subprocess.run(
        [
            *(*java[:-2], *options, *java[-2:]),
            *("ActionsJob", broker, "changes", "members", "actions/", str(tmp_path / "kept")),
        ],
        env={"PATH": os.environ["PATH"], "AMBRY_ENDPOINTS": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, [line for line in done.stderr.splitlines() if not line.startswith(("SLF4J:", "log4j:"))]


def test_the_job_waits_for_brokers_says_so_and_is_given_up_with_a_code_of_its_own(
    java: list[str], tmp_path: Path
) -> None:
    code, said = job_ended(java, tmp_path, "127.0.0.1:1", "5", 1_000)
    assert code == 5, said
    assert all(line.startswith("Kafka at 127.0.0.1:1: ") for line in said)
    assert said[0].endswith("; the job goes on where it was in 1 s")
    assert said[-1].endswith("; the same command goes on where it was")


def test_the_job_is_given_up_when_it_was_told_to_and_not_a_question_later(java: list[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker = f"127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        code, said = job_ended(java, tmp_path, broker, "3", 30_000)
        took_s = time.monotonic() - began
    assert (code, len(said)) == (5, 1), said
    assert said[0].startswith(f"Kafka at {broker}: ") and said[0].endswith("; the same command goes on where it was")
    assert 3 <= took_s < 3 + 10, "a second and a half of it is Java's"


def test_a_bound_that_is_no_number_of_seconds_is_told(java: list[str], tmp_path: Path) -> None:
    code, said = job_ended(java, tmp_path, "127.0.0.1:1", "15m", 1_000)
    assert code == 2
    assert said == ["-Dgive.up.after=15m is no number of seconds; say one such as 900, or forever"]


@pytest.mark.parametrize("bound", ["0", "3", "600", "forever"])
def test_both_are_set_up_again_and_given_up_at_the_same_moments(java: list[str], bound: str) -> None:
    chance = random.Random(seed_of(f"streams restarts {bound}"))
    attempts: list[dict[str, Any]] = []
    now = 5_000
    # Multiples of an eighth of a second, which are exact in seconds, too: at a bound the twins would differ by the last bit.
    for _ in range(60):
        took = chance.choice((0, 500, 1_500, 10_000, 60_000, 149_750, 150_000, 4_000_000))
        attempts.append({"began": now, "failed": now + took, "waited": chance.choice((0, 0, took // 2, took))})
        now += took + 125 * chance.randrange(240)
    *found, bounds = ask(java, "restarts", [{"giveUpAfter": bound}, *attempts])
    assert bounds == {"soundAfter": restarts.SOUND_AFTER_S * 1000, "storeWait": reads.STORE_WAIT_S * 1000}
    ours = restarts.JobRestarts(None if bound == "forever" else float(bound))
    for each, answer in zip(attempts, found, strict=True):
        left, pause = (
            ours.left_s(each["began"] / 1000),
            ours.pause_s(each["began"] / 1000, each["failed"] / 1000, each["waited"] / 1000),
        )
        assert answer == {
            "left": None if left == math.inf else round(left * 1000),
            "pause": None if pause is None else round(pause * 1000),
        }, each
    # An attempt that waits for a store that is away is not sound: else the job would never be given up.
    assert bounds["storeWait"] <= bounds["soundAfter"] / 3


def job_read(java: list[str], url: str, *bounds_ms: int) -> tuple[subprocess.CompletedProcess[str], float]:
    """How the twin read a blob, and in how many seconds; of those Java takes one or two to begin."""
    began = time.monotonic()
    done = subprocess.run(
        [*java, "ActionsTwin", "read", "abcdefgh", *map(str, bounds_ms)],
        env={"PATH": os.environ["PATH"], "AMBRY_ENDPOINTS": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, time.monotonic() - began


def test_a_store_that_says_nothing_is_waited_for_as_long_as_it_is_told_to(java: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done, took_s = job_read(java, f"http://127.0.0.1:{silent.getsockname()[1]}", 2000)
    assert done.returncode != 0 and "the store does not answer for abcdefgh" in done.stderr
    assert 2 <= took_s < 2 + 10


def test_a_body_that_stops_is_waited_for_no_longer_and_one_that_drips_as_long_as_the_job_has(java: list[str]) -> None:
    """As in tests/unit/ambry/streams/test_streams_reads.py."""
    text = "0123456789abcdef" * 2500

    class Whole(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Whole) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            with DrippingBodies(url, stop_after=20_000) as stopping:
                done, took_s = job_read(java, stopping.url, 2000)
                assert "it stopped after 20000 bytes" in done.stderr and 2 <= took_s < 2 + 10
            with DrippingBodies(url, rate=10_000) as slow:
                done, took_s = job_read(java, slow.url, 1000)
                assert json.loads(done.stdout) == {"data": text} and took_s >= 4
                done, took_s = job_read(java, slow.url, 1000, 1500)
                assert "bytes came in the time that was left" in done.stderr and took_s < 1.5 + 10
        finally:
            server.shutdown()
