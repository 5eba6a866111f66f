"""What Kafka's broker and clients and the Samza job wrote of what is fixed here: tests/unit/ambry/streams/golden/.

Made by `python -m tests.support.golden_streams`, which needs Java and the engines.
tests/integration/test_streams_golden_made.py makes it once more and compares; unit tests hold this project's side against it
without any engine.
"""

from __future__ import annotations

import base64
import json
import random
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ambry.client.changes import ToldChange
from ambry.ids import BlobId, IdKind, uuid7
from ambry.streams.broker import KafkaBroker
from ambry.streams.messages import key_of, message_of
from ambry.streams.target import KafkaTarget
from deploy.demos.kafka import KafkaProcess
from deploy.engines.jars import fetch
from tests.support.stream_jobs import QUIET, samza_classes
from tests.support.waiting import eventually

GOLDEN = Path(__file__).resolve().parents[1] / "unit/ambry/streams/golden"
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
PARTITIONS = (1, 4, 7, 64)
FOLDER = "actions/"
EPOCH = b"3"


def blob(number: int) -> BlobId:
    """One that was put at noon."""
    uuid = uuid7(int(NOON.timestamp() * 1000), random.Random(number))
    return BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=7, uuid=uuid)


NAMES = [
    *(
        "a",
        "models/ä",
        "模型/版本一",
        "эмбеддинги/пользователь",
        "\U0001f600/\U0001f680",
        "e\u0301",
        "é",
        "\u00a0",
        "\x00\x01",
    ),
    *("x" * length for length in range(1, 18)),
    *(f"members/{number}" for number in range(20)),
    "long/" + "\u20ac" * 300,
]
CHANGES = [
    *(
        ToldChange(type="name.put", time=NOON, id=blob(number), size=number, name=name, datacenter=1)
        for number, name in enumerate(NAMES)
    ),
    ToldChange(type="name.delete", time=NOON + timedelta(seconds=1), name="models/ä", datacenter=2, late=True),
    ToldChange(type="blob.put", time=NOON, id=blob(7), size=1 << 40, expires=NOON + timedelta(days=7)),
    ToldChange(type="blob.undelete", time=NOON, id=blob(7), size=3, life_version=2),
    ToldChange(type="dataset.put", time=NOON, dataset="данные", datacenter=1),
    ToldChange(type="version.put", time=NOON, id=blob(8), size=5, dataset="данные", version="1.0.0", datacenter=1),
    ToldChange(
        type="alias.put",
        time=NOON,
        dataset="данные",
        version="1.0.0",
        alias="champion",
        who="Zoë",
        why="“best”",
        datacenter=1,
    ),
]
"""One of each kind and more, as the feed tells them."""


def action_files() -> dict[str, bytes]:
    """By id, files whose actions are counted: several members and days, names that JSON escapes, lines that are none."""
    chance = random.Random(17)
    names = ("Click", "Share", "Wave", "Küsschen", "点击", "\U0001f44d", 'say "x"', "back\\slash", "tab\there")
    found = {}
    for number in range(6):
        lines = [
            json.dumps(
                {
                    "member": chance.choice((17, 42, -5, (1 << 63) - 1)),
                    "action": chance.choice(names),
                    "at": int((NOON - timedelta(days=chance.randrange(450))).timestamp() * 1000),
                },
                ensure_ascii=bool(number % 2),
            )
            for _ in range(12)
        ]
        found[str(blob(100 + number))] = "\n".join([*lines, "no action"]).encode()
    return found


def action_changes() -> list[ToldChange]:
    """Those of the files: each twice, as after a token that was lost."""
    puts = [
        ToldChange(
            type="name.put", time=NOON, id=BlobId.parse(id), size=len(data), name=f"{FOLDER}{id[-6:]}", datacenter=1
        )
        for id, data in action_files().items()
    ]
    return [*puts, *puts]


def encoded(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def records(broker: KafkaProcess, topic: str) -> list[dict[str, Any]]:
    """As the broker stored them, partition by partition; keys, values and headers in base64."""
    return [
        {
            "partition": each.partition(),
            "key": encoded(each.key()),
            "value": encoded(each.value()),
            "headers": [[name, encoded(value)] for name, value in each.headers() or []],
        }
        for each in broker.messages(topic)
    ]


def publish(broker: KafkaProcess, topic: str, changes: list[ToldChange]) -> None:
    """By the producer of `ambry changes --to`."""
    heard: set[int] = set()
    producer = KafkaBroker(KafkaTarget(brokers=(broker.address,), topic=topic), heard.add)
    try:
        producer.topic()
        for number, change in enumerate(changes):
            message = message_of(change)
            assert message is not None
            producer.send(message, number, EPOCH)
        while len(heard) < len(changes):
            producer.poll(0.1)
    finally:
        producer.close()


def feed(broker: KafkaProcess) -> list[dict[str, Any]]:
    """What the broker has of CHANGES, in four partitions."""
    publish(broker, "golden-feed", CHANGES)
    return records(broker, "golden-feed")


def partitions(jars: Path) -> dict[str, dict[str, int]]:
    """By number of partitions and key, where Java's producer puts it."""
    members = [str(member) for member in (17, 42, -5, (1 << 63) - 1)]
    keys = sorted({*(key_of(each) for each in CHANGES), *members})
    source = str(Path(__file__).with_name("KeyPartitions.java"))
    line = ["java", "-cp", f"{jars}/*", source, *map(str, PARTITIONS)]
    told = "".join(f"{base64.b64encode(key.encode()).decode()}\n" for key in keys)
    done = subprocess.run(line, input=told, capture_output=True, text=True, timeout=120, check=True)
    places = [list(map(int, each.split())) for each in done.stdout.splitlines()]
    return {
        str(count): {key: of_key[at] for key, of_key in zip(keys, places, strict=True)}
        for at, count in enumerate(PARTITIONS)
    }


@contextmanager
def store() -> Iterator[str]:
    """Answers with the files by their ids, and knows nothing else."""
    files = action_files()

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path[1:])
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def newest(broker: KafkaProcess, topic: str) -> dict[str, str]:
    """By key, in base64 like it, the last value."""
    return dict(
        sorted((each["key"], each["value"]) for each in {each["key"]: each for each in records(broker, topic)}.values())
    )


def samza(broker: KafkaProcess, class_path: str, directory: Path) -> dict[str, dict[str, str]]:
    """What the job in Java wrote of the files at last: the days of members, and the changelog of its state."""
    publish(broker, "golden-actions", action_changes())
    found = members_of_files()
    said, kept = 2 * sum(map(len, found)), sum(map(len, found)) + len(set[int]().union(*found))
    with store() as url, (directory / "log").open("wb") as log:
        words = ["ActionsJob", broker.address, "golden-actions", "golden", FOLDER, str(directory / "kept")]
        line = ["java", *QUIET, "-cp", class_path, *words]
        job = subprocess.Popen(line, env={"PATH": "/usr/bin:/bin", "AMBRY_ENDPOINTS": url}, stdout=log, stderr=log)
        try:
            eventually(lambda: len(records(broker, "golden")) >= said, f"all is counted: {log.name}", timeout_s=90)
            eventually(lambda: len(newest(broker, "golden-members-changelog")) >= kept, "and kept", timeout_s=30)
            job.terminate()
            job.wait(30)
        finally:
            job.kill()
            job.wait()
    return {"members": newest(broker, "golden"), "changelog": newest(broker, "golden-members-changelog")}


def members_of_files() -> list[set[int]]:
    """Of each file, who is in it."""
    found = []
    for data in action_files().values():
        lines = [line for line in data.decode().splitlines() if line.startswith("{")]
        found.append({json.loads(line)["member"] for line in lines})
    return found


def write(name: str, made: object) -> None:
    """A file of what was made."""
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / name).write_text(json.dumps(made, indent=0, ensure_ascii=True) + "\n", "utf-8")


def read(name: str) -> Any:
    """What was made once."""
    return json.loads((GOLDEN / name).read_text("utf-8"))


def main() -> None:
    """Make them all."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        jars = fetch("kafka", print)
        classes = directory / "classes"
        classes.mkdir()
        with KafkaProcess(directory / "kafka", jars) as broker:
            write("feed.json", feed(broker))
            write("partitions.json", partitions(jars))
            write("samza.json", samza(broker, samza_classes(classes), directory))


if __name__ == "__main__":
    main()
