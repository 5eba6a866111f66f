"""`ambry changes --to kafka://...` on a real broker: in order for each key, from where the run before was, repeats known."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry import AmbryClient, BlobNotFound
from ambry.streams.messages import change_id, key_of
from tests.support.kafka_broker import OpenKafka
from tests.support.kafka_cluster import KafkaCluster, ended, running_kafka_cluster
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

STATE = ".changes/kafka/{topic}"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    with running_kafka_cluster(tmp_path_factory.mktemp("streams"), OpenKafka) as running:
        yield running


@pytest.fixture
def client(here: KafkaCluster) -> Iterator[AmbryClient]:
    with here.client() as made:
        yield made


def publish(here: KafkaCluster, topic: str, *more: str) -> subprocess.CompletedProcess[str]:
    return here.ambry("changes", "--to", topic if "://" in topic else here.topic(topic), *more)


def headers(message: object) -> dict[str, str]:
    return {name: value.decode() for name, value in message.headers()}  # type: ignore[attr-defined]


def test_what_changed_is_on_the_topic_as_it_was_told(here: KafkaCluster, client: AmbryClient) -> None:
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
    done = publish(here, "told")
    assert done.returncode == 0 and "changes were published to kafka://" in done.stderr, done.stderr

    state = STATE.format(topic="told")
    ours = {str(each.id) for each in client.history(state)}
    told = [
        each
        for each in client.changes()
        if each.name != state and not (each.type.startswith("blob.") and str(each.id) in ours)
    ]
    found = here.broker.messages("told")
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

    again = publish(here, "told")
    assert again.returncode == 0 and again.stderr.startswith("0 changes"), again.stderr
    assert len(here.broker.messages("told")) == len(found)


def test_a_follower_ends_when_another_one_goes_on(here: KafkaCluster, client: AmbryClient, tmp_path: Path) -> None:
    words = ("changes", "--to", here.topic("twice"), "--since", "now", "--follow")
    logs = tmp_path / "first", tmp_path / "second"
    first, second = (here.start(log, *words) for log in logs)
    with ended(first, second):

        def either() -> bool:
            client.put(b"x", name="fenced/x")
            return first.poll() is not None or second.poll() is not None

        eventually(either, "one of them ends", timeout_s=60, interval_s=0.2)
        over, going, log = (first, second, logs[0]) if first.poll() is not None else (second, first, logs[1])
        assert over.returncode == 1 and going.poll() is None
        assert "another publisher goes on with the state" in log.read_text()


def test_what_cannot_be_published_to_is_a_sentence(here: KafkaCluster, tmp_path: Path) -> None:
    assert "is not kafka://host:port" in publish(here, "kafka://nowhere").stderr
    settings = tmp_path / "client.properties"
    settings.write_text("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nno.such.setting=1\n")
    done = publish(here, "told", "--kafka-config", str(settings))
    assert done.returncode == 2 and 'No such configuration property: "no.such.setting"' in done.stderr, done.stderr
    settings.write_text("acks=1\n")
    done = publish(here, "told", "--kafka-config", str(settings))
    assert done.returncode == 2 and "acks, which is not to be set: it is all" in done.stderr, done.stderr


def test_the_state_of_another_topic_is_refused(here: KafkaCluster, client: AmbryClient) -> None:
    client.put(b"y", name="other/y")
    named = f"ambry://{client.default_account}/{client.default_container}/states/one"
    assert publish(here, "first", "--state", named).returncode == 0
    done = publish(here, "second", "--state", named)
    assert done.returncode == 2 and "is of topic first" in done.stderr, done.stderr
    with pytest.raises(BlobNotFound):
        client.head(STATE.format(topic="first"))


def test_a_file_keeps_the_state_where_it_is_said(here: KafkaCluster, tmp_path: Path) -> None:
    file = tmp_path / "token"
    assert publish(here, "filed", "--state", str(file)).returncode == 0
    published = len(here.broker.messages("filed"))
    assert json.loads(file.read_text())["sequence"] == published > 0
    done = publish(here, "filed", "--state", str(file))
    assert done.stderr.startswith("0 changes"), done.stderr


@pytest.mark.parametrize("remade", [False, True])
def test_a_topic_that_is_deleted_is_a_sentence_and_what_was_published_is_not_taken_for_there(
    here: KafkaCluster, client: AmbryClient, tmp_path: Path, remade: bool
) -> None:
    """One that was made again at once, by somebody or by the producer itself, was published on for as long as it ran."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": here.broker.address})
    topic = f"deleted-{remade}"

    def is_made() -> bool:
        try:
            admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(20)
        except KafkaException:
            return False  # It is still being deleted.
        return True

    log = tmp_path / "log"
    follower = here.start(log, "changes", "--to", here.topic(topic), "--follow")
    with ended(follower):
        client.put(b"one", name=f"{topic}/1")
        eventually(lambda: f"{topic}/1" in keys(here, topic), "it is published", interval_s=0.2)

        eventually(lambda: sequence_of(client, topic) > 0, "and its token is kept", interval_s=0.2)
        admin.delete_topics([topic])[topic].result(20)
        if remade:
            eventually(is_made, "it is made again", interval_s=0.05)
        client.put(b"two", name=f"{topic}/2")
        assert follower.wait(60) == 2, log.read_text()
        assert (
            f"topic {topic} was deleted{' and made again' if remade else ''} while this publisher ran"
            in log.read_text()
        )
    done = publish(here, topic)
    assert done.returncode == 2 and "was deleted and made again" in done.stderr, done.stderr
    assert publish(here, topic, "--state", str(tmp_path / "another")).returncode == 0
    assert {f"{topic}/1", f"{topic}/2"} <= keys(here, topic)


def test_what_is_published_is_dated_by_the_broker(here: KafkaCluster, client: AmbryClient) -> None:
    """The clock of this machine does not say what Kafka's retention deletes."""
    client.put(b"dated", name="dated/1")
    assert publish(here, "dated").returncode == 0
    of_broker = 2  # TIMESTAMP_LOG_APPEND_TIME
    assert {each.timestamp()[0] for each in here.broker.messages("dated")} == {of_broker}


def test_publishers_of_one_container_keep_nobody_busy(here: KafkaCluster, client: AmbryClient, tmp_path: Path) -> None:
    """Each token of one was three changes for the others: three messages a second on each topic while nobody wrote."""
    topics = ["beside-1", "beside-2", "beside-3"]
    states = [STATE.format(topic=topics[0]), STATE.format(topic=topics[1]), "beside-state"]
    elsewhere = f"ambry://{client.default_account}/{client.default_container}/beside-state"
    more = [[], [], ["--state", elsewhere]]
    words = [("changes", "--to", here.topic(each), "--follow", *said) for each, said in zip(topics, more, strict=True)]
    with ended(*[here.start(tmp_path / each, *line) for each, line in zip(topics, words, strict=True)]):
        names = {f"beside/{number}" for number in range(3)}
        for name in sorted(names):
            client.put(name.encode(), name=name)
        eventually(lambda: all(names <= keys(here, each) for each in topics), "all is published", interval_s=0.2)

        def kept() -> list[str]:
            return [client.get_bytes(each).decode() for each in states]

        def is_quiet() -> bool:
            before = kept()
            time.sleep(5)  # What is looked for is that nothing happens.
            return kept() == before

        eventually(is_quiet, "no token is kept where nobody writes", timeout_s=60, interval_s=0.1)


def keys(here: KafkaCluster, topic: str) -> set[str]:
    return {each.key().decode() for each in here.broker.messages(topic)}


def sequence_of(client: AmbryClient, topic: str) -> int:
    """That is kept; 0 before."""
    return int(json.loads(client.get_bytes(STATE.format(topic=topic)))["sequence"])
