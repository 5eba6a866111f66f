"""`ambry changes --to kafka://...` on a broker with TLS and passwords: published, or refused with a sentence and an end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry import AmbryClient
from deploy.local_cluster import LocalCluster
from tests.support.certificates import Authority
from tests.support.clusters import running_cluster
from tests.support.kafka_broker import jars_or_skip
from tests.support.secured_kafka import PASSWORD, USER, SecuredKafka

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    pytest.importorskip("confluent_kafka", reason="confluent_kafka is not installed; `make engines` does it")
    directory = tmp_path_factory.mktemp("secured")
    try:
        with SecuredKafka(directory / "broker", jars_or_skip("kafka"), Authority(directory)) as running:
            yield running
    finally:
        shutil.rmtree(directory / "broker", ignore_errors=True)


@pytest.fixture(scope="module")
def one(broker: SecuredKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with running_cluster(tmp_path_factory.mktemp("streams"), datacenters=1) as running:
        with AmbryClient(running.frontends("dc1")[0].url) as client:
            for number in range(20):
                client.put(b"%d" % number, name=f"secured/{number}")
        yield running


def publish(
    one: LocalCluster, broker: SecuredKafka, directory: Path, topic: str, *more: str, **said: object
) -> tuple[int, str]:
    """Exit code and what is said, of a run with these settings."""
    told = {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": broker.ca,
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": USER,
        "sasl.password": PASSWORD,
        **{name.replace("_", "."): value for name, value in said.items()},
    }
    settings = directory / "client.properties"
    settings.touch(0o600)
    settings.write_text("".join(f"{name}={value}\n" for name, value in told.items() if value))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ambry.cli.main", "changes", "--to", f"kafka://{broker.secure}/{topic}"),
            *("--kafka-config", str(settings), *more),
        ],
        env={**os.environ, "AMBRY_ENDPOINTS": one.frontends("dc1")[0].url, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert PASSWORD not in done.stderr and "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_changes_are_published_to_who_asks_for_tls_and_a_password(
    one: LocalCluster, broker: SecuredKafka, tmp_path: Path, mechanism: str
) -> None:
    topic = f"by-{mechanism}"
    code, told = publish(one, broker, tmp_path, topic, sasl_mechanism=mechanism)
    assert code == 0 and "changes were published to kafka://" in told, told
    keys = [each.key().decode() for each in broker.messages(topic)]
    assert {f"secured/{number}" for number in range(20)} <= set(keys)
    code, told = publish(one, broker, tmp_path, topic, sasl_mechanism=mechanism)
    assert code == 0 and told.startswith("0 changes"), told


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
@pytest.mark.parametrize("more", [(), ("--follow",)])
def test_a_wrong_password_is_the_end_also_of_who_follows(
    one: LocalCluster, broker: SecuredKafka, tmp_path: Path, mechanism: str, more: tuple[str, ...]
) -> None:
    code, told = publish(one, broker, tmp_path, "wrong", *more, sasl_mechanism=mechanism, sasl_password="of-nobody")
    assert code == 7, told
    assert "uthentication" in told and "look at the settings (--kafka-config)" in told
    assert "wrong" not in broker_topics(broker)


@pytest.mark.parametrize("more", [(), ("--follow",)])
def test_a_broker_that_another_authority_vouches_for_is_not_spoken_to(
    one: LocalCluster, broker: SecuredKafka, tmp_path: Path, more: tuple[str, ...]
) -> None:
    other = Authority(tmp_path, "other")
    code, told = publish(one, broker, tmp_path, "untrusted", *more, ssl_ca_location=other.ca)
    assert code == 2, told
    assert "certificate verify failed" in told and "look at ssl.ca.location" in told
    assert "untrusted" not in broker_topics(broker)


def test_an_authority_that_is_no_file_is_a_sentence(one: LocalCluster, broker: SecuredKafka, tmp_path: Path) -> None:
    code, told = publish(one, broker, tmp_path, "nofile", ssl_ca_location=tmp_path / "none.pem")
    assert code == 2 and "the settings for Kafka are refused" in told, told


def broker_topics(broker: SecuredKafka) -> set[str]:
    from confluent_kafka.admin import AdminClient

    return set(AdminClient({"bootstrap.servers": broker.address}).list_topics(timeout=20).topics)
