"""`ambry changes --to kafka://...` on a real broker: in order for each key, from where the run before was, repeats known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry import AmbryClient, BlobNotFound
from ambry.streams.messages import change_id, key_of
from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster
from tests.support.kafka_broker import KafkaProcess, running_kafka
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

STATE = ".changes/kafka/{topic}"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    with running_kafka(tmp_path_factory.mktemp("kafka") / "broker") as running:
        yield running


@pytest.fixture(scope="module")
def one(broker: KafkaProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with running_cluster(tmp_path_factory.mktemp("streams"), datacenters=1) as running:
        yield running


def command(one: LocalCluster, *arguments: str) -> tuple[list[str], dict[str, str]]:
    url = one.frontends("dc1")[0].url
    return [sys.executable, "-m", "ambry.cli.main", "changes", *arguments], {
        **os.environ,
        "AMBRY_ENDPOINTS": url,
        "NO_COLOR": "1",
    }


def ambry(one: LocalCluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    line, environment = command(one, *arguments)
    return subprocess.run(line, capture_output=True, text=True, timeout=120, env=environment, check=False)


@pytest.fixture
def client(one: LocalCluster) -> Iterator[AmbryClient]:
    with AmbryClient(one.frontends("dc1")[0].url) as made:
        yield made


def headers(message: object) -> dict[str, str]:
    return {name: value.decode() for name, value in message.headers()}  # type: ignore[attr-defined]


def test_what_changed_is_on_the_topic_as_it_was_told(
    one: LocalCluster, client: AmbryClient, broker: KafkaProcess
) -> None:
    client.create_dataset("published")
    for number in range(40):
        client.put(b"%d" % number, name=f"published/{number % 4}")
    client.put_version("published", b"three", "1.0.0")
    client.set_alias("published", "champion", "1.0.0", expected=None, who="ann", why="best")
    client.delete("published/3")
    # The replica that is read may not have yet what the others acknowledged without it.
    eventually(
        lambda: (
            sum(each.type == "blob.put" for each in client.changes()) >= 41
            and any(each.type == "name.delete" for each in client.changes())
        ),
        "all is told",
    )
    done = ambry(one, "--to", f"kafka://{broker.address}/told")
    assert done.returncode == 0 and "changes were published to kafka://" in done.stderr, done.stderr

    state = STATE.format(topic="told")
    ours = {str(each.id) for each in client.history(state)}
    told = [
        each
        for each in client.changes()
        if each.name != state and not (each.type.startswith("blob.") and str(each.id) in ours)
    ]
    found = broker.messages("told")
    assert len(found) == len(told)
    for key in {key_of(each) for each in told}:
        of_key = [each for each in found if each.key().decode() == key]
        assert len({each.partition() for each in of_key}) == 1
        assert [headers(each)["ambry-change"] for each in of_key] == [
            change_id(each) for each in told if key_of(each) == key
        ]
    said = [json.loads(each.value()) for each in found]
    moved = next(each for each in said if each["type"] == "alias.put")
    assert (moved["dataset"], moved["alias"], moved["version"], moved["who"]) == (
        "published",
        "champion",
        "1.0.0",
        "ann",
    )

    kept = json.loads(client.get_bytes(state))
    assert (kept["topic"], kept["sequence"], kept["epoch"]) == ("told", len(found), 1)

    again = ambry(one, "--to", f"kafka://{broker.address}/told")
    assert again.returncode == 0 and again.stderr.startswith("0 changes"), again.stderr
    assert len(broker.messages("told")) == len(found)


def test_a_follower_ends_when_another_one_goes_on(one: LocalCluster, client: AmbryClient, broker: KafkaProcess) -> None:
    line, environment = command(one, "--to", f"kafka://{broker.address}/twice", "--since", "now", "--follow")
    with (
        subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment) as first,
        subprocess.Popen(line, stderr=subprocess.DEVNULL, env=environment) as second,
    ):
        try:

            def both() -> bool:
                client.put(b"x", name="fenced/x")
                return first.poll() is not None or second.poll() is not None

            eventually(both, "one of them ends", timeout_s=60, interval_s=0.2)
            ended, going = (first, second) if first.poll() is not None else (second, first)
            assert ended.returncode == 1 and going.poll() is None
            if ended is first:
                assert "another publisher goes on with the state" in (first.stderr.read() if first.stderr else "")
        finally:
            first.kill()
            second.kill()


def test_what_cannot_be_published_to_is_a_sentence(one: LocalCluster, broker: KafkaProcess, tmp_path: Path) -> None:
    assert "is not kafka://host:port" in ambry(one, "--to", "kafka://nowhere").stderr
    settings = tmp_path / "client.properties"
    settings.write_text("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nno.such.setting=1\n")
    done = ambry(one, "--to", f"kafka://{broker.address}/told", "--kafka-config", str(settings))
    assert done.returncode == 2 and 'No such configuration property: "no.such.setting"' in done.stderr, done.stderr
    settings.write_text("acks=1\n")
    done = ambry(one, "--to", f"kafka://{broker.address}/told", "--kafka-config", str(settings))
    assert done.returncode == 2 and "acks, which is not to be set: it is all" in done.stderr, done.stderr


def test_the_state_of_another_topic_is_refused(one: LocalCluster, client: AmbryClient, broker: KafkaProcess) -> None:
    client.put(b"y", name="other/y")
    named = f"ambry://{client.default_account}/{client.default_container}/states/one"
    assert ambry(one, "--to", f"kafka://{broker.address}/first", "--state", named).returncode == 0
    done = ambry(one, "--to", f"kafka://{broker.address}/second", "--state", named)
    assert done.returncode == 2 and "the state is of topic first" in done.stderr, done.stderr
    with pytest.raises(BlobNotFound):
        client.head(STATE.format(topic="first"))


def test_a_file_keeps_the_state_where_it_is_said(one: LocalCluster, broker: KafkaProcess, tmp_path: Path) -> None:
    file = tmp_path / "token"
    assert ambry(one, "--to", f"kafka://{broker.address}/filed", "--state", str(file)).returncode == 0
    published = len(broker.messages("filed"))
    assert json.loads(file.read_text())["sequence"] == published > 0
    done = ambry(one, "--to", f"kafka://{broker.address}/filed", "--state", str(file))
    assert done.stderr.startswith("0 changes"), done.stderr
